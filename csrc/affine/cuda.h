// Arguments of the affine operator's CUDA kernels.
#pragma once

#include <optional>

#include "affine/affine.h"

namespace rotfast {

inline Tensor on_device_of(const Tensor& images, const char* name, const Tensor& given) {
  STD_TORCH_CHECK(given.device() == images.device(), name, " must be on the device of the images");
  return torch::stable::contiguous(given);
}

// fill, mean or std: one number per channel, in the memory of the device, or none.
struct PerChannel {
  PerChannel(const Tensor& images, int64_t channels, const std::optional<Tensor>& given) {
    if (!given.has_value()) return;
    check_per_channel(*given, channels);
    kept = on_device_of(images, "fill, mean and std", *given);
    values = data<double>(*kept);
  }

  std::optional<Tensor> kept;
  const double* values = nullptr;
};

}  // namespace rotfast
