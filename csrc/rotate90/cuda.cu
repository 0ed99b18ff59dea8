#include "common/cuda.h"
#include "common/run.h"
#include "rotate90/arguments.h"

namespace rotfast {
namespace {

constexpr int kTile = 32;
constexpr int kThreads = 256;

struct Plane {
  int64_t image, copy, channel;
};

// The copies of a channel lie beside each other, so that it is read from memory once.
__device__ __forceinline__ Plane plane_at(const Turns& turns, int64_t number) {
  const int64_t plane = number / turns.copies;
  return {plane / turns.channels, number % turns.copies, plane % turns.channels};
}

// A part of a channel, and where its turned copy lies in the result.
struct Tile {
  int64_t top, left;
  int height, width;

  __device__ __forceinline__ Tile(const Turns& turns, int64_t number, int64_t across)
      : top(number / across * kTile),
        left(number % across * kTile),
        height(int(turns.height - top < kTile ? turns.height - top : kTile)),
        width(int(turns.width - left < kTile ? turns.width - left : kTile)) {}

  __device__ __forceinline__ int64_t first(const Turns& turns, int64_t quarters) const {
    const int64_t below = turns.height - top - height, right = turns.width - left - width;
    switch (quarters) {
      case 0:
        return top * turns.width + left;
      case 1:
        return right * turns.width + top;
      case 2:
        return below * turns.width + right;
      default:
        return left * turns.width + below;
    }
  }
};

// A tile is loaded once, and all its copies are stored from shared memory: so rows go through memory as runs,
// whichever way they turn.
template <class T, int run>
__global__ void __launch_bounds__(kThreads)
    turn_tiles(const Turns turns, int64_t across, int64_t down, int64_t units, const T* x, T* y) {
  // Rows an odd number of 4-byte banks long: a column has every bank once.
  constexpr int stride = kTile + (sizeof(T) < 4 ? 4 / sizeof(T) : 1);
  constexpr int runs = kTile / run;
  __shared__ T shared[kTile * stride];
  const bool by_rows = turns.in_column == 1 || turns.in_row != 1;  // how neighbours lie in the image
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const int64_t plane = unit / (across * down);
    const int64_t image = plane / turns.channels, channel = plane % turns.channels;
    const Tile tile(turns, unit % (across * down), across);
    const T* in = x + turns.in(image, channel) + tile.top * turns.in_row + tile.left * turns.in_column;
    for (int step = threadIdx.x; step < kTile * runs; step += kThreads) {
      const int fast = step % runs * run, slow = step / runs;
      const int row = by_rows ? slow : fast, column = by_rows ? fast : slow;
      if (row < tile.height && column < tile.width) {
        const T* from = in + row * turns.in_row + column * turns.in_column;
        const auto values = *reinterpret_cast<const Run<T, run>*>(from);
#pragma unroll
        for (int e = 0; e < run; ++e) shared[row * stride + column + e] = values.at[e];
      }
    }
    __syncthreads();
    for (int64_t copy = 0; copy < turns.copies; ++copy) {
      const int64_t quarters = turns.quarters(image, copy);
      const Walk walk = turned(quarters, tile.height, tile.width, stride, 1);
      const int begin = int(walk.first), row_step = int(walk.row_step), column_step = int(walk.column_step);
      const bool odd = quarters % 2 == 1;
      const int height = odd ? tile.width : tile.height, width = odd ? tile.height : tile.width;
      T* out = y + turns.out(image, copy, channel) + tile.first(turns, quarters);
#pragma unroll 1
      for (int step = threadIdx.x; step < kTile * runs; step += kThreads) {
        const int i = step / runs, j = step % runs * run;
        if (i < height && j < width) {
          Run<T, run> values;
#pragma unroll
          for (int e = 0; e < run; ++e) {
            values.at[e] = shared[begin + i * row_step + (j + e) * column_step];
          }
          *reinterpret_cast<Run<T, run>*>(out + i * turns.width + j) = values;
        }
      }
    }
    __syncthreads();  // before the next tile overwrites this one
  }
}

// Elements of several parts, as pixels with their channels together: a thread for each part.
template <class T>
__global__ void __launch_bounds__(kThreads)
    turn_parts(const Turns turns, int64_t parts, int64_t total, const T* x, T* y) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x; index < total; index += stride) {
    const int64_t part = index % parts, pixel = index / parts;
    const int64_t j = pixel % turns.width, row = pixel / turns.width;
    const int64_t i = row % turns.height;
    const Plane plane = plane_at(turns, row / turns.height);
    const Walk walk = turned(
        turns.quarters(plane.image, plane.copy), turns.height, turns.width, turns.in_row, turns.in_column);
    const int64_t from =
        turns.in(plane.image, plane.channel) + walk.first + i * walk.row_step + j * walk.column_step;
    const int64_t to = turns.out(plane.image, plane.copy, plane.channel) + i * turns.width + j;
    y[to * parts + part] = x[from * parts + part];
  }
}

template <class T, int run>
void turn_all(const Turns& turns, const T* x, T* y) {
  const int64_t across = (turns.width + kTile - 1) / kTile, down = (turns.height + kTile - 1) / kTile;
  const int64_t units = turns.images * turns.channels * across * down;
  launch(turn_tiles<T, run>, grid_size(units, 1), dim3(kThreads), turns, across, down, units, x, y);
}

template <class T>
void turn(const Turns& turns, int64_t parts, const void* x_, void* y_) {
  constexpr int run = std::min<size_t>(4, 16 / sizeof(T));
  const T* x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  if (parts > 1) {
    const int64_t total = turns.images * turns.copies * turns.channels * turns.height * turns.width * parts;
    launch(turn_parts<T>, grid_size(total, kThreads), dim3(kThreads), turns, parts, total, x, y);
  } else if (
      turns.in_column == 1 && has_runs<T, run>(y, {turns.width}) &&
      has_runs<T, run>(x, {turns.in_image, turns.in_channel, turns.in_row})) {
    turn_all<T, run>(turns, x, y);
  } else {
    turn_all<T, 1>(turns, x, y);
  }
}

Tensor turned_images(const Turning& turning, const Tensor& x) {
  if (turning.result.numel() == 0) return turning.result;
  const void* in = x.const_data_ptr();
  void* out = turning.result.mutable_data_ptr();
  // The widest type that elements consist of, wherever the first one lies.
  const uintptr_t together =
      turning.element | reinterpret_cast<uintptr_t>(in) | reinterpret_cast<uintptr_t>(out) | 16;
  const int64_t width = together & -together, parts = turning.element / width;
  switch (width) {
    case 1:
      turn<uint8_t>(turning.turns, parts, in, out);
      break;
    case 2:
      turn<uint16_t>(turning.turns, parts, in, out);
      break;
    case 4:
      turn<uint32_t>(turning.turns, parts, in, out);
      break;
    case 8:
      turn<uint2>(turning.turns, parts, in, out);
      break;
    default:
      turn<uint4>(turning.turns, parts, in, out);
  }
  return turning.result;
}

Tensor rotate90(const Tensor& x, const Tensor& k_) {
  const OnDevice device(x);
  const Tensor k = torch::stable::contiguous(k_);
  return turned_images(prepare_rotate90(x, k), x);
}

Tensor rotate90_all(const Tensor& x) {
  const OnDevice device(x);
  return turned_images(prepare_rotate90_all(x), x);
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_IMPL(rotfast, CUDA, m) {
  m.impl("rotate90", TORCH_BOX(&rotfast::rotate90));
  m.impl("rotate90_all", TORCH_BOX(&rotfast::rotate90_all));
}
