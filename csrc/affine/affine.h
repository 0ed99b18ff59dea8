// What every kernel of the affine operator checks and prepares: shapes, dtypes, the channels' fill and scale.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <optional>
#include <type_traits>
#include <vector>

#include "affine/geometry.h"
#include "common/tensor.h"

namespace rotfast {

using Ints = std::vector<int64_t>;

// The type in which pixels of a stored type are summed.
template <class S>
using Accumulator = std::conditional_t<std::is_same_v<S, double>, double, float>;

struct AffineOptions {
  Interpolation interpolation;
  Padding padding;
  Order order;
};

inline AffineOptions affine_options(int64_t interpolation, int64_t padding, const Ints& order) {
  STD_TORCH_CHECK(interpolation >= 0 && interpolation <= 2, "interpolation must be 0, 1 or 2");
  STD_TORCH_CHECK(padding >= 0 && padding <= 2, "padding must be 0, 1 or 2");
  STD_TORCH_CHECK(order.size() == 2 && order[0] >= 0 && order[1] >= 0, "order must be two numbers from 0 up");
  return {Interpolation(interpolation), Padding(padding), {int(order[0]), int(order[1])}};
}

inline void check_matrix(const Tensor& matrix, const Tensor& images) {
  STD_TORCH_CHECK(
      matrix.dim() == 4 && matrix.size(2) == 2 && matrix.size(3) == 3 && matrix.size(0) == images.size(0) &&
          matrix.scalar_type() == ScalarType::Double,
      "matrix must be (N, K, 2, 3) of float64");
  STD_TORCH_CHECK(matrix.is_cpu() == images.is_cpu(), "matrix must be on the device of the images");
}

// The shape of a resampling of x (N, C, H, W) to a canvas.
inline AffineShape affine_shape(const Tensor& x, const Tensor& matrix, const Ints& size) {
  STD_TORCH_CHECK(x.dim() == 4, "x must be (N, C, H, W)");
  STD_TORCH_CHECK(size.size() == 2 && size[0] >= 0 && size[1] >= 0, "size must be two numbers from 0 up");
  check_matrix(matrix, x);
  const AffineShape s{x.size(0), matrix.size(1), x.size(1), x.size(2), x.size(3), size[0], size[1]};
  STD_TORCH_CHECK(s.H > 0 && s.W > 0, "x must have at least one pixel");
  return s;
}

// The shape of a gradient: g is (N, K, C, OH, OW).
inline AffineShape gradient_shape(const Tensor& g, const Tensor& matrix, int64_t H, int64_t W) {
  STD_TORCH_CHECK(g.dim() == 5, "g must be (N, K, C, OH, OW)");
  check_matrix(matrix, g);
  STD_TORCH_CHECK(g.size(1) == matrix.size(1), "g must have the K of matrix");
  STD_TORCH_CHECK(H > 0 && W > 0, "the images must have at least one pixel");
  return {g.size(0), g.size(1), g.size(2), H, W, g.size(3), g.size(4)};
}

// A tensor of images as it lies in memory, in elements.
template <class S>
struct Images {
  const S* first;
  int64_t image, channel, row, pixel;

  const S* plane(int64_t n, int64_t c) const { return first + n * image + c * channel; }
};

template <class S>
Images<S> images(const Tensor& x) {
  const auto stride = x.strides();
  return {data<S>(x), stride[0], stride[1], stride[2], stride[3]};
}

// What becomes of an input value of a channel: value * scale + shift; and what stands outside, so
// transformed.
struct Channel {
  double scale, shift, fill;
};

// Values count in units of 1/255 where bytes are normalised.
ROTFAST_HOST_DEVICE Channel prepared_channel(double unit, double fill, double mean, double std) {
  const double scale = unit / std, shift = -mean / std;
  return {scale, shift, fill * scale + shift};
}

inline double unit_of_values(bool bytes, bool normalized) { return bytes && normalized ? 1.0 / 255 : 1; }

inline void check_per_channel(const Tensor& given, int64_t count) {
  STD_TORCH_CHECK(
      given.dim() == 1 && given.size(0) == count && given.scalar_type() == ScalarType::Double,
      "fill, mean and std must be (C,) of float64");
}

inline std::vector<Channel> channels(
    int64_t count,
    bool bytes,
    const std::optional<Tensor>& fill,
    const std::optional<Tensor>& mean,
    const std::optional<Tensor>& std) {
  const auto values = [&](const std::optional<Tensor>& given, double otherwise) {
    if (!given.has_value()) return std::vector<double>(count, otherwise);
    check_per_channel(*given, count);
    const Tensor dense = torch::stable::contiguous(*given);
    return std::vector<double>(data<double>(dense), data<double>(dense) + count);
  };
  const std::vector<double> fills = values(fill, 0), means = values(mean, 0), stds = values(std, 1);
  const double unit = unit_of_values(bytes, mean.has_value() || std.has_value());
  std::vector<Channel> result(count);
  for (int64_t c = 0; c < count; ++c) result[c] = prepared_channel(unit, fills[c], means[c], stds[c]);
  return result;
}

}  // namespace rotfast

// Calls body<kind>() for an interpolation.
#define ROTFAST_DISPATCH_INTERPOLATION(interpolation, ...) \
  switch (interpolation) { \
    case rotfast::Interpolation::nearest: { \
      constexpr auto kind = rotfast::Interpolation::nearest; \
      __VA_ARGS__; \
      break; \
    } \
    case rotfast::Interpolation::bilinear: { \
      constexpr auto kind = rotfast::Interpolation::bilinear; \
      __VA_ARGS__; \
      break; \
    } \
    case rotfast::Interpolation::bicubic: { \
      constexpr auto kind = rotfast::Interpolation::bicubic; \
      __VA_ARGS__; \
      break; \
    } \
  }

// Calls body<stored_t>() for the floating types that gradients are stored in.
#define ROTFAST_DISPATCH_STORED(type, name, ...) \
  switch (type) { \
    case torch::headeronly::ScalarType::Half: { \
      using stored_t = c10::Half; \
      __VA_ARGS__; \
      break; \
    } \
    case torch::headeronly::ScalarType::BFloat16: { \
      using stored_t = c10::BFloat16; \
      __VA_ARGS__; \
      break; \
    } \
    case torch::headeronly::ScalarType::Float: { \
      using stored_t = float; \
      __VA_ARGS__; \
      break; \
    } \
    case torch::headeronly::ScalarType::Double: { \
      using stored_t = double; \
      __VA_ARGS__; \
      break; \
    } \
    default: \
      STD_TORCH_CHECK(false, name, ": dtype must be a floating type"); \
  }
