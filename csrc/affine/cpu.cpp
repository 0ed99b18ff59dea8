// Resampling on the CPU, and the registration of the operator and its derivatives.
#include <algorithm>
#include <memory>

#include "affine/affine.h"
#include "affine/combine.h"
#include "affine/gradients.h"

namespace rotfast {
namespace {

template <class Out, class T>
ROTFAST_INLINE Out stored(T value) {
  if constexpr (std::is_same_v<Out, uint8_t>) {
    value = value > 0 ? value : T(0);  // also where it is NaN
    return uint8_t(int32_t(std::rint(value < 255 ? value : T(255))));
  } else {
    return Out(value);
  }
}

// Where the elements of a plane of the result lie.
struct Layout {
  int64_t plane, pixel;
};

template <class S>
using Arithmetic = Accumulator<std::conditional_t<std::is_same_v<S, uint8_t>, float, S>>;

// One matrix of one image, all channels, pixel by pixel: for any derivative and for planes of any size.
template <Interpolation kind, class In, class Out>
void resample_image(
    const AffineShape& s,
    const AffineOptions& options,
    const Images<In>& source,
    const In* x,
    const double* matrix,
    const Channel* channel,
    const Layout& layout,
    Out* out) {
  using T = Arithmetic<In>;
  constexpr int count = tap_count(kind);
  for (int64_t Y = 0; Y < s.OH; ++Y) {
    for (int64_t X = 0; X < s.OW; ++X) {
      const Taps<kind, T> columns(bounded(position(matrix, 0, X, Y), s.W, options.padding), options.order.u);
      const Taps<kind, T> rows(bounded(position(matrix, 1, X, Y), s.H, options.padding), options.order.v);
      for (int64_t c = 0; c < s.C; ++c) {
        const In* plane = x + c * source.channel;
        T sum = 0;
        for (int b = 0; b < count; ++b) {
          const int64_t j = source_index(rows.first + b, s.H, options.padding);
          for (int a = 0; a < count; ++a) {
            const int64_t i = source_index(columns.first + a, s.W, options.padding);
            const T value =
                i < 0 || j < 0
                    ? T(channel[c].fill)
                    : T(plane[j * source.row + i * source.pixel]) * T(channel[c].scale) + T(channel[c].shift);
            sum += rows.weight[b] * columns.weight[a] * value;
          }
        }
        out[c * layout.plane + (Y * s.OW + X) * layout.pixel] = stored<Out>(sum);
      }
    }
  }
}

template <class Out, class T>
ROTFAST_CLONES void write(const T* values, int64_t count, Out* out, int64_t step) {
  if (step == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = stored<Out>(values[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i * step] = stored<Out>(values[i]);
  }
}

// Positions on the grid itself are exact in fixed point, others may be off by 2^-32 pixels: too much only
// where that can change the pixel which is nearest.
template <Interpolation kind, class T>
void locate(
    const Frame& frame,
    const AffineShape& s,
    Padding padding,
    const double* m,
    bool on_grid,
    const Tile& tile,
    Products& products,
    Sites<T>& sites) {
  if constexpr (std::is_same_v<T, float>) {
    const bool near_enough = kind != Interpolation::nearest || on_grid;
    if (near_enough && padding != Padding::reflection && fits_fixed_point(m, s)) {
      locate_fixed<kind>(frame, m, tile, sites);
      return;
    }
  }
  products.set(m, tile);
  switch (padding) {
    case Padding::constant:
      return locate_exactly<kind, Padding::constant>(frame, m, products, tile, sites);
    case Padding::border:
      return locate_exactly<kind, Padding::border>(frame, m, products, tile, sites);
    case Padding::reflection:
      return locate_exactly<kind, Padding::reflection>(frame, m, products, tile, sites);
  }
}

// Works through tiles of the result. Frames of one image, and of as many of its channels as stay in the L2
// cache, serve all its matrices; the sites of a tile serve all these channels.
template <Interpolation kind, class In, class Out>
class Resampler {
 public:
  using T = Arithmetic<In>;

  Resampler(
      const AffineShape& s,
      Padding padding,
      const Images<In>& source,
      const double* matrices,
      const Channel* channel,
      const Layout& layout,
      Out* out)
      : s_(s),
        padding_(padding),
        source_(source),
        matrices_(matrices),
        channel_(channel),
        layout_(layout),
        out_(out),
        frame_(s.H, s.W, frame_margin(kind)),
        tiles_(s.OH, s.OW),
        group_(std::clamp(kFrameBytes / (frame_.numel() * int64_t(sizeof(T))), int64_t(1), s.C)) {}

  bool possible() const { return frame_.numel() < int64_t(1) << 31; }
  int64_t tiles() const { return s_.N * s_.K * tiles_.count; }

  // The tiles are numbered through images, matrices, and places.
  void run(int64_t begin, int64_t end) const {
    const auto frames = std::make_unique_for_overwrite<T[]>(group_ * frame_.numel());
    const auto work = std::make_unique<Work>();
    const int64_t of_image = s_.K * tiles_.count;
    for (int64_t first = begin, last; first < end; first = last) {
      const int64_t n = first / of_image;
      last = std::min(end, (n + 1) * of_image);
      for (int64_t c = 0; c < s_.C; c += group_) {
        const int64_t channels = std::min(group_, s_.C - c);
        for (int64_t g = 0; g < channels; ++g) {
          fill_frame(
              frame_, padding_, source_, source_.plane(n, c + g), channel_[c + g],
              frames.get() + g * frame_.numel());
        }
        for (int64_t e = first; e < last; ++e) {
          const double* m = matrices_ + e / tiles_.count * 6;
          if (maps_grid_onto_itself(m)) {
            resample_tile<Interpolation::nearest>(e, true, c, channels, frames.get(), *work);
          } else {
            resample_tile<kind>(e, false, c, channels, frames.get(), *work);
          }
        }
      }
    }
  }

 private:
  static constexpr int64_t kFrameBytes = 768 << 10;

  struct Work {
    Sites<T> sites{};  // indices past a tile's last pixel are read: they must be inside the frame
    Products products;
    T values[Tiles::most];
  };

  template <Interpolation how>
  void resample_tile(
      int64_t e, bool on_grid, int64_t c, int64_t channels, const T* frames, Work& work) const {
    const Tile tile = tiles_[e % tiles_.count];
    const int64_t nk = e / tiles_.count;
    locate<how>(frame_, s_, padding_, matrices_ + 6 * nk, on_grid, tile, work.products, work.sites);
    Out* out = out_ + nk * s_.C * s_.OH * s_.OW + (tile.Y * s_.OW + tile.X) * layout_.pixel;
    for (int64_t g = 0; g < channels; ++g) {
      const T* plane = frames + g * frame_.numel();
      Out* to = out + (c + g) * layout_.plane;
      if constexpr (std::is_same_v<Out, T>) {
        if (layout_.pixel == 1) {
          combine<how>(frame_, plane, work.sites, tile.count(), to);
          continue;
        }
      }
      combine<how>(frame_, plane, work.sites, tile.count(), work.values);
      write(work.values, tile.count(), to, layout_.pixel);
    }
  }

  const AffineShape& s_;
  Padding padding_;
  Images<In> source_;
  const double* matrices_;
  const Channel* channel_;
  Layout layout_;
  Out* out_;
  Frame frame_;
  Tiles tiles_;
  int64_t group_;
};

template <class In, class Out>
void resample(
    const AffineShape& s,
    const AffineOptions& options,
    const Tensor& x,
    const Tensor& matrix,
    const std::vector<Channel>& channel,
    const Layout& layout,
    const Tensor& y) {
  const Images<In> source = images<In>(x);
  const double* matrices = data<double>(matrix);
  Out* result = mutable_data<Out>(y);
  ROTFAST_DISPATCH_INTERPOLATION(options.interpolation, {
    const Resampler<kind, In, Out> resampler(
        s, options.padding, source, matrices, channel.data(), layout, result);
    if (options.order.u == 0 && options.order.v == 0 && resampler.possible()) {
      const int64_t grain = 1 + 20 / s.C;
      torch::stable::parallel_for(
          0, resampler.tiles(), grain, [&](int64_t begin, int64_t end) { resampler.run(begin, end); });
    } else {
      torch::stable::parallel_for(0, s.N * s.K, 1, [&](int64_t begin, int64_t end) {
        for (int64_t e = begin; e < end; ++e) {
          resample_image<kind>(
              s, options, source, source.plane(e / s.K, 0), matrices + 6 * e, channel.data(), layout,
              result + e * s.C * s.OH * s.OW);
        }
      });
    }
  });
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
  const AffineShape s = affine_shape(x, matrix_, size);
  const AffineOptions options = affine_options(interpolation, padding, order);
  const Tensor matrix = torch::stable::contiguous(matrix_);
  const bool bytes = x.scalar_type() == ScalarType::Byte;
  const bool normalized = mean.has_value() || std.has_value();
  const std::vector<Channel> channel = channels(s.C, bytes, fill, mean, std);
  const ScalarType type = bytes && normalized ? ScalarType::Float : x.scalar_type();
  const bool last = is_channels_last(x);
  const Layout layout = last ? Layout{1, s.C} : Layout{s.OH * s.OW, 1};
  Tensor y = new_images(x, {s.N, s.K}, s.C, s.OH, s.OW, last, type);
  if (y.numel() == 0) {
    // there is nothing to compute
  } else if (bytes && normalized) {
    resample<uint8_t, float>(s, options, x, matrix, channel, layout, y);
  } else if (bytes) {
    resample<uint8_t, uint8_t>(s, options, x, matrix, channel, layout, y);
  } else {
    ROTFAST_DISPATCH_STORED(
        type, "affine", { resample<stored_t, stored_t>(s, options, x, matrix, channel, layout, y); });
  }
  return y;
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def(
      "affine(Tensor x, Tensor matrix, Tensor? fill, Tensor? mean, Tensor? std, int[] size, int "
      "interpolation,"
      " int padding, int[] order) -> Tensor");
  m.def(
      "affine_image_grad(Tensor g, Tensor matrix, int[] in_size, int interpolation, int padding, int[] order)"
      " -> Tensor");
  m.def(
      "affine_matrix_grad(Tensor g, Tensor x, Tensor matrix, Tensor? fill, int interpolation, int padding,"
      " int[] order) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("affine", TORCH_BOX(&rotfast::affine));
  m.impl("affine_image_grad", TORCH_BOX(&rotfast::affine_image_grad));
  m.impl("affine_matrix_grad", TORCH_BOX(&rotfast::affine_matrix_grad));
}
