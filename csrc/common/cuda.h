// What every CUDA kernel's launcher needs.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>
#include <cstdint>

#include "common/tensor.h"

namespace rotfast {

// Makes a tensor's device the current one as long as it lives.
struct OnDevice {
  explicit OnDevice(const Tensor& tensor) : guard(tensor.get_device_index()) {}
  torch::stable::accelerator::DeviceGuard guard;
};

inline cudaStream_t current_stream() {
  void* stream = nullptr;
  const int32_t device = torch::stable::accelerator::getCurrentDeviceIndex();
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return static_cast<cudaStream_t>(stream);
}

// Blocks of a grid whose threads stride over `work` items, any number of them; at least one.
inline unsigned grid_size(int64_t work, int64_t per_block) {
  constexpr int64_t limit = (int64_t(1) << 31) - 1;
  return static_cast<unsigned>(std::clamp((work + per_block - 1) / per_block, int64_t(1), limit));
}

// The most blocks in a grid's second or third dimension.
constexpr int64_t kMostHeight = 65535;

// On the current device and stream. A function, as the commas of <<<>>> do not pass through macros.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, const Arguments&... arguments) {
  kernel<<<blocks, threads, 0, current_stream()>>>(arguments...);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// Dynamic shared memory of a block that every device offers, from compute capability 7.5 on.
constexpr int kMostMemory = 1 << 16;

// The same with shared memory of a block, in bytes, which the kernel finds by block_memory().
template <class... Parameters, class... Arguments>
void launch_with_memory(
    void (*kernel)(Parameters...), dim3 blocks, dim3 threads, int bytes, const Arguments&... arguments) {
  STD_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostMemory));
  kernel<<<blocks, threads, bytes, current_stream()>>>(arguments...);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class T>
__device__ __forceinline__ T* block_memory() {
  extern __shared__ double memory[];
  return reinterpret_cast<T*>(memory);
}

// With fewer a large device is not busy.
constexpr int64_t kManyBlocks = 1024;

constexpr int kWarp = 32;

// In the first lane, always by the same additions; all lanes of the warp must take part.
template <class T>
__device__ __forceinline__ T sum_of_warp(T value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_down_sync(0xffffffff, value, distance);
  }
  return value;
}

}  // namespace rotfast
