// What both kernels check and allocate.
#pragma once

#include "common/tensor.h"

namespace rotfast {

// (*, 2, 3) for angles of any shape.
inline Tensor new_matrices(const Tensor& angle) {
  STD_TORCH_CHECK(angle.scalar_type() == ScalarType::Double, "angle must be float64");
  std::vector<int64_t> sizes(angle.sizes().begin(), angle.sizes().end());
  sizes.insert(sizes.end(), {2, 3});
  return torch::stable::new_empty(angle, sizes);
}

}  // namespace rotfast
