// The trilinear form F(g, x, W) = sum_n,o,i g[n,o] x[n,i] W[o,i] and its three derivatives, for one task:
// y = x W^T, gx = g W, gW = g^T x. Made for few rows and outputs and many features, as in a classifier's
// head.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/panel_gemm.h"

namespace rotfast {

struct LinearShape {
  int64_t tasks, N, I, O;
};

// Features taken at once: a block of every row of x and W stays in the L2 cache while all pairs are formed.
constexpr int64_t kFeatureBlock = 1024;

// y[n, o] = sum_i x[n, i] W[o, i] + bias[o].
template <class T>
ROTFAST_INLINE void linear_rows(
    const LinearShape& s, int64_t rows, const T* x, const T* W, const T* bias, std::vector<T>& sums, T* y) {
  using V = Vector<T>;
  sums.assign(rows * s.O * V::size, T(0));
  std::fill(y, y + rows * s.O, T(0));
  for (int64_t i = 0; i < s.I; i += kFeatureBlock) {
    panel_inner_products(rows, s.O, std::min(kFeatureBlock, s.I - i), x + i, s.I, W + i, s.I, sums.data(), y);
  }
  for (int64_t e = 0; e < rows * s.O; ++e) {
    y[e] += V::sum(V::load(sums.data() + e * V::size)) + (bias == nullptr ? T(0) : bias[e % s.O]);
  }
}

}  // namespace rotfast
