// Resampling of small images on a GPU. A block holds some channels of an image whole in shared memory:
// scaled, in the type that they are summed in, and in a frame of what extends them, so that no tap asks where
// it lies. So each image comes from memory once, and whole, whatever the number of its matrices.
#pragma once

#include <algorithm>
#include <optional>

#include "affine/cuda_job.h"
#include "common/run.h"

namespace rotfast {
namespace {

constexpr int kStagedThreads = 256;
constexpr int64_t kStagedChannels = 4;    // of a block: they share the positions
constexpr int64_t kMostPixels = 1 << 16;  // of a result, all computed by one block
constexpr int kRun = 4;                   // neighbouring pixels, which one thread loads or computes

// Width of the frame. Taps of bounded positions lie inside, those of reflected ones as StagedTaps takes them.
ROTFAST_HOST_DEVICE constexpr int frame(Interpolation kind) { return kind == Interpolation::bicubic ? 5 : 4; }
static_assert(kMargin < 4);

struct Staging {
  int64_t channels, groups;      // of a block, and how often it takes as many to have all
  int stride, cells;             // of a channel with its frame
  bool loads_runs, stores_runs;  // where they are aligned
  int bytes;
};

// How to stage images, if they are small enough and most of them is needed.
template <class In, class Out>
std::optional<Staging> staging_of(const Job<In, Out>& job) {
  const AffineShape& s = job.s;
  const int64_t channels = std::min(s.C, kStagedChannels), groups = (s.C + channels - 1) / channels;
  const int64_t around = 2 * frame(job.options.interpolation), most = kMostMemory / sizeof(Arithmetic<In>);
  if (s.H > most || s.W > most || s.OH > kMostPixels || s.OW > kMostPixels) return std::nullopt;
  // Odd: pixels that a warp reads at once then lie in as many banks at any angle.
  const int64_t stride = (s.W + around) | 1, cells = (s.H + around) * stride;
  if (channels * cells > most || s.OH * s.OW > kMostPixels || 2 * s.K * s.OH * s.OW < s.H * s.W)
    return std::nullopt;
  return Staging{
      channels,
      groups,
      int(stride),
      int(cells),
      job.x.pixel == 1 && has_runs<In, kRun>(job.x.first, {s.W, job.x.row, job.x.channel, job.x.image}),
      job.pixel == 1 && has_runs<Out, kRun>(job.y, {s.OW}),
      int(channels * cells * sizeof(Arithmetic<In>))};
}

// Into `pixels`, the place of the first pixel inside the frame.
template <Interpolation kind, class In, class T>
__device__ __forceinline__ void stage(
    const AffineShape& s,
    Padding padding,
    const Staging& staging,
    const Images<In>& x,
    const In* plane,
    const Levels<T>& levels,
    T* pixels) {
  const int W = int(s.W), H = int(s.H), stride = staging.stride, thread = threadIdx.x;
  if (staging.loads_runs) {
    for (int run = thread; run < W * H / kRun; run += kStagedThreads) {
      const int row = run * kRun / W, column = run * kRun % W;
      const auto values = *reinterpret_cast<const Run<In, kRun>*>(plane + row * x.row + column);
#pragma unroll
      for (int i = 0; i < kRun; ++i) pixels[row * stride + column + i] = levels(values.at[i]);
    }
  } else {
    for (int pixel = thread; pixel < W * H; pixel += kStagedThreads) {
      const int row = pixel / W, column = pixel % W;
      pixels[row * stride + column] = levels(plane[row * x.row + column * x.pixel]);
    }
  }
  // The frame: rows above and below, then both ends of the others.
  constexpr int side = frame(kind), sides = 2 * side;
  const int width = W + sides;
  const auto outside = [](int number, int size) {
    return number < side ? number - side : size + number - side;
  };
#pragma unroll 1
  for (int cell = thread; cell < sides * (width + H); cell += kStagedThreads) {
    const int rest = cell - sides * width;
    const int row = rest < 0 ? outside(cell / width, H) : rest / sides;
    const int column = rest < 0 ? cell % width - side : outside(rest % sides, W);
    const int j = source_index(row, H, padding), i = source_index(column, W, padding);
    pixels[row * stride + column] = j < 0 || i < 0 ? levels.fill : levels(plane[j * x.row + i * x.pixel]);
  }
}

// The taps of an axis as steps in a staged channel. Those that start beyond the last pixel of a reflected
// image are taken from its other side, backwards.
template <Interpolation kind, class T>
struct StagedTaps : Taps<kind, T> {
  int begin, step;

  __device__ __forceinline__ StagedTaps(double position, int order, int size, Padding padding)
      : Taps<kind, T>(bounded(position, size, padding), order), begin(int(this->first)), step(1) {
    if (padding == Padding::reflection && begin >= size) {
      begin = 2 * (size - 1) - begin;
      step = -1;
    }
  }
};

// A pixel of the result: where its first tap lies, the steps to the others, the weights.
template <Interpolation kind, class T>
struct StagedSample {
  int first, across, down;
  T columns[tap_count(kind)], rows[tap_count(kind)];

