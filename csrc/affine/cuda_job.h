// What the kernels that resample on a GPU are given, and how they store a value.
#pragma once

#include "affine/cuda.h"
#include "common/cuda.h"

namespace rotfast {
namespace {

template <class In, class Out>
struct Job {
  AffineShape s;
  AffineOptions options;
  Images<In> x;
  const double* matrices;
  const Channel* channels;  // or null: values as they are, zeros outside
  int64_t plane, pixel;     // steps in the result
  Out* y;
};

template <class S>
using Arithmetic = Accumulator<std::conditional_t<std::is_same_v<S, uint8_t>, float, S>>;

// A channel's scale, shift and fill, in the type of the arithmetic.
template <class T>
struct Levels {
  bool scaled;
  T scale, shift, fill;

  __device__ __forceinline__ Levels(const Channel* channels, int64_t c)
      : scaled(channels != nullptr),
        scale(scaled ? T(channels[c].scale) : T(1)),
        shift(scaled ? T(channels[c].shift) : T(0)),
        fill(scaled ? T(channels[c].fill) : T(0)) {}

  template <class In>
  __device__ __forceinline__ T operator()(In value) const {
    return scaled ? T(value) * scale + shift : T(value);
  }
};

// Whether samples are pixels as they are, as those of quarter turns.
__device__ __forceinline__ bool keeps_pixels(Order order, const double* m) {
  return order.u == 0 && order.v == 0 && maps_grid_onto_itself(m);
}

template <class Out, class T>
__device__ __forceinline__ Out stored(T value) {
  if constexpr (std::is_same_v<Out, uint8_t>) {
    return Out(fmin(fmax(rint(value), T(0)), T(255)));  // NaN becomes 0
  } else {
    return Out(value);
  }
}

}  // namespace
}  // namespace rotfast
