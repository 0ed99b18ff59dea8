// The trilinear form F(g, U, v) = sum_m,l g[m] U[m,l] v[l] and its three derivatives, on blocks of rows.
//
// U is stored row by row with L (3 to 30, typically) innermost. A block of rows is transposed once, so that
// the arithmetic of all tasks runs along m.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace rotfast {

constexpr int64_t kDenseBlock = 512;  // rows; with L = 3 a transposed block is 6 KB

// columns[l, m] = U[m, l] for the block's rows, or U = columns when `back`.
template <bool back, class T, class U>
ROTFAST_INLINE void transpose_loop(U* rows_first, int64_t rows, int64_t L, T* columns) {
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t l = 0; l < L; ++l) {
      if constexpr (back) {
        rows_first[m * L + l] = columns[l * kDenseBlock + m];
      } else {
        columns[l * kDenseBlock + m] = rows_first[m * L + l];
      }
    }
  }
}

// With L a constant the compiler shuffles whole vectors.
template <bool back, class T, class U>
ROTFAST_INLINE void transpose_block(U* rows_first, int64_t rows, int64_t L, T* columns) {
  switch (L) {
    case 1:
      return transpose_loop<back>(rows_first, rows, int64_t(1), columns);
    case 2:
      return transpose_loop<back>(rows_first, rows, int64_t(2), columns);
    case 3:
      return transpose_loop<back>(rows_first, rows, int64_t(3), columns);
    case 4:
      return transpose_loop<back>(rows_first, rows, int64_t(4), columns);
    case 6:
      return transpose_loop<back>(rows_first, rows, int64_t(6), columns);
    case 8:
      return transpose_loop<back>(rows_first, rows, int64_t(8), columns);
    default:
      return transpose_loop<back>(rows_first, rows, L, columns);
  }
}

template <class T>
ROTFAST_INLINE void transpose_rows(const T* U, int64_t rows, int64_t L, T* columns) {
  transpose_block<false>(U, rows, L, columns);
}

// W[m] = sum_l U[m, l] v[l].
template <class T>
ROTFAST_INLINE void dense_rows(const T* columns, int64_t rows, int64_t L, const T* v, T* W) {
  for (int64_t m = 0; m < rows; ++m) W[m] = L > 0 ? columns[m] * v[0] : T(0);
  for (int64_t l = 1; l < L; ++l) {
    const T* column = columns + l * kDenseBlock;
    for (int64_t m = 0; m < rows; ++m) W[m] += column[m] * v[l];
  }
}

// gv[l] += sum_m U[m, l] g[m].
template <class T>
ROTFAST_INLINE void dense_latent_grad(const T* columns, int64_t rows, int64_t L, const T* g, T* gv) {
  constexpr int64_t lanes = 16;
  for (int64_t l = 0; l < L; ++l) {
    const T* column = columns + l * kDenseBlock;
    T sums[lanes] = {};
    int64_t m = 0;
    for (; m + lanes <= rows; m += lanes) {
      for (int64_t i = 0; i < lanes; ++i) sums[i] += column[m + i] * g[m + i];
    }
    T sum = T(0);
    for (; m < rows; ++m) sum += column[m] * g[m];
    for (int64_t i = 0; i < lanes; ++i) sum += sums[i];
    gv[l] += sum;
  }
}

// columns[l, m] += g[m] v[l].
template <class T>
ROTFAST_INLINE void dense_outer(const T* g, int64_t rows, int64_t L, const T* v, T* columns) {
  for (int64_t l = 0; l < L; ++l) {
    T* column = columns + l * kDenseBlock;
    for (int64_t m = 0; m < rows; ++m) column[m] += g[m] * v[l];
  }
}

}  // namespace rotfast
