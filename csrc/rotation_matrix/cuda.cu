#include "common/cuda.h"
#include "rotation_matrix/arguments.h"
#include "rotation_matrix/rotation_matrix.h"

namespace rotfast {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    fill_matrices(const double* degrees, int64_t count, TurningPoint at, double* matrices) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t n = int64_t(blockIdx.x) * kThreads + threadIdx.x; n < count; n += stride)
    rotation_matrix(degrees[n], at, matrices + 6 * n);
}

Tensor rotation_matrices(const Tensor& angle_, double u, double v, double x, double y) {
  const OnDevice device(angle_);
  const Tensor angle = torch::stable::contiguous(angle_), result = new_matrices(angle);
  const int64_t count = angle.numel();
  const TurningPoint at{u, v, x, y};
  launch(
      fill_matrices, grid_size(count, kThreads), dim3(kThreads), data<double>(angle), count, at,
      mutable_data<double>(result));
  return result;
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_IMPL(rotfast, CUDA, m) {
  m.impl("rotation_matrix", TORCH_BOX(&rotfast::rotation_matrices));
}
