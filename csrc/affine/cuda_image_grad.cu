// The adjoint of the resampling on a GPU. Every pixel gathers from the outputs that see it, in a fixed order:
// no atomics, and the same sums every time.
#include "affine/cuda.h"
#include "common/cuda.h"

namespace rotfast {
namespace {

constexpr int kThreads = 128, kBlocks = 3;  // on a multiprocessor, with registers enough to spill none

// Either the pixels inside a margin, or those of the outermost ring.
struct Pixels {
  int64_t H, W, margin;
  bool ring;

  int64_t count() const { return ring ? 2 * W + 2 * (H - 2) : (H - 2 * margin) * (W - 2 * margin); }

  __device__ __forceinline__ void locate(int64_t number, int64_t& j, int64_t& i) const {
    if (!ring) {
      j = margin + number / (W - 2 * margin);
      i = margin + number % (W - 2 * margin);
    } else if (number < 2 * W) {
      j = number < W ? 0 : H - 1;
      i = number < W ? number : number - W;
    } else {
      j = 1 + (number - 2 * W) / 2;
      i = (number - 2 * W) % 2 == 0 ? 0 : W - 1;
    }
  }
};

// A unit is a pixel with `group` channels of its image; `lanes` threads, one or a warp, share its outputs.
template <Interpolation kind, int group, class S>
__global__ void __launch_bounds__(kThreads, kBlocks) gather_pixels(
    const AffineShape s,
    const AffineOptions options,
    const Pixels pixels,
    int64_t count,
    int64_t units,
    int lanes,
    const S* g,
    const double* matrices,
    S* gx) {
  using T = Accumulator<S>;
  const int64_t plane = s.OH * s.OW, groups = (s.C + group - 1) / group;
  const int lane = threadIdx.x % lanes;
  const int64_t stride = int64_t(gridDim.x) * kThreads / lanes;
  for (int64_t unit = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / lanes; unit < units; unit += stride) {
    const int64_t n = unit / (count * groups), first = unit / count % groups * group;
    int64_t j, i;
    pixels.locate(unit % count, j, i);
    T sums[group] = {};
    for (int64_t k = 0; k < s.K; ++k) {
      const S* grad = g + ((n * s.K + k) * s.C + first) * plane;
      const auto add = [&](int64_t X, int64_t Y, T weight) {
#pragma unroll
        for (int c = 0; c < group; ++c) {
          if (first + c < s.C) sums[c] += weight * T(grad[c * plane + Y * s.OW + X]);
        }
      };
      gather<kind, T>(
          s, matrices + 6 * (n * s.K + k), options.padding, options.order, j, i, add, Share{lane, lanes});
    }
#pragma unroll
    for (int c = 0; c < group; ++c) {
      const T sum = lanes == 1 ? sums[c] : sum_of_warp(sums[c]);
      if (lane == 0 && first + c < s.C) gx[((n * s.C + first + c) * s.H + j) * s.W + i] = S(sum);
    }
  }
}

template <Interpolation kind, int group, class S>
void gather_from(
    const AffineShape& s,
    const AffineOptions& options,
    const Pixels& pixels,
    int lanes,
    const Tensor& g,
    const Tensor& matrix,
    const Tensor& gx) {
  const int64_t count = pixels.count(), units = s.N * ((s.C + group - 1) / group) * count;
  if (units == 0) return;
  launch(
      gather_pixels<kind, group, S>, grid_size(units * lanes, kThreads), dim3(kThreads), s, options, pixels,
      count, units, lanes, data<S>(g), data<double>(matrix), mutable_data<S>(gx));
}

template <Interpolation kind, int group, class S>
void gather_all(
    const AffineShape& s,
    const AffineOptions& options,
    const Tensor& g,
    const Tensor& matrix,
    const Tensor& gx) {
  const bool line = s.H == 1 || s.W == 1;
  if (options.padding == Padding::constant || (options.padding == Padding::reflection && !line)) {
    return gather_from<kind, group, S>(s, options, {s.H, s.W, 0, false}, 1, g, matrix, gx);
  }
  // All outputs beyond the border see its pixels: a warp for each of them.
  if (line) return gather_from<kind, group, S>(s, options, {s.H, s.W, 0, false}, kWarp, g, matrix, gx);
  gather_from<kind, group, S>(s, options, {s.H, s.W, 0, true}, kWarp, g, matrix, gx);
  gather_from<kind, group, S>(s, options, {s.H, s.W, 1, false}, 1, g, matrix, gx);
}

Tensor affine_image_grad(
    const Tensor& g_,
    const Tensor& matrix_,
    const Ints& in_size,
    int64_t interpolation,
    int64_t padding,
    const Ints& order) {
  const OnDevice device(g_);
  STD_TORCH_CHECK(in_size.size() == 2, "in_size must be two numbers");
  const AffineShape s = gradient_shape(g_, matrix_, in_size[0], in_size[1]);
  const AffineOptions options = affine_options(interpolation, padding, order);
  const Tensor g = torch::stable::contiguous(g_), matrix = on_device_of(g, "matrix", matrix_);
  Tensor gx = new_result(g, {s.N, s.C, s.H, s.W});
  ROTFAST_DISPATCH_STORED(g.scalar_type(), "affine_image_grad", {
    ROTFAST_DISPATCH_INTERPOLATION(options.interpolation, {
      if (s.C == 1) {
        gather_all<kind, 1, stored_t>(s, options, g, matrix, gx);
      } else {
        gather_all<kind, 4, stored_t>(s, options, g, matrix, gx);
      }
    });
  });
  return gx;
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_IMPL(rotfast, CUDA, m) {
  m.impl("affine_image_grad", TORCH_BOX(&rotfast::affine_image_grad));
}
