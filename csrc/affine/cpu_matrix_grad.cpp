// Derivatives of the resampling on the CPU. Nothing is added from two threads, so results do not depend on
// their number.
#include "affine/gradients.h"

namespace rotfast {
namespace {

// One matrix of one image, all channels.
template <Interpolation kind, class S>
void matrix_grad_image(
    const AffineShape& s,
    const AffineOptions& options,
    const S* g,
    const S* x,
    const double* matrix,
    const Channel* channel,
    double* out) {
  using T = Accumulator<S>;
  constexpr int count = tap_count(kind);
  for (int e = 0; e < 6; ++e) out[e] = 0;
  for (int64_t Y = 0; Y < s.OH; ++Y) {
    for (int64_t X = 0; X < s.OW; ++X) {
      const double u = bounded(position(matrix, 0, X, Y), s.W, options.padding);
      const double v = bounded(position(matrix, 1, X, Y), s.H, options.padding);
      const Taps<kind, T> columns(u, options.order.u), column_slopes(u, options.order.u + 1);
      const Taps<kind, T> rows(v, options.order.v), row_slopes(v, options.order.v + 1);
      double slope_u = 0, slope_v = 0;
      for (int64_t c = 0; c < s.C; ++c) {
        T sum_u = 0, sum_v = 0;
        for (int b = 0; b < count; ++b) {
          const int64_t j = source_index(rows.first + b, s.H, options.padding);
          for (int a = 0; a < count; ++a) {
            const int64_t i = source_index(columns.first + a, s.W, options.padding);
            const T value = i < 0 || j < 0 ? T(channel[c].fill) : T(x[(c * s.H + j) * s.W + i]);
            sum_u += rows.weight[b] * column_slopes.weight[a] * value;
            sum_v += row_slopes.weight[b] * columns.weight[a] * value;
          }
        }
        const double grad = double(g[(c * s.OH + Y) * s.OW + X]);
        slope_u += grad * double(sum_u);
        slope_v += grad * double(sum_v);
      }
      const double at[3] = {double(X), double(Y), 1};
      for (int e = 0; e < 3; ++e) {
        out[e] += slope_u * at[e];
        out[3 + e] += slope_v * at[e];
      }
    }
  }
}

}  // namespace

Tensor affine_matrix_grad(
    const Tensor& g_,
    const Tensor& x_,
    const Tensor& matrix_,
    const std::optional<Tensor>& fill,
    int64_t interpolation,
    int64_t padding,
    const Ints& order) {
  STD_TORCH_CHECK(
      x_.dim() == 4 && g_.dim() == 5 && x_.size(0) == g_.size(0) && x_.size(1) == g_.size(2),
      "x must be (N, C, H, W) with the N and C of g");
  check_like("x", x_, g_);
  const AffineShape s = gradient_shape(g_, matrix_, x_.size(2), x_.size(3));
  const AffineOptions options = affine_options(interpolation, padding, order);
  const Tensor g = torch::stable::contiguous(g_), x = torch::stable::contiguous(x_),
               matrix = torch::stable::contiguous(matrix_);
  const std::vector<Channel> channel = channels(s.C, false, fill, std::nullopt, std::nullopt);
  Tensor result = new_result(matrix, {s.N, s.K, 2, 3});
  const double* matrices = data<double>(matrix);
  double* out = mutable_data<double>(result);
  ROTFAST_DISPATCH_STORED(g.scalar_type(), "affine_matrix_grad", {
    const stored_t* grad = data<stored_t>(g);
    const stored_t* image = data<stored_t>(x);
    ROTFAST_DISPATCH_INTERPOLATION(options.interpolation, {
      const int64_t grain = 1 + 20000 / (s.C * s.OH * s.OW + 1);
      torch::stable::parallel_for(0, s.N * s.K, grain, [&](int64_t begin, int64_t end) {
        for (int64_t e = begin; e < end; ++e) {
          matrix_grad_image<kind>(
              s, options, grad + e * s.C * s.OH * s.OW, image + e / s.K * s.C * s.H * s.W, matrices + 6 * e,
              channel.data(), out + 6 * e);
        }
      });
    });
  });
  return result;
}

}  // namespace rotfast
