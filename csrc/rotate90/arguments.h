// What the kernels of every device do before the first pixel: checks, the result, the steps through both.
#pragma once

#include "common/tensor.h"
#include "rotate90/rotate90.h"

namespace rotfast {

struct Turning {
  Turns turns;
  int64_t element;  // bytes
  Tensor result;
};

// `leading`: the sizes in front of the result's channels. It keeps the memory order of x.
inline Turning prepare_turns(const Tensor& x, const std::vector<int64_t>& leading, const Turns& given) {
  const int64_t N = x.size(0), C = x.size(1), H = x.size(2), W = x.size(3);
  const bool together = is_channels_last(x);
  Turns turns = given;
  turns.images = N;
  turns.channels = together ? 1 : C;
  turns.counted = H == W ? 3 : 2;  // two's complement: modulo 4 for negative numbers, too
  turns.height = H;
  turns.width = W;
  turns.in_image = together ? H * W : x.stride(0);
  turns.in_channel = x.stride(1);
  turns.in_row = together ? W : x.stride(2);
  turns.in_column = together ? 1 : x.stride(3);
  const int64_t element = static_cast<int64_t>(x.element_size()) * (together ? C : 1);
  return {turns, element, new_images(x, leading, C, H, W, together)};
}

inline bool is_square(const Tensor& x) { return x.size(2) == x.size(3); }

inline Turning prepare_rotate90(const Tensor& x, const Tensor& k) {
  STD_TORCH_CHECK(x.dim() == 4, "rotate90: x must be (N, C, H, W)");
  STD_TORCH_CHECK(k.scalar_type() == ScalarType::Long, "rotate90: k must be int64");
  STD_TORCH_CHECK(k.device() == x.device(), "rotate90: k must be on the device of x");
  STD_TORCH_CHECK(
      (k.dim() == 1 || k.dim() == 2) && k.size(0) == x.size(0), "rotate90: k must be (N) or (N, K)");
  Turns turns{};
  turns.copies = k.dim() == 2 ? k.size(1) : 1;
  turns.image_stride = turns.copies;
  turns.copy_stride = 1;
  turns.table = data<int64_t>(k);
  std::vector<int64_t> leading{x.size(0)};
  if (k.dim() == 2) leading.push_back(turns.copies);
  return prepare_turns(x, leading, turns);
}

inline Turning prepare_rotate90_all(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 4, "rotate90_all: x must be (N, C, H, W)");
  STD_TORCH_CHECK(is_square(x), "rotate90_all: images must be square");
  Turns turns{};
  turns.copies = 4;
  turns.image_stride = 1;
  turns.copy_stride = x.size(0);
  return prepare_turns(x, {4 * x.size(0)}, turns);
}

// Odd turns of an image that is not square have no place in the result; k is on the CPU.
inline void check_half_turns(const Tensor& k) {
  const int64_t* quarters = data<int64_t>(k);
  for (int64_t i = 0; i < k.numel(); ++i) {
    STD_TORCH_CHECK(
        quarters[i] % 2 == 0, "rotate90: k must be even where images are not square, got ", quarters[i]);
  }
}

}  // namespace rotfast
