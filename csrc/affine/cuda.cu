// Resampling on a GPU: of images that fit into shared memory from there, of others tile by tile of the
// result. A thread computes the position of an output pixel once and reads all its channels.
#include "affine/cuda_staged.h"

namespace rotfast {
namespace {

constexpr int kTileX = 32, kTileY = 8;
constexpr int kThreads = kTileX * kTileY;

// Steps to the pixels that taps read; -1 is the fill value.
template <Interpolation kind, Padding padding, class T>
struct Reads {
  int64_t step[tap_count(kind)];

  __device__ __forceinline__ Reads(const Taps<kind, T>& taps, int64_t size, int64_t stride) {
#pragma unroll
    for (int tap = 0; tap < tap_count(kind); ++tap) {
      const int64_t index = source_index(taps.first + tap, size, padding);
      step[tap] = index < 0 ? -1 : index * stride;
    }
  }
};

template <Interpolation kind, Padding padding, class In, class Out>
__device__ __forceinline__ void sample(
    const Job<In, Out>& job, const double* m, int64_t nk, int64_t X, int64_t Y) {
  using T = Arithmetic<In>;
  constexpr int count = tap_count(kind);
  const AffineShape& s = job.s;
  const Order order = job.options.order;
  const Taps<kind, T> columns(bounded(position(m, 0, X, Y), s.W, padding), order.u);
  const Taps<kind, T> rows(bounded(position(m, 1, X, Y), s.H, padding), order.v);
  const Reads<kind, padding, T> across(columns, s.W, job.x.pixel), down(rows, s.H, job.x.row);
  const In* plane = job.x.first + nk / s.K * job.x.image;
  Out* out = job.y + nk * s.C * s.OH * s.OW + (Y * s.OW + X) * job.pixel;
  for (int64_t c = 0; c < s.C; ++c, plane += job.x.channel, out += job.plane) {
    const Levels<T> levels(job.channels, c);
    T sum = 0;
#pragma unroll
    for (int b = 0; b < count; ++b) {
      T line = 0;
#pragma unroll
      for (int a = 0; a < count; ++a) {
        const bool inside = padding != Padding::constant || (down.step[b] >= 0 && across.step[a] >= 0);
        const T value = inside ? levels(plane[down.step[b] + across.step[a]]) : levels.fill;
        line = kind == Interpolation::nearest ? value : line + columns.weight[a] * value;
      }
      if constexpr (kind == Interpolation::nearest) {
        sum = order.u == 0 && order.v == 0 ? line : T(0);
      } else {
        sum += rows.weight[b] * line;
      }
    }
    *out = stored<Out>(sum);
  }
}

// A block for each tile, in x, and matrix, in y and z: so a thread divides little to find its pixel.
template <Interpolation kind, Padding padding, class In, class Out>
__global__ void __launch_bounds__(kThreads) resample_tiles(const Job<In, Out> job, unsigned across) {
  const AffineShape& s = job.s;
  const int64_t X = int64_t(blockIdx.x % across) * kTileX + threadIdx.x;
  const int64_t Y = int64_t(blockIdx.x / across) * kTileY + threadIdx.y;
  const int64_t nk = blockIdx.y + int64_t(blockIdx.z) * gridDim.y;
  if (X >= s.OW || Y >= s.OH || nk >= s.N * s.K) return;
  const double* m = job.matrices + 6 * nk;
  if (kind != Interpolation::nearest && keeps_pixels(job.options.order, m)) {
    sample<Interpolation::nearest, padding>(job, m, nk, X, Y);
  } else {
    sample<kind, padding>(job, m, nk, X, Y);
  }
}

template <Interpolation kind, class In, class Out>
void launch_resampling(const Job<In, Out>& job) {
  const AffineShape& s = job.s;
  if (const auto staging = staging_of(job)) return launch_staged<kind>(job, *staging);
  const int64_t across = (s.OW + kTileX - 1) / kTileX, tiles = (s.OH + kTileY - 1) / kTileY * across;
  const int64_t count = s.N * s.K, y = std::min(count, kMostHeight);
  STD_TORCH_CHECK(tiles < int64_t(1) << 31, "affine: images of the result are too large");
  const dim3 blocks(unsigned(tiles), unsigned(y), unsigned((count + y - 1) / y));
  const dim3 threads(kTileX, kTileY);
  switch (job.options.padding) {
    case Padding::constant:
      return launch(resample_tiles<kind, Padding::constant, In, Out>, blocks, threads, job, unsigned(across));
    case Padding::border:
      return launch(resample_tiles<kind, Padding::border, In, Out>, blocks, threads, job, unsigned(across));
    case Padding::reflection:
      return launch(
          resample_tiles<kind, Padding::reflection, In, Out>, blocks, threads, job, unsigned(across));
  }
}

// The host would have to wait for fill, mean and std.
__global__ void __launch_bounds__(kThreads) prepare_channels(
    int64_t count,
    double unit,
    const double* fill,
    const double* mean,
    const double* std,
    Channel* channels) {
  for (int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x; c < count;
       c += int64_t(gridDim.x) * kThreads) {
    channels[c] = prepared_channel(
        unit, fill == nullptr ? 0 : fill[c], mean == nullptr ? 0 : mean[c], std == nullptr ? 1 : std[c]);
  }
}

template <class In, class Out>
void resample(
    const AffineShape& s,
    const AffineOptions& options,
    const Tensor& x,
    const Tensor& matrix,
    const Channel* channels,
    bool last,
    const Tensor& y) {
  const Job<In, Out> job{
      s,
      options,
      images<In>(x),
      data<double>(matrix),
      channels,
      last ? 1 : s.OH * s.OW,
      last ? s.C : 1,
      mutable_data<Out>(y)};
  ROTFAST_DISPATCH_INTERPOLATION(options.interpolation, { launch_resampling<kind>(job); });
}

Tensor affine(
    const Tensor& x,
    const Tensor& matrix_,
    const std::optional<Tensor>& fill,
    const std::optional<Tensor>& mean,
    const std::optional<Tensor>& std,
    const Ints& size,
    int64_t interpolation,
    int64_t padding,
    const Ints& order) {
  const OnDevice device(x);
  const AffineShape s = affine_shape(x, matrix_, size);
  const AffineOptions options = affine_options(interpolation, padding, order);
  const Tensor matrix = on_device_of(x, "matrix", matrix_);
  const PerChannel fills(x, s.C, fill), means(x, s.C, mean), stds(x, s.C, std);
  const bool bytes = x.scalar_type() == ScalarType::Byte;
  const bool normalized = mean.has_value() || std.has_value();
  const ScalarType type = bytes && normalized ? ScalarType::Float : x.scalar_type();
  const bool last = is_channels_last(x);
  Tensor y = new_images(x, {s.N, s.K}, s.C, s.OH, s.OW, last, type);
  if (y.numel() == 0) return y;
  std::optional<Tensor> table;
  Channel* channels = nullptr;
  if (fill.has_value() || normalized) {
    table = torch::stable::new_empty(x, Ints{s.C, 3}, ScalarType::Double);
    channels = reinterpret_cast<Channel*>(mutable_data<double>(*table));
    launch(
        prepare_channels, grid_size(s.C, kThreads), dim3(kThreads), s.C, unit_of_values(bytes, normalized),
        fills.values, means.values, stds.values, channels);
  }
  if (bytes && normalized) {
    resample<uint8_t, float>(s, options, x, matrix, channels, last, y);
  } else if (bytes) {
    resample<uint8_t, uint8_t>(s, options, x, matrix, channels, last, y);
  } else {
    ROTFAST_DISPATCH_STORED(
        type, "affine", { resample<stored_t, stored_t>(s, options, x, matrix, channels, last, y); });
  }
  return y;
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_IMPL(rotfast, CUDA, m) { m.impl("affine", TORCH_BOX(&rotfast::affine)); }
