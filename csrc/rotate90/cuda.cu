#include "common/cuda.h"
#include "rotate90/arguments.h"

namespace rotfast {
namespace {

constexpr int kTile = 32;  // a warp's width
constexpr int kTileRows = 8;
constexpr int kThreads = 256;

struct Plane {
  int64_t image, copy, channel;
};

// The copies of a channel lie beside each other, so that it is read from memory once.
__device__ __forceinline__ Plane plane_at(const Turns& turns, int64_t number) {
  const int64_t plane = number / turns.copies;
  return {plane / turns.channels, number % turns.copies, plane % turns.channels};
}

__device__ __forceinline__ Walk walk_at(const Turns& turns, const Plane& plane) {
  const int64_t quarters = turns.quarters(plane.image, plane.copy);
  return turned(quarters, turns.height, turns.width, turns.in_row, turns.in_column);
}

// Tiles of the result. Where its rows are columns of the image, a tile passes through shared memory, so that
// a warp reads and writes whole runs.
template <class T>
__global__ void __launch_bounds__(kTile* kTileRows)
    turn_tiles(const Turns turns, int64_t across, int64_t down, int64_t tiles, const T* x, T* y) {
  // Rows an odd number of 4-byte banks long: a column has every bank once.
  __shared__ T shared[kTile][kTile + (sizeof(T) < 4 ? 4 / sizeof(T) : 1)];
  const int fast = threadIdx.x, slow = threadIdx.y;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t left = tile % across * kTile, top = tile / across % down * kTile;
    const Plane plane = plane_at(turns, tile / (across * down));
    const Walk walk = walk_at(turns, plane);
    const T* in = x + turns.in(plane.image, plane.channel) + walk.first;
    T* out = y + turns.out(plane.image, plane.copy, plane.channel);
    const bool columns = walk.row_step == 1 || walk.row_step == -1;
    if (columns) {
      for (int step = slow; step < kTile; step += kTileRows) {
        const int64_t i = top + fast, j = left + step;
        if (i < turns.height && j < turns.width)
          shared[step][fast] = in[i * walk.row_step + j * walk.column_step];
      }
      __syncthreads();
    }
    for (int step = slow; step < kTile; step += kTileRows) {
      const int64_t i = top + step, j = left + fast;
      if (i < turns.height && j < turns.width) {
        out[i * turns.width + j] =
            columns ? shared[fast][step] : in[i * walk.row_step + j * walk.column_step];
      }
    }
    if (columns) __syncthreads();  // before the next tile overwrites this one
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
    const Walk walk = walk_at(turns, plane);
    const int64_t from =
        turns.in(plane.image, plane.channel) + walk.first + i * walk.row_step + j * walk.column_step;
    const int64_t to = turns.out(plane.image, plane.copy, plane.channel) + i * turns.width + j;
    y[to * parts + part] = x[from * parts + part];
  }
}

template <class T>
void turn(const Turns& turns, int64_t parts, const void* x_, void* y_) {
  const T* x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  const int64_t planes = turns.images * turns.copies * turns.channels;
  if (parts == 1) {
    const int64_t across = (turns.width + kTile - 1) / kTile, down = (turns.height + kTile - 1) / kTile;
    const int64_t tiles = planes * across * down;
    launch(turn_tiles<T>, grid_size(tiles, 1), dim3(kTile, kTileRows), turns, across, down, tiles, x, y);
  } else {
    const int64_t total = planes * turns.height * turns.width * parts;
    launch(turn_parts<T>, grid_size(total, kThreads), dim3(kThreads), turns, parts, total, x, y);
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
