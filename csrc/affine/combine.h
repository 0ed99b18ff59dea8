// Sums of weighted pixels of a frame, at the sites of a tile.
#pragma once

#include "affine/neighbours.h"
#include "affine/sites.h"
#include "common/quad.h"

namespace rotfast {

// The cubic kernel's weights at a block of fractions.
template <class T>
struct CubicWeights {
  static constexpr int64_t block = 64;
  T weight[4][block];

  ROTFAST_INLINE void set(const T* fraction) {
    for (int64_t i = 0; i < block; ++i) {
      const T t = fraction[i];
      weight[0][i] = cubic_far(0, 1 + t);
      weight[1][i] = cubic_near(0, t);
      weight[2][i] = cubic_near(0, 1 - t);
      weight[3][i] = cubic_far(0, 2 - t);
    }
  }
};

template <class T, class V>
ROTFAST_INLINE void store_up_to(int64_t count, const V& values, T* out) {
  if (count >= int64_t(sizeof(V) / sizeof(T))) {
    std::memcpy(out, &values, sizeof values);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = values[i];
  }
}

template <class T>
ROTFAST_INLINE void combine_bilinear(
    const Frame& frame, const T* plane, const Sites<T>& sites, int64_t count, T* out) {
  using V = Vector<T>;
  const T* below = plane + frame.row;
  for (int64_t i = 0; i < count; i += V::size) {
    const Neighbours<T> top(plane, sites.index + i), bottom(below, sites.index + i);
    const typename V::type t = V::load(sites.t + i), s = V::load(sites.s + i), t_left = T(1) - t,
                           s_top = T(1) - s;
    const typename V::type value =
        s_top * (t_left * top.left + t * top.right) + s * (t_left * bottom.left + t * bottom.right);
    store_up_to(count - i, value, out + i);
  }
}

template <class T>
ROTFAST_INLINE void combine_bicubic(
    const Frame& frame, const T* plane, const Sites<T>& sites, int64_t count, T* out) {
  using V = Quad<T>;
  CubicWeights<T> columns, rows;
  for (int64_t first = 0; first < count; first += columns.block) {
    columns.set(sites.t + first);
    rows.set(sites.s + first);
    const int64_t end = count - first < columns.block ? count - first : columns.block;
    for (int64_t i = 0; i < end; i += 4) {
      typename V::type sums[4];
      for (int site = 0; site < 4; ++site) {
        const T* at = plane + sites.index[first + i + site];
        sums[site] = rows.weight[0][i + site] * V::load(at);
        for (int b = 1; b < 4; ++b) {
          sums[site] += rows.weight[b][i + site] * V::load(at + b * frame.row);
        }
      }
      V::transpose(sums[0], sums[1], sums[2], sums[3]);
      typename V::type value = V::load(columns.weight[0] + i) * sums[0];
      for (int a = 1; a < 4; ++a) value += V::load(columns.weight[a] + i) * sums[a];
      store_up_to(end - i, value, out + first + i);
    }
  }
}

// out[i] is the sample at site i of a plane in a frame.
template <Interpolation kind, class T>
ROTFAST_CLONES void combine(
    const Frame& frame, const T* plane, const Sites<T>& sites, int64_t count, T* out) {
  if constexpr (kind == Interpolation::nearest) {
    for (int64_t i = 0; i < count; ++i) out[i] = plane[sites.index[i]];
  } else if constexpr (kind == Interpolation::bilinear) {
    combine_bilinear(frame, plane, sites, count, out);
  } else {
    combine_bicubic(frame, plane, sites, count, out);
  }
}

}  // namespace rotfast
