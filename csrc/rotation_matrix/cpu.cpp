// Matrices of rotations on the CPU: one call instead of thirty small ones.
#include "rotation_matrix/rotation_matrix.h"

#include "common/isa.h"
#include "common/tensor.h"
#include "rotation_matrix/arguments.h"

namespace rotfast {
namespace {

ROTFAST_CLONES void fill_matrices(const double* degrees, int64_t count, TurningPoint at, double* matrices) {
  for (int64_t n = 0; n < count; ++n) rotation_matrix(degrees[n], at, matrices + 6 * n);
}

Tensor rotation_matrices(const Tensor& angle_, double u, double v, double x, double y) {
  const Tensor angle = torch::stable::contiguous(angle_), result = new_matrices(angle);
  fill_matrices(data<double>(angle), angle.numel(), {u, v, x, y}, mutable_data<double>(result));
  return result;
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def("rotation_matrix(Tensor angle, float u, float v, float x, float y) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("rotation_matrix", TORCH_BOX(&rotfast::rotation_matrices));
}
