// Stands in for csrc/common/cuda.h where CUDA sources are compiled for the CPU. The threads of a block are
// fibers that take turns at barriers, in one order in even blocks and in the other in odd ones, so that
// kernels run as they are written and a missing barrier shows. Nothing here knows streams, caches or warps in
// step.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "common/tensor.h"

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint2 {
  unsigned x, y;
};
struct uint4 {
  unsigned x, y, z, w;
};

inline dim3 threadIdx, blockIdx, gridDim, blockDim;

namespace emulation {

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  dim3 thread;
  bool done;
};

inline ucontext_t scheduler;
inline Fiber* current;
inline std::function<void()> kernel;
inline double of_threads[1024];      // what a shuffle hands over
inline std::vector<uint8_t> memory;  // of a block; its bytes are those of NaN before it begins

inline void enter() {
  kernel();
  current->done = true;
  swapcontext(&current->context, &scheduler);
}

inline void wait() {
  Fiber* self = current;
  swapcontext(&self->context, &scheduler);
  current = self;
  threadIdx = self->thread;
}

inline void run_block(std::vector<Fiber>& fibers, bool backwards) {
  constexpr size_t kStack = 1 << 17;
  std::fill(memory.begin(), memory.end(), 0xff);
  for (size_t i = 0; i < fibers.size(); ++i) {
    Fiber& fiber = fibers[i];
    const unsigned n = unsigned(i);
    fiber.thread = dim3(n % blockDim.x, n / blockDim.x % blockDim.y, n / (blockDim.x * blockDim.y));
    fiber.done = false;
    fiber.stack.resize(kStack);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  for (size_t left = fibers.size(); left > 0;) {
    for (size_t i = 0; i < fibers.size(); ++i) {
      Fiber& fiber = fibers[backwards ? fibers.size() - 1 - i : i];
      if (fiber.done) continue;
      current = &fiber;
      threadIdx = fiber.thread;
      swapcontext(&scheduler, &fiber.context);
      left -= fiber.done;
    }
  }
}

}  // namespace emulation

inline void __syncthreads() { emulation::wait(); }

// Every thread of the block must call it, which is more than CUDA asks for.
template <class T>
T __shfl_down_sync(unsigned, T value, int distance) {
  const unsigned self = threadIdx.x, other = self % 32 + distance < 32 ? self + distance : self;
  emulation::of_threads[self] = double(value);
  emulation::wait();
  const T result = T(emulation::of_threads[other]);
  emulation::wait();
  return result;
}

namespace rotfast {

struct OnDevice {
  explicit OnDevice(const Tensor&) {}
};

// Few blocks, so that every loop over a grid's share of the work goes round.
inline unsigned grid_size(int64_t work, int64_t per_block) {
  return static_cast<unsigned>(std::clamp((work + per_block - 1) / per_block, int64_t(1), int64_t(5)));
}

template <class T>
T* block_memory() {
  return reinterpret_cast<T*>(emulation::memory.data());
}

constexpr int64_t kMostHeight = 3;

template <class... Parameters, class... Arguments>
void launch_with_memory(
    void (*kernel)(Parameters...), dim3 blocks, dim3 threads, int bytes, const Arguments&... arguments) {
  static std::vector<emulation::Fiber> fibers;
  emulation::memory.resize(bytes);
  fibers.resize(threads.x * threads.y * threads.z);
  gridDim = blocks;
  blockDim = threads;
  emulation::kernel = [&] { kernel(arguments...); };
  for (unsigned block = 0; block < blocks.x * blocks.y * blocks.z; ++block) {
    blockIdx = dim3(block % blocks.x, block / blocks.x % blocks.y, block / (blocks.x * blocks.y));
    emulation::run_block(fibers, block % 2 == 1);
  }
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, const Arguments&... arguments) {
  launch_with_memory(kernel, blocks, threads, 0, arguments...);
}

constexpr int kMostMemory = 1 << 16;
constexpr int64_t kManyBlocks = 2;  // few, so that a block has several pieces of work of one kind
constexpr int kWarp = 32;

template <class T>
T sum_of_warp(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_down_sync(~0u, value, distance);
  return value;
}

}  // namespace rotfast

// Under a namespace of their own, on the CPU: the operators of rotfast have their CPU kernels there.
#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY_IMPL(space, key, m) _STABLE_TORCH_LIBRARY_IMPL(rotfast_emulated, CPU, m, C10_UID)
