// The product of a packed kernel with the patches of one panel of positions.
#pragma once

#include <algorithm>

#include "common/panel_gemm.h"
#include "conv_relu_linear/patches.h"
#include "share_conv2d/fetch.h"

namespace rotfast {

// Of one group of one image. Results of channels lie `plane` apart.
template <class T>
struct PanelProduct {
  int64_t channels;
  const T* packed;  // the kernel, by pack_rows
  const T* bias;    // or none
  const Patches<T>& panel;
  const T* patches;
  T* out;
  int64_t plane;
};

// kTileRows channels, or the `rows` that are left, at positions from j on: as many vectors as given, or a
// part of one.
template <class V, int64_t vectors, class T>
ROTFAST_INLINE void product_tile(
    const PanelProduct<T>& p, int64_t channel, int64_t rows, const T* start, int64_t j) {
  const int64_t taps = p.panel.offsets.size() - 1;
  const int64_t* offsets = p.panel.offsets.data();
  const T *factors = p.packed + channel * taps, *patches = p.patches + j;
  T* out = p.out + channel * p.plane + j;
  typename V::type sums[kTileRows][vectors];
#pragma GCC unroll 4
  for (int64_t i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 3
    for (int64_t v = 0; v < vectors; ++v) {
      fetch_ahead(out + (kTilesAhead * kTileRows + i) * p.plane + v * V::size);
      sums[i][v] = V::load(start + i * V::size);
    }
  }
  for (int64_t tap = 0; tap < taps; ++tap, factors += kTileRows) {
    const T* in = patches + offsets[tap];
    typename V::type x[vectors];
#pragma GCC unroll 3
    for (int64_t v = 0; v < vectors; ++v) x[v] = V::load(in + v * V::size);
#pragma GCC unroll 4
    for (int64_t i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 3
      for (int64_t v = 0; v < vectors; ++v) sums[i][v] += factors[i] * x[v];
    }
  }
  const int64_t positions = p.panel.positions;
#pragma GCC unroll 4
  for (int64_t i = 0; i < kTileRows; ++i, out += p.plane) {
    if (i >= rows) continue;
    if (positions < V::size) {
      T values[V::size];
      V::store(values, sums[i][0]);
      std::copy(values, values + positions, out);
      continue;
    }
#pragma GCC unroll 3
    for (int64_t v = 0; v < vectors; ++v) V::store(out + v * V::size, sums[i][v]);
  }
}

// The last tile overlaps the one before it.
template <int64_t bytes, class T>
ROTFAST_INLINE void convolve_panel(const PanelProduct<T>& p) {
  using V = Vector<T, bytes>;
  constexpr int64_t tile = kTileVectors * V::size;
  const int64_t positions = p.panel.positions;
  for (int64_t channel = 0; channel < p.channels; channel += kTileRows) {
    const int64_t rows = std::min(kTileRows, p.channels - channel);
    T start[kTileRows * V::size] = {};
    if (p.bias != nullptr) {
      for (int64_t e = 0; e < rows * V::size; ++e) start[e] = p.bias[channel + e / V::size];
    }
    int64_t j = 0;
    for (; j + tile <= positions; j += tile) product_tile<V, kTileVectors>(p, channel, rows, start, j);
    for (; j < positions; j += V::size) {
      const int64_t from = std::max<int64_t>(0, std::min(j, positions - V::size));
      product_tile<V, 1>(p, channel, rows, start, from);
    }
  }
}

}  // namespace rotfast
