// Resampling on the CPU, and the registration of the operator and its derivatives.
#include <algorithm>

#include "affine/affine.h"
#include "affine/gradients.h"
#include "common/isa.h"

namespace rotfast {
namespace {

template <class Out, class T>
Out stored(T value) {
  if constexpr (std::is_same_v<Out, uint8_t>) {
    return uint8_t(std::min(std::max(std::rint(value), T(0)), T(255)));  // NaN becomes 0
  } else {
    return Out(value);
  }
}

// Where the elements of a plane of the result lie.
struct Layout {
  int64_t plane, row, pixel;
};

// One matrix of one image, all channels.
template <Interpolation kind, class In, class Out>
void resample_image(
    const AffineShape& s,
    const AffineOptions& options,
    const In* x,
    const double* matrix,
    const Channel* channel,
    const Layout& layout,
    Out* out) {
  using T = Accumulator<std::conditional_t<std::is_same_v<In, uint8_t>, float, In>>;
  constexpr int count = tap_count(kind);
  const bool plain = options.order.u == 0 && options.order.v == 0;
  if constexpr (kind != Interpolation::nearest) {
    if (plain && maps_grid_onto_itself(matrix)) {
      resample_image<Interpolation::nearest>(s, options, x, matrix, channel, layout, out);
      return;
    }
  }
  for (int64_t Y = 0; Y < s.OH; ++Y) {
    for (int64_t X = 0; X < s.OW; ++X) {
      const Taps<kind, T> columns(bounded(position(matrix, 0, X, Y), s.W, options.padding), options.order.u);
      const Taps<kind, T> rows(bounded(position(matrix, 1, X, Y), s.H, options.padding), options.order.v);
      for (int64_t c = 0; c < s.C; ++c) {
        T sum = 0;
        for (int b = 0; b < count; ++b) {
          const int64_t j = source_index(rows.first + b, s.H, options.padding);
          for (int a = 0; a < count; ++a) {
            const int64_t i = source_index(columns.first + a, s.W, options.padding);
            const T value = i < 0 || j < 0
                                ? T(channel[c].fill)
                                : T(x[(c * s.H + j) * s.W + i]) * T(channel[c].scale) + T(channel[c].shift);
            sum += rows.weight[b] * columns.weight[a] * value;
          }
        }
        out[c * layout.plane + Y * layout.row + X * layout.pixel] = stored<Out>(sum);
      }
    }
  }
}

template <class In, class Out>
void resample(
    const AffineShape& s,
    const AffineOptions& options,
    const Tensor& x,
    const Tensor& matrix,
    const std::vector<Channel>& channel,
    const Layout& layout,
    const Tensor& y) {
  const In* source = data<In>(x);
  const double* matrices = data<double>(matrix);
  Out* result = mutable_data<Out>(y);
  const int64_t grain = 1 + 20000 / (s.C * s.OH * s.OW + 1);
  ROTFAST_DISPATCH_INTERPOLATION(options.interpolation, {
    torch::stable::parallel_for(0, s.N * s.K, grain, [&](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) {
        resample_image<kind, In, Out>(
            s, options, source + e / s.K * s.C * s.H * s.W, matrices + 6 * e, channel.data(), layout,
            result + e * s.C * s.OH * s.OW);
      }
    });
  });
}

bool channels_last(const Tensor& x) {
  const auto stride = x.strides();
  const int64_t C = x.size(1), W = x.size(3);
  return !x.is_contiguous() && stride[1] == 1 && stride[3] == C && stride[2] == W * C &&
         (x.size(0) == 1 || stride[0] == x.size(2) * W * C);
}

Tensor affine(
    const Tensor& x_,
    const Tensor& matrix_,
    const std::optional<Tensor>& fill,
    const std::optional<Tensor>& mean,
    const std::optional<Tensor>& std,
    const Ints& size,
    int64_t interpolation,
    int64_t padding,
    const Ints& order) {
  const AffineShape s = affine_shape(x_, matrix_, size);
  const AffineOptions options = affine_options(interpolation, padding, order);
  const Tensor x = torch::stable::contiguous(x_), matrix = torch::stable::contiguous(matrix_);
  const bool bytes = x.scalar_type() == ScalarType::Byte;
  const bool normalized = mean.has_value() || std.has_value();
  const std::vector<Channel> channel = channels(s.C, bytes, fill, mean, std);
  const ScalarType type = bytes && normalized ? ScalarType::Float : x.scalar_type();
  const bool last = channels_last(x_);
  const Ints sizes = last ? Ints{s.N, s.K, s.OH, s.OW, s.C} : Ints{s.N, s.K, s.C, s.OH, s.OW};
  const Layout layout = last ? Layout{1, s.OW * s.C, s.C} : Layout{s.OH * s.OW, s.OW, 1};
  Tensor y = torch::stable::new_empty(x, sizes, type);
  advise_huge_pages(y);
  if (bytes && normalized) {
    resample<uint8_t, float>(s, options, x, matrix, channel, layout, y);
  } else if (bytes) {
    resample<uint8_t, uint8_t>(s, options, x, matrix, channel, layout, y);
  } else {
    ROTFAST_DISPATCH_STORED(
        type, "affine", { resample<stored_t, stored_t>(s, options, x, matrix, channel, layout, y); });
  }
  return last ? torch::stable::transpose(torch::stable::transpose(y, 2, 4), 3, 4) : y;
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