  __device__ __forceinline__ StagedSample(
      const AffineShape& s, const AffineOptions& options, const double* m, int X, int Y, int stride) {
    const StagedTaps<kind, T> u(position(m, 0, X, Y), options.order.u, int(s.W), options.padding);
    const StagedTaps<kind, T> v(position(m, 1, X, Y), options.order.v, int(s.H), options.padding);
    first = v.begin * stride + u.begin;
    across = u.step;
    down = v.step * stride;
#pragma unroll
    for (int tap = 0; tap < tap_count(kind); ++tap) {
      columns[tap] = u.weight[tap];
      rows[tap] = v.weight[tap];
    }
  }

  __device__ __forceinline__ T of(const T* pixels, Order order) const {
    if constexpr (kind == Interpolation::nearest) {
      return order.u == 0 && order.v == 0 ? pixels[first] : T(0);
    } else {
      T sum = 0;
#pragma unroll
      for (int b = 0; b < tap_count(kind); ++b) {
        T line = 0;
#pragma unroll
        for (int a = 0; a < tap_count(kind); ++a) {
          line += columns[a] * pixels[first + b * down + a * across];
        }
        sum += rows[b] * line;
      }
      return sum;
    }
  }
};

// The run of a row of the result that starts at (X, Y), in every staged channel.
template <Interpolation kind, class In, class Out, class T>
__device__ __forceinline__ void resample_run(
    const Job<In, Out>& job,
    const Staging& staging,
    const double* m,
    const T* pixels,
    int channels,
    int X,
    int Y,
    Out* out) {
  using Sample = StagedSample<kind, T>;
  const auto sample = [&](int i) { return Sample(job.s, job.options, m, X + i, Y, staging.stride); };
  const Sample samples[kRun] = {sample(0), sample(1), sample(2), sample(3)};
#pragma unroll 1
  for (int c = 0; c < channels; ++c, pixels += staging.cells, out += job.plane) {
    Run<Out, kRun> values;
#pragma unroll
    for (int i = 0; i < kRun; ++i) values.at[i] = stored<Out>(samples[i].of(pixels, job.options.order));
    if (staging.stores_runs) {
      *reinterpret_cast<Run<Out, kRun>*>(out) = values;
    } else {
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        if (X + i < job.s.OW) out[i * job.pixel] = values.at[i];
      }
    }
  }
}

// On a multiprocessor, with registers enough to spill none.
template <class T>
constexpr int staged_blocks(Interpolation kind) {
  return kind == Interpolation::nearest ? 4 : sizeof(T) < 8 ? 3 : 2;
}

// Blocks in a column of the grid stage the same channels and share the matrices.
template <Interpolation kind, class In, class Out>
__global__ void __launch_bounds__(kStagedThreads, staged_blocks<Arithmetic<In>>(kind))
    resample_staged(const Job<In, Out> job, const Staging staging) {
  using T = Arithmetic<In>;
  const AffineShape& s = job.s;
  const int W = int(s.OW), H = int(s.OH), runs = (W + kRun - 1) / kRun;
  T* pixels = block_memory<T>() + frame(kind) * (staging.stride + 1);
  for (int64_t unit = blockIdx.x; unit < s.N * staging.groups; unit += gridDim.x) {
    const int64_t n = unit / staging.groups, first = unit % staging.groups * staging.channels;
    const int channels = int(first + staging.channels < s.C ? staging.channels : s.C - first);
#pragma unroll 1
    for (int c = 0; c < channels; ++c) {
      const In* plane = job.x.first + n * job.x.image + (first + c) * job.x.channel;
      const Levels<T> levels(job.channels, first + c);
      stage<kind>(s, job.options.padding, staging, job.x, plane, levels, pixels + c * staging.cells);
    }
    __syncthreads();
    for (int64_t k = blockIdx.y; k < s.K; k += gridDim.y) {
      const double* m = job.matrices + 6 * (n * s.K + k);
      Out* out = job.y + (n * s.K + k) * s.C * s.OH * s.OW + first * job.plane;
      const bool exact = kind != Interpolation::nearest && keeps_pixels(job.options.order, m);
      for (int run = threadIdx.x; run < runs * H; run += kStagedThreads) {
        const int X = run % runs * kRun, Y = run / runs;
        Out* there = out + (Y * W + X) * job.pixel;
        if (exact) {
          resample_run<Interpolation::nearest>(job, staging, m, pixels, channels, X, Y, there);
        } else {
          resample_run<kind>(job, staging, m, pixels, channels, X, Y, there);
        }
      }
    }
    __syncthreads();  // before the next channels overwrite these
  }
}

template <Interpolation kind, class In, class Out>
void launch_staged(const Job<In, Out>& job, const Staging& staging) {
  const int64_t units = job.s.N * staging.groups;
  // Of few images each is staged by several blocks, instead of leaving the device idle.
  const int64_t sharing = std::clamp(kManyBlocks / units, int64_t(1), std::min(job.s.K, kMostHeight));
  const dim3 blocks(grid_size(units, 1), unsigned(sharing));
  launch_with_memory(
      resample_staged<kind, In, Out>, blocks, dim3(kStagedThreads), staging.bytes, job, staging);
}

}  // namespace
}  // namespace rotfast
