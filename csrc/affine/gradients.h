// The derivative operators of affine on the CPU; they are registered with it.
#pragma once

#include "affine/affine.h"

namespace rotfast {

Tensor affine_image_grad(
    const Tensor& g,
    const Tensor& matrix,
    const Ints& in_size,
    int64_t interpolation,
    int64_t padding,
    const Ints& order);

Tensor affine_matrix_grad(
    const Tensor& g,
    const Tensor& x,
    const Tensor& matrix,
    const std::optional<Tensor>& fill,
    int64_t interpolation,
    int64_t padding,
    const Ints& order);

}  // namespace rotfast
