// Sums of weighted pixels of a frame, at the sites of a tile.
#pragma once

#include "affine/sites.h"

namespace rotfast {

template <class T>
ROTFAST_INLINE T loaded(const void* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// Neighbours in a row, of as many sites as a vector has elements.
template <class T>
struct Neighbours;

template <>
struct Neighbours<float> {
  typedef double Pairs __attribute__((vector_size(32)));  // a pair of pixels goes as one 64-bit number
  typedef int32_t Order __attribute__((vector_size(32)));
  Vector<float>::type left, right;

  static ROTFAST_INLINE double pair(const float* row, int32_t index) {
    return loaded<double>(row + uint32_t(index));
  }
  ROTFAST_INLINE Neighbours(const float* row, const int32_t* i) {
    const auto a =
        (Vector<float>::type)Pairs{pair(row, i[0]), pair(row, i[1]), pair(row, i[4]), pair(row, i[5])};
    const auto b =
        (Vector<float>::type)Pairs{pair(row, i[2]), pair(row, i[3]), pair(row, i[6]), pair(row, i[7])};
    left = __builtin_shuffle(a, b, Order{0, 2, 8, 10, 4, 6, 12, 14});
    right = __builtin_shuffle(a, b, Order{1, 3, 9, 11, 5, 7, 13, 15});
  }
};

template <>
struct Neighbours<double> {
  Vector<double>::type left, right;

  ROTFAST_INLINE Neighbours(const double* row, const int32_t* index) {
    const double *p = row + index[0], *q = row + index[1], *r = row + index[2], *s = row + index[3];
    left = Vector<double>::type{p[0], q[0], r[0], s[0]};
    right = Vector<double>::type{p[1], q[1], r[1], s[1]};
  }
};

// Four taps in a row.
template <class T>
struct Four {
  typedef T type __attribute__((vector_size(4 * sizeof(T))));
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Index;
  typedef Index Order __attribute__((vector_size(4 * sizeof(T))));

  static ROTFAST_INLINE void transpose(type (&m)[4]) {
    const Order low{0, 4, 1, 5}, high{2, 6, 3, 7};
    const type a = __builtin_shuffle(m[0], m[2], low), b = __builtin_shuffle(m[1], m[3], low);
    const type c = __builtin_shuffle(m[0], m[2], high), d = __builtin_shuffle(m[1], m[3], high);
    m[0] = __builtin_shuffle(a, b, low);
    m[1] = __builtin_shuffle(a, b, high);
    m[2] = __builtin_shuffle(c, d, low);
    m[3] = __builtin_shuffle(c, d, high);
  }
};

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
  using V = typename Four<T>::type;
  CubicWeights<T> columns, rows;
  for (int64_t first = 0; first < count; first += columns.block) {
    columns.set(sites.t + first);
    rows.set(sites.s + first);
    const int64_t end = count - first < columns.block ? count - first : columns.block;
    for (int64_t i = 0; i < end; i += 4) {
      V sums[4];
      for (int site = 0; site < 4; ++site) {
        const T* at = plane + sites.index[first + i + site];
        sums[site] = rows.weight[0][i + site] * loaded<V>(at);
        for (int b = 1; b < 4; ++b) {
          sums[site] += rows.weight[b][i + site] * loaded<V>(at + b * frame.row);
        }
      }
      Four<T>::transpose(sums);
      V value = loaded<V>(columns.weight[0] + i) * sums[0];
      for (int a = 1; a < 4; ++a) value += loaded<V>(columns.weight[a] + i) * sums[a];
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
