// Small matrix products on a panel of columns that stays in the L1 cache; written with GNU vector extensions.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "common/isa.h"

namespace rotfast {

// Vectors of 32 bytes: one AVX register, two SSE ones elsewhere. Those of 64 are for functions compiled for
// AVX-512 only.
template <class T, int64_t bytes = 32>
struct Vector {
  static constexpr int64_t size = bytes / sizeof(T);
  typedef T type __attribute__((vector_size(bytes)));

  static ROTFAST_INLINE type load(const T* p) {
    type v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static ROTFAST_INLINE void store(T* p, const type& v) { std::memcpy(p, &v, sizeof v); }
  static ROTFAST_INLINE T sum(const type& v) {
    T total = T(0);
    for (int64_t i = 0; i < size; ++i) total += v[i];
    return total;
  }
};

// A tile is 4 rows by 3 vectors: 12 accumulators, 3 columns and 1 factor fill the 16 registers of AVX2.
constexpr int64_t kTileRows = 4;
constexpr int64_t kTileVectors = 3;

template <class T>
constexpr int64_t kTileColumns = kTileVectors * Vector<T>::size;

// Rows of a in groups of kTileRows, depth-major inside a group, the last group padded with zeros.
template <class T>
ROTFAST_INLINE void pack_rows(
    int64_t rows, int64_t depth, const T* a, int64_t row_step, int64_t depth_step, T* packed) {
  for (int64_t r0 = 0; r0 < rows; r0 += kTileRows) {
    for (int64_t d = 0; d < depth; ++d) {
      for (int64_t i = 0; i < kTileRows; ++i) {
        *packed++ = r0 + i < rows ? a[(r0 + i) * row_step + d * depth_step] : T(0);
      }
    }
  }
}

inline int64_t packed_size(int64_t rows, int64_t depth) {
  return (rows + kTileRows - 1) / kTileRows * kTileRows * depth;
}

// c[rows, columns] = packed a[rows, depth] * b[depth, columns] (+ bias per row, if given; += when
// `accumulate`). b must be readable up to the next multiple of kTileColumns; c is touched on its columns
// only.
template <bool accumulate = false, class T>
ROTFAST_INLINE void panel_product(
    int64_t rows,
    int64_t depth,
    int64_t columns,
    const T* packed,
    const T* b,
    int64_t b_step,
    const T* bias,
    T* c,
    int64_t c_step) {
  using V = Vector<T>;
  for (int64_t r0 = 0; r0 < rows; r0 += kTileRows) {
    const T* a_tile = packed + r0 * depth;
    const int64_t row_count = rows - r0 < kTileRows ? rows - r0 : kTileRows;
    // Vectors are filled through memory: GCC takes a vector made of a scalar apart before it knows the clone.
    T start[kTileRows * V::size] = {};
    if (bias != nullptr) {
      for (int64_t e = 0; e < row_count * V::size; ++e) start[e] = bias[r0 + e / V::size];
    }
    for (int64_t j = 0; j < columns; j += kTileColumns<T>) {
      typename V::type sums[kTileRows][kTileVectors];
#pragma GCC unroll 4
      for (int64_t i = 0; i < kTileRows; ++i) {
        sums[i][0] = sums[i][1] = sums[i][2] = V::load(start + i * V::size);
      }
      for (int64_t d = 0; d < depth; ++d) {
        const T* row = b + d * b_step + j;
        const typename V::type b0 = V::load(row), b1 = V::load(row + V::size),
                               b2 = V::load(row + 2 * V::size);
        const T* factors = a_tile + d * kTileRows;
#pragma GCC unroll 4
        for (int64_t i = 0; i < kTileRows; ++i) {
          sums[i][0] += factors[i] * b0;
          sums[i][1] += factors[i] * b1;
          sums[i][2] += factors[i] * b2;
        }
      }
      const int64_t count = columns - j < kTileColumns<T> ? columns - j : kTileColumns<T>;
      T* at = c + r0 * c_step + j;
      if (count == kTileColumns<T>) {
#pragma GCC unroll 4
        for (int64_t i = 0; i < kTileRows; ++i, at += c_step) {
          if (i >= row_count) continue;
#pragma GCC unroll 3
          for (int64_t v = 0; v < kTileVectors; ++v) {
            T* place = at + v * V::size;
            V::store(place, accumulate ? V::load(place) + sums[i][v] : sums[i][v]);
          }
        }
        continue;
      }
      T tail[kTileRows * kTileColumns<T>];
#pragma GCC unroll 4
      for (int64_t i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 3
        for (int64_t v = 0; v < kTileVectors; ++v) {
          V::store(tail + i * kTileColumns<T> + v * V::size, sums[i][v]);
        }
      }
      for (int64_t i = 0; i < row_count; ++i, at += c_step) {
        const T* values = tail + i * kTileColumns<T>;
        for (int64_t k = 0; k < count; ++k) at[k] = accumulate ? at[k] + values[k] : values[k];
      }
    }
  }
}

// The same for a b that may not be read past its columns: the last tile is copied to `rest`.
template <bool accumulate = false, class T>
ROTFAST_INLINE void bounded_panel_product(
    int64_t rows,
    int64_t depth,
    int64_t columns,
    const T* packed,
    const T* b,
    int64_t b_step,
    T* c,
    int64_t c_step,
    std::vector<T>& rest) {
  const int64_t whole = columns / kTileColumns<T> * kTileColumns<T>;
  const T* no_bias = nullptr;
  panel_product<accumulate>(rows, depth, whole, packed, b, b_step, no_bias, c, c_step);
  if (whole == columns) return;
  rest.assign(depth * kTileColumns<T>, T(0));
  for (int64_t d = 0; d < depth; ++d) {
    for (int64_t j = whole; j < columns; ++j) rest[d * kTileColumns<T> + j - whole] = b[d * b_step + j];
  }
  panel_product<accumulate>(
      rows, depth, columns - whole, packed, rest.data(), kTileColumns<T>, no_bias, c + whole, c_step);
}

constexpr int64_t kInnerColumns = 3;  // columns of an inner-product tile, with kTileRows rows

// sums[R, C, vector] += x[R, whole] * y[C, whole]^T, all R * C sums in registers.
template <int64_t R, int64_t C, class T>
ROTFAST_INLINE void inner_tile(
    int64_t whole, const T* x, int64_t x_step, const T* y, int64_t y_step, T* sums, int64_t sums_step) {
  using V = Vector<T>;
  typename V::type tile[R][C] = {};
  for (int64_t j = 0; j < whole; j += V::size) {
    typename V::type column[C];
    for (int64_t k = 0; k < C; ++k) column[k] = V::load(y + k * y_step + j);
    for (int64_t i = 0; i < R; ++i) {
      const typename V::type row = V::load(x + i * x_step + j);
      for (int64_t k = 0; k < C; ++k) tile[i][k] += row * column[k];
    }
  }
  for (int64_t i = 0; i < R; ++i) {
    for (int64_t k = 0; k < C; ++k) {
      T* at = sums + i * sums_step + k * V::size;
      V::store(at, V::load(at) + tile[i][k]);
    }
  }
}

template <int64_t R, class T>
ROTFAST_INLINE void inner_tile_columns(
    int64_t cols,
    int64_t whole,
    const T* x,
    int64_t x_step,
    const T* y,
    int64_t y_step,
    T* sums,
    int64_t sums_step) {
  if (cols == 1) return inner_tile<R, 1>(whole, x, x_step, y, y_step, sums, sums_step);
  if (cols == 2) return inner_tile<R, 2>(whole, x, x_step, y, y_step, sums, sums_step);
  inner_tile<R, kInnerColumns>(whole, x, x_step, y, y_step, sums, sums_step);
}

// sums[rows, cols, vector] += x[rows, columns] * y[cols, columns]^T over whole vectors; tail[rows, cols] +=
// the rest. The vectors are to be summed once at the end, so that the inner loop has no horizontal step.
template <class T>
ROTFAST_INLINE void panel_inner_products(
    int64_t rows,
    int64_t cols,
    int64_t columns,
    const T* x,
    int64_t x_step,
    const T* y,
    int64_t y_step,
    T* sums,
    T* tail) {
  using V = Vector<T>;
  const int64_t whole = columns / V::size * V::size, sums_step = cols * V::size;
  for (int64_t r = 0; r < rows; r += kTileRows) {
    const T* x_at = x + r * x_step;
    for (int64_t c = 0; c < cols; c += kInnerColumns) {
      const T* y_at = y + c * y_step;
      T* at = sums + r * sums_step + c * V::size;
      switch (rows - r) {
        case 1:
          inner_tile_columns<1>(cols - c, whole, x_at, x_step, y_at, y_step, at, sums_step);
          break;
        case 2:
          inner_tile_columns<2>(cols - c, whole, x_at, x_step, y_at, y_step, at, sums_step);
          break;
        case 3:
          inner_tile_columns<3>(cols - c, whole, x_at, x_step, y_at, y_step, at, sums_step);
          break;
        default:
          inner_tile_columns<kTileRows>(cols - c, whole, x_at, x_step, y_at, y_step, at, sums_step);
      }
    }
  }
  for (int64_t j = whole; j < columns; ++j) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < cols; ++k) tail[r * cols + k] += x[r * x_step + j] * y[k * y_step + j];
    }
  }
}

}  // namespace rotfast
