// W[o,i,k] = sum A[o,p] B[i,q] C[k,l] w[p,q,l] and its gradient: shapes and arithmetic, free of torch.
//
// The product is taken in the order C, B, A:
//   inner[p,q,k]  = sum_l C[k,l] w[p,q,l]
//   middle[p,i,k] = sum_q B[i,q] inner[p,q,k]
//   W[o,i,k]      = sum_p A[o,p] middle[p,i,k]
#pragma once

#include <cstdint>

#include "common/isa.h"

#ifdef __CUDACC__
#define ROTFAST_HD __host__ __device__ __forceinline__
#else
#define ROTFAST_HD ROTFAST_INLINE
#endif

namespace rotfast {

struct KroneckerShape {
  int64_t P, Q, L;  // weight (P, Q, L)
  int64_t O, I, K;  // result (O, I, K)

  ROTFAST_HD int64_t inner() const { return P * Q * K; }
  ROTFAST_HD int64_t middle() const { return P * I * K; }
};

// out[rows, n] (+)= a[rows, depth] * b[depth, n], where element (r, d) of a is a[r * row_step + d *
// depth_step].
template <bool accumulate, class T>
ROTFAST_HD void matrix_rows(
    int64_t rows,
    int64_t depth,
    int64_t n,
    const T* a,
    int64_t row_step,
    int64_t depth_step,
    const T* b,
    T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    T* __restrict y = out + r * n;
    if (!accumulate) {
      for (int64_t j = 0; j < n; ++j) y[j] = T(0);
    }
    for (int64_t d = 0; d < depth; ++d) {
      const T factor = a[r * row_step + d * depth_step];
      const T* __restrict x = b + d * n;
      for (int64_t j = 0; j < n; ++j) y[j] += factor * x[j];
    }
  }
}

// out[rows, cols] += x[rows, n] * y[cols, n]^T.
template <class T>
ROTFAST_HD void add_row_products(int64_t rows, int64_t cols, int64_t n, const T* x, const T* y, T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      constexpr int64_t lanes = 8;  // independent sums, so that the loop vectorises without reordering rules
      T sums[lanes] = {};
      int64_t j = 0;
      for (; j + lanes <= n; j += lanes) {
        for (int64_t lane = 0; lane < lanes; ++lane) sums[lane] += x[r * n + j + lane] * y[c * n + j + lane];
      }
      T sum = T(0);
      for (; j < n; ++j) sum += x[r * n + j] * y[c * n + j];
      for (int64_t lane = 0; lane < lanes; ++lane) sum += sums[lane];
      out[r * cols + c] += sum;
    }
  }
}

template <class T>
ROTFAST_HD void kronecker_inner(const KroneckerShape& s, const T* w, const T* C, T* inner) {
  for (int64_t pq = 0; pq < s.P * s.Q; ++pq) {
    for (int64_t k = 0; k < s.K; ++k) {
      T sum = T(0);
      for (int64_t l = 0; l < s.L; ++l) sum += C[k * s.L + l] * w[pq * s.L + l];
      inner[pq * s.K + k] = sum;
    }
  }
}

template <class T>
ROTFAST_HD void kronecker_middle(const KroneckerShape& s, const T* inner, const T* B, T* middle) {
  for (int64_t p = 0; p < s.P; ++p) {
    matrix_rows<false>(s.I, s.Q, s.K, B, s.Q, int64_t(1), inner + p * s.Q * s.K, middle + p * s.I * s.K);
  }
}

}  // namespace rotfast
