// The weight gradient of one group over the panels of some images: inner products of the channels of g with
// the taps of patches, and the sums of the channels, which are the gradient of a bias.
#pragma once

#include <algorithm>
#include <vector>

#include "common/panel_gemm.h"
#include "conv_relu_linear/patches.h"
#include "share_conv2d/fetch.h"

namespace rotfast {

// Tiles are R channels by C or C - 1 taps, all their sums in registers; what a group has too few of is added
// up as well and never read.
template <class T, int64_t bytes, int64_t R, int64_t C>
class GradSums {
  using V = Vector<T, bytes>;

 public:
  GradSums(int64_t channels, int64_t taps)
      : channels_(channels),
        taps_(taps),
        pieces_((taps + C - 1) / C),
        padded_(std::max(taps, pieces_ * (C - 1))),
        sums_((channels + R - 1) / R * R * (padded_ + 1) * V::size),
        g_ends_(channels * V::size),
        patch_ends_(padded_ * V::size) {}

  ROTFAST_INLINE void clear() { std::fill(sums_.begin(), sums_.end(), T(0)); }

  // Channels of g lie `plane` apart.
  ROTFAST_INLINE void add(const Patches<T>& panel, const T* patches, const T* g, int64_t plane) {
    const int64_t whole = panel.positions / V::size * V::size, rest = panel.positions - whole;
    if (rest != 0) {
      for (int64_t channel = 0; channel < channels_; ++channel) {
        const T* from = g + channel * plane + whole;
        std::copy(from, from + rest, g_ends_.data() + channel * V::size);
      }
      for (int64_t tap = 0; tap < taps_; ++tap) {
        const T* from = patches + panel.offsets[tap] + whole;
        std::copy(from, from + rest, patch_ends_.data() + tap * V::size);
      }
    }
    const Panel given{patches, panel.offsets.data(), g, plane, whole, rest};
    for (int64_t channel = 0; channel < channels_; channel += R) {
      for (int64_t piece = 0; piece < pieces_; ++piece) {
        const int64_t tap = piece * padded_ / pieces_, next = (piece + 1) * padded_ / pieces_;
        if (next - tap == C) {
          add_tile<C>(given, channel, tap);
        } else {
          add_tile<C - 1>(given, channel, tap);
        }
      }
    }
    if (rest != 0) {
      std::fill(g_ends_.begin(), g_ends_.end(), T(0));
      std::fill(patch_ends_.begin(), patch_ends_.end(), T(0));
    }
  }

  // (channels, taps + 1), the sum of the channel last.
  ROTFAST_INLINE void write(T* out) const {
    for (int64_t channel = 0; channel < channels_; ++channel) {
      const T* sums = sums_.data() + channel * (padded_ + 1) * V::size;
      for (int64_t tap = 0; tap < taps_; ++tap) *out++ = in_halves(sums + tap * V::size);
      *out++ = in_halves(sums + padded_ * V::size);
    }
  }

 private:
  struct Panel {
    const T* patches;
    const int64_t* offsets;
    const T* g;
    int64_t plane, whole, rest;
  };

  static ROTFAST_INLINE T in_halves(const T* vector) {
    T values[V::size];
    std::copy(vector, vector + V::size, values);
    for (int64_t half = V::size / 2; half > 0; half /= 2) {
      for (int64_t i = 0; i < half; ++i) values[i] += values[i + half];
    }
    return values[0];
  }

  template <int64_t count>
  ROTFAST_INLINE void add_tile(const Panel& p, int64_t channel, int64_t tap) {
    const T *g[R], *g_ends[R], *x[count], *x_ends[count];
    for (int64_t i = 0; i < R; ++i) {
      const int64_t row = std::min(channel + i, channels_ - 1);
      g[i] = p.g + row * p.plane;
      g_ends[i] = g_ends_.data() + row * V::size;
    }
    for (int64_t k = 0; k < count; ++k) {
      const int64_t column = std::min(tap + k, taps_ - 1);
      x[k] = p.patches + p.offsets[column];
      x_ends[k] = patch_ends_.data() + column * V::size;
    }
    const int64_t step = (padded_ + 1) * V::size;
    T* totals = sums_.data() + channel * step + padded_ * V::size;
    T* sums = sums_.data() + channel * step + tap * V::size;
    typename V::type total[R], products[R][count];
#pragma GCC unroll 4
    for (int64_t i = 0; i < R; ++i) {
      total[i] = V::load(totals + i * step);
#pragma GCC unroll 5
      for (int64_t k = 0; k < count; ++k) products[i][k] = V::load(sums + i * step + k * V::size);
    }
    const auto add_vector = [&](const T* const* from, const T* const* with, int64_t j)
                                __attribute__((always_inline)) {
                                  typename V::type values[R];
#pragma GCC unroll 4
                                  for (int64_t i = 0; i < R; ++i) {
                                    values[i] = V::load(from[i] + j);
                                    total[i] += values[i];
                                  }
#pragma GCC unroll 5
                                  for (int64_t k = 0; k < count; ++k) {
                                    const typename V::type patch = V::load(with[k] + j);
#pragma GCC unroll 4
                                    for (int64_t i = 0; i < R; ++i) products[i][k] += values[i] * patch;
                                  }
                                };
    // Half of the channels ahead while the first taps are summed, half with the others: fetched all at once
    // they would wait for each other.
    const T* ahead = p.g + (channel + kTilesAhead * R + (tap == 0 ? 0 : R / 2)) * p.plane;
    for (int64_t j = 0; j < p.whole; j += V::size) {
#pragma GCC unroll 2
      for (int64_t i = 0; i < (R + 1) / 2; ++i) fetch_ahead(ahead + i * p.plane + j);
      add_vector(g, x, j);
    }
    if (p.rest != 0) add_vector(g_ends, x_ends, 0);
#pragma GCC unroll 4
    for (int64_t i = 0; i < R; ++i) {
      if (tap == 0) V::store(totals + i * step, total[i]);
#pragma GCC unroll 5
      for (int64_t k = 0; k < count; ++k) V::store(sums + i * step + k * V::size, products[i][k]);
    }
  }

  int64_t channels_, taps_, pieces_, padded_;  // padded: taps that tiles see
  std::vector<T> sums_;                        // (whole tiles of channels, padded taps + 1, vector)
  std::vector<T> g_ends_, patch_ends_;         // what is left after whole vectors, then zeros
};

}  // namespace rotfast
