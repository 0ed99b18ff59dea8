// The gradient of the resampling in its matrices on the CPU. Every matrix is one thread's, so the result does
// not depend on their number.
#include <algorithm>
#include <memory>

#include "affine/gradients.h"
#include "affine/rows.h"

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

// Sums over an output row, and over rows: of slopes along columns and rows, and of these times X and Y.
template <class T>
struct SlopeSums {
  using V = Vector<T>;
  typedef double Wide __attribute__((vector_size(8 * V::size)));
  typename V::type u{}, v{}, u_X{}, v_X{};
  Wide sums[6] = {};

  // X were counted from `begin`.
  ROTFAST_INLINE void end_row(int64_t begin, int64_t Y) {
    const Wide wide_u = __builtin_convertvector(u, Wide), wide_v = __builtin_convertvector(v, Wide);
    sums[0] += __builtin_convertvector(u_X, Wide) + wide_u * double(begin);
    sums[1] += wide_u * double(Y);
    sums[2] += wide_u;
    sums[3] += __builtin_convertvector(v_X, Wide) + wide_v * double(begin);
    sums[4] += wide_v * double(Y);
    sums[5] += wide_v;
    u = v = u_X = v_X = typename V::type{};
  }

  ROTFAST_INLINE double total(int entry) const {
    double lanes[V::size], sum = 0;
    std::memcpy(lanes, sums + entry, sizeof lanes);
    for (const double lane : lanes) sum += lane;
    return sum;
  }
};

// Slopes of a channel at the positions of a row, times its gradients, which are readable up to a multiple of
// Sites8::size.
template <bool reflection, class T>
ROTFAST_INLINE void add_slopes(
    const Rows<T, 1>& rows, const T* frame, int64_t frame_row, const T* grad, SlopeSums<T>& sums) {
  using V = Vector<T>;
  static constexpr T count_up[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  const T* below = frame + frame_row;
  const int64_t count = rows.end - rows.begin;
  auto X = V::load(count_up);
  auto sum_u = sums.u, sum_v = sums.v, sum_u_X = sums.u_X, sum_v_X = sums.v_X;
  int64_t column = 0;
  for (const Sites8<T>* site = rows.sites.data(); column < count; ++site, column += Sites8<T>::size) {
    for (int64_t k = 0; k < Sites8<T>::size; k += V::size, grad += V::size, X += T(V::size)) {
      const Neighbours<T> upper(frame, site->cell + k), lower(below, site->cell + k);
      const auto across = upper.right - upper.left, down = lower.left - upper.left;
      const auto twist = (lower.right - lower.left) - across;
      const auto g = X < T(count) ? V::load(grad) : typename V::type{};
      auto slope_u = g * (across + V::load(site->v + k) * twist);
      auto slope_v = g * (down + V::load(site->u + k) * twist);
      if (reflection) {
        slope_u *= V::load(site->sign_u + k);
        slope_v *= V::load(site->sign_v + k);
      }
      sum_u += slope_u;
      sum_v += slope_v;
      sum_u_X += slope_u * X;
      sum_v_X += slope_v * X;
    }
  }
  sums.u = sum_u;
  sums.v = sum_v;
  sums.u_X = sum_u_X;
  sums.v_X = sum_v_X;
}

constexpr int64_t kFrameBytes = 768 << 10;  // of the frames that are read at a time, if they are many

// Bilinear slopes for matrices of images, numbered through.
template <class S>
ROTFAST_CLONES void bilinear_units(
    const AffineShape& s,
    Padding padding,
    const S* g,
    const Images<S>& x,
    const double* matrix,
    const Channel* channel,
    double* out,
    int64_t begin_unit,
    int64_t end_unit) {
  using T = Accumulator<S>;
  const int64_t plane = s.OH * s.OW, ahead = std::min(s.C * plane, kAhead);
  const S* g_end = g + s.N * s.K * s.C * plane;
  // The next image is fetched while the present one is worked on, if both stay in the cache.
  const bool small = s.C * s.H * s.W * sizeof(S) <= 1 << 16 && x.pixel == 1;
  const Frame frame = rows_frame(s);
  const int64_t group = std::clamp(kFrameBytes / (frame.numel() * int64_t(sizeof(T))), int64_t(1), s.C);
  Rows<T, 1> rows(s, frame, padding, -1);
  const auto frames = std::make_unique_for_overwrite<T[]>(group * frame.numel());
  std::vector<T> copy(s.OW + Sites8<T>::size);
  for (int64_t unit = begin_unit; unit < end_unit; ++unit) {
    const int64_t n = unit / s.K;
    rows.aim(matrix + 6 * unit);
    SlopeSums<T> sums;
    for (int64_t first = 0; first < s.C; first += group) {
      const int64_t channels = std::min(group, s.C - first);
      if (group < s.C || unit == begin_unit || unit % s.K == 0) {
        for (int64_t c = 0; c < channels; ++c) {
          T* to = frames.get() + c * frame.numel();
          fill_frame(frame, padding, x, x.plane(n, first + c), channel[first + c], to);
        }
      }
      for (int64_t Y = 0; Y < s.OH; ++Y) {
        rows.look(Y);
        for (int64_t c = 0; c < channels; ++c) {
          const S* row = g + (unit * s.C + first + c) * plane + Y * s.OW + rows.begin;
          const T* grad = readable(row, rows.end - rows.begin, g_end, ahead, copy.data());
          if (small && Y < s.H) fetch(x.plane(n + 1, first + c) + Y * x.row, s.W);
          const T* plane_frame = frames.get() + c * frame.numel();
          if (padding == Padding::reflection) {
            add_slopes<true>(rows, plane_frame, frame.row, grad, sums);
          } else {
            add_slopes<false>(rows, plane_frame, frame.row, grad, sums);
          }
        }
        sums.end_row(rows.begin, Y);
      }
    }
    for (int e = 0; e < 6; ++e) out[6 * unit + e] = sums.total(e);
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
    const int64_t grain = 1 + 20000 / (s.C * s.OH * s.OW + 1);
    const bool plain = options.order.u == 0 && options.order.v == 0;
    if (options.interpolation == Interpolation::bilinear && plain &&
        rows_frame(s).numel() < int64_t(1) << 31) {
      torch::stable::parallel_for(0, s.N * s.K, grain, [&](int64_t begin, int64_t end) {
        bilinear_units<stored_t>(
            s, options.padding, grad, images<stored_t>(x), matrices, channel.data(), out, begin, end);
      });
      return result;
    }
    ROTFAST_DISPATCH_INTERPOLATION(options.interpolation, {
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
