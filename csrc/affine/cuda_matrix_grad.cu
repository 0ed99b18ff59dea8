// The gradient of the resampling in its matrices on a GPU: sums in float64 of fixed shares of the output
// pixels, then of these sums.
#include "affine/cuda.h"
#include "common/cuda.h"

namespace rotfast {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kEntries = 6;
constexpr int64_t kPixels = 4 * kThreads;  // of a share; there are at most kShares of them
constexpr int64_t kShares = 64;

template <class S>
struct Job {
  AffineShape s;
  AffineOptions options;
  const S *g, *x;
  const double *matrices, *fill;  // fill or null
  int64_t shares;
  double* sums;  // (N, K, shares, 6)
};

// Slopes of the resampled image along columns and rows of the source at an output pixel, times g.
template <Interpolation kind, class S>
__device__ __forceinline__ void slopes_at(
    const Job<S>& job, int64_t nk, int64_t X, int64_t Y, double& slope_u, double& slope_v) {
  using T = Accumulator<S>;
  constexpr int count = tap_count(kind);
  const AffineShape& s = job.s;
  const Padding padding = job.options.padding;
  const Order order = job.options.order;
  const double* m = job.matrices + kEntries * nk;
  const double u = bounded(position(m, 0, X, Y), s.W, padding);
  const double v = bounded(position(m, 1, X, Y), s.H, padding);
  const Taps<kind, T> columns(u, order.u), column_slopes(u, order.u + 1);
  const Taps<kind, T> rows(v, order.v), row_slopes(v, order.v + 1);
  int64_t across[count], down[count];
#pragma unroll
  for (int tap = 0; tap < count; ++tap) {
    across[tap] = source_index(columns.first + tap, s.W, padding);
    down[tap] = source_index(rows.first + tap, s.H, padding);
  }
  const S* plane = job.x + nk / s.K * s.C * s.H * s.W;
  const S* g = job.g + nk * s.C * s.OH * s.OW + Y * s.OW + X;
  slope_u = slope_v = 0;
  for (int64_t c = 0; c < s.C; ++c, plane += s.H * s.W, g += s.OH * s.OW) {
    const T fill = job.fill == nullptr ? T(0) : T(job.fill[c]);
    T sum_u = 0, sum_v = 0;
#pragma unroll
    for (int b = 0; b < count; ++b) {
      T line = 0, slope = 0;  // equal pixels have a slope of exactly 0
#pragma unroll
      for (int a = 0; a < count; ++a) {
        const bool inside = down[b] >= 0 && across[a] >= 0;
        const T value = inside ? T(plane[down[b] * s.W + across[a]]) : fill;
        line += columns.weight[a] * value;
        slope += column_slopes.weight[a] * value;
      }
      sum_u += rows.weight[b] * slope;
      sum_v += row_slopes.weight[b] * line;
    }
    slope_u += double(*g) * double(sum_u);
    slope_v += double(*g) * double(sum_v);
  }
}

template <Interpolation kind, class S>
__global__ void __launch_bounds__(kThreads, 1) sum_shares(const Job<S> job) {
  __shared__ double of_warps[kWarps][kEntries];
  const AffineShape& s = job.s;
  const int64_t units = s.N * s.K * job.shares, step = job.shares * kThreads;
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const int64_t nk = unit / job.shares;
    double sums[kEntries] = {};
    for (int64_t e = unit % job.shares * kThreads + threadIdx.x; e < s.OH * s.OW; e += step) {
      const int64_t X = e % s.OW, Y = e / s.OW;
      double slope_u, slope_v;
      slopes_at<kind>(job, nk, X, Y, slope_u, slope_v);
      sums[0] += slope_u * double(X);
      sums[1] += slope_u * double(Y);
      sums[2] += slope_u;
      sums[3] += slope_v * double(X);
      sums[4] += slope_v * double(Y);
      sums[5] += slope_v;
    }
#pragma unroll
    for (int entry = 0; entry < kEntries; ++entry) {
      const double sum = sum_of_warp(sums[entry]);
      if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp][entry] = sum;
    }
    __syncthreads();
    if (threadIdx.x < kEntries) {
      double sum = 0;
      for (int warp = 0; warp < kWarps; ++warp) sum += of_warps[warp][threadIdx.x];
      job.sums[unit * kEntries + threadIdx.x] = sum;
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads)
    add_shares(int64_t entries, int64_t shares, const double* sums, double* out) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t e = int64_t(blockIdx.x) * kThreads + threadIdx.x; e < entries; e += stride) {
    double sum = 0;
    for (int64_t share = 0; share < shares; ++share) {
      sum += sums[(e / kEntries * shares + share) * kEntries + e % kEntries];
    }
    out[e] = sum;
  }
}

Tensor affine_matrix_grad(
    const Tensor& g_,
    const Tensor& x_,
    const Tensor& matrix_,
    const std::optional<Tensor>& fill_,
    int64_t interpolation,
    int64_t padding,
    const Ints& order) {
  const OnDevice device(g_);
  STD_TORCH_CHECK(
      x_.dim() == 4 && g_.dim() == 5 && x_.size(0) == g_.size(0) && x_.size(1) == g_.size(2),
      "x must be (N, C, H, W) with the N and C of g");
  check_like("x", x_, g_);
  const AffineShape s = gradient_shape(g_, matrix_, x_.size(2), x_.size(3));
  const AffineOptions options = affine_options(interpolation, padding, order);
  const Tensor g = torch::stable::contiguous(g_), x = on_device_of(g, "x", x_),
               matrix = on_device_of(g, "matrix", matrix_);
  const PerChannel fill(x, s.C, fill_);
  const int64_t shares = std::clamp((s.OH * s.OW + kPixels - 1) / kPixels, int64_t(1), kShares);
  const int64_t matrices = s.N * s.K;
  if (matrices == 0 || options.interpolation == Interpolation::nearest)
    return torch::stable::new_zeros(matrix, Ints{s.N, s.K, 2, 3});
  const Tensor sums = new_result(matrix, {s.N, s.K * shares, 2, 3});
  ROTFAST_DISPATCH_STORED(g.scalar_type(), "affine_matrix_grad", {
    const Job<stored_t> job{
        s,           options, data<stored_t>(g),         data<stored_t>(x), data<double>(matrix),
        fill.values, shares,  mutable_data<double>(sums)};
    const unsigned blocks = grid_size(matrices * shares, 1);
    if (options.interpolation == Interpolation::bilinear) {
      launch(sum_shares<Interpolation::bilinear, stored_t>, blocks, dim3(kThreads), job);
    } else {
      launch(sum_shares<Interpolation::bicubic, stored_t>, blocks, dim3(kThreads), job);
    }
  });
  if (shares == 1) return sums;
  const int64_t entries = matrices * kEntries;
  Tensor result = new_result(matrix, {s.N, s.K, 2, 3});
  launch(
      add_shares, grid_size(entries, kThreads), dim3(kThreads), entries, shares, data<double>(sums),
      mutable_data<double>(result));
  return result;
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_IMPL(rotfast, CUDA, m) {
  m.impl("affine_matrix_grad", TORCH_BOX(&rotfast::affine_matrix_grad));
}
