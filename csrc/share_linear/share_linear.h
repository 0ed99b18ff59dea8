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

// out[rows, columns) = a[rows, depth] b[depth, columns], where element (r, d) of a is a[r * row_step + d *
// depth_step] and b has rows of length s.I; columns [begin, end). The last tile is copied, since it would
// read past a row of b.
template <class T>
ROTFAST_INLINE void product_columns(
    const LinearShape& s,
    int64_t rows,
    int64_t depth,
    const T* packed,
    const T* b,
    int64_t begin,
    int64_t end,
    std::vector<T>& rest,
    T* out) {
  const int64_t whole = begin + (end - begin) / kTileColumns<T> * kTileColumns<T>;
  const T* no_bias = nullptr;
  panel_product(rows, depth, whole - begin, packed, b + begin, s.I, no_bias, out + begin, s.I);
  if (whole == end) return;
  rest.assign(depth * kTileColumns<T>, T(0));
  for (int64_t d = 0; d < depth; ++d) {
    std::copy(b + d * s.I + whole, b + d * s.I + end, rest.data() + d * kTileColumns<T>);
  }
  panel_product(rows, depth, end - whole, packed, rest.data(), kTileColumns<T>, no_bias, out + whole, s.I);
}

}  // namespace rotfast
