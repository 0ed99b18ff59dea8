// Small matrix products on a panel of columns that stays in the L1 cache; written with GNU vector extensions.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/isa.h"

namespace rotfast {

// 32-byte vectors: one AVX register, two SSE ones elsewhere.
template <class T>
struct Vector {
  static constexpr int64_t size = 32 / sizeof(T);
  typedef T type __attribute__((vector_size(32)));

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

// c[rows, columns] = packed a[rows, depth] * b[depth, columns] (+ bias per row, if given).
// b must be readable up to the next multiple of kTileColumns; c is written on its columns only.
template <class T>
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
    for (int64_t j = 0; j < columns; j += kTileColumns<T>) {
      typename V::type sums[kTileRows][kTileVectors];
      for (int64_t i = 0; i < kTileRows; ++i) {
        const T start = bias != nullptr && i < row_count ? bias[r0 + i] : T(0);
        for (int64_t v = 0; v < kTileVectors; ++v) sums[i][v] = start - typename V::type{};
      }
      for (int64_t d = 0; d < depth; ++d) {
        const T* row = b + d * b_step + j;
        const typename V::type b0 = V::load(row), b1 = V::load(row + V::size),
                               b2 = V::load(row + 2 * V::size);
        const T* factors = a_tile + d * kTileRows;
        for (int64_t i = 0; i < kTileRows; ++i) {
          sums[i][0] += factors[i] * b0;
          sums[i][1] += factors[i] * b1;
          sums[i][2] += factors[i] * b2;
        }
      }
      if (columns - j >= kTileColumns<T>) {
        for (int64_t i = 0; i < row_count; ++i) {
          for (int64_t v = 0; v < kTileVectors; ++v)
            V::store(c + (r0 + i) * c_step + j + v * V::size, sums[i][v]);
        }
      } else {
        for (int64_t i = 0; i < row_count; ++i) {
          std::memcpy(c + (r0 + i) * c_step + j, sums[i], (columns - j) * sizeof(T));
        }
      }
    }
  }
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
  constexpr int64_t tile_cols = 3;
  const int64_t whole = columns / V::size * V::size;
  for (int64_t r0 = 0; r0 < rows; r0 += kTileRows) {
    const int64_t row_count = rows - r0 < kTileRows ? rows - r0 : kTileRows;
    for (int64_t c0 = 0; c0 < cols; c0 += tile_cols) {
      const int64_t col_count = cols - c0 < tile_cols ? cols - c0 : tile_cols;
      if (row_count == kTileRows && col_count == tile_cols) {
        typename V::type tile[kTileRows][tile_cols] = {};
        for (int64_t j = 0; j < whole; j += V::size) {
          const T* y_at = y + c0 * y_step + j;
          const typename V::type y0 = V::load(y_at), y1 = V::load(y_at + y_step),
                                 y2 = V::load(y_at + 2 * y_step);
          for (int64_t i = 0; i < kTileRows; ++i) {
            const typename V::type xi = V::load(x + (r0 + i) * x_step + j);
            tile[i][0] += xi * y0;
            tile[i][1] += xi * y1;
            tile[i][2] += xi * y2;
          }
        }
        for (int64_t i = 0; i < kTileRows; ++i) {
          for (int64_t k = 0; k < tile_cols; ++k) {
            T* at = sums + ((r0 + i) * cols + c0 + k) * V::size;
            V::store(at, V::load(at) + tile[i][k]);
          }
        }
      } else {
        for (int64_t i = 0; i < row_count; ++i) {
          for (int64_t k = 0; k < col_count; ++k) {
            typename V::type sum = {};
            for (int64_t j = 0; j < whole; j += V::size) {
              sum += V::load(x + (r0 + i) * x_step + j) * V::load(y + (c0 + k) * y_step + j);
            }
            T* at = sums + ((r0 + i) * cols + c0 + k) * V::size;
            V::store(at, V::load(at) + sum);
          }
        }
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
