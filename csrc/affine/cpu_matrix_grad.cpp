// The gradient of the resampling in its matrices on the CPU. Every matrix is one thread's, so the result does
// not depend on their number.
#include <algorithm>
#include <memory>

#include "affine/gradients.h"
#include "affine/neighbours.h"
#include "affine/strip.h"

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

// Sums over the sites of a strip, and over strips: of slopes along columns and rows, times X, times Y, and as
// they are.
template <class T>
struct SlopeSums {
  using V = Vector<T>;
  typedef double Wide __attribute__((vector_size(8 * V::size)));
  typename V::type strip[6] = {};
  Wide all[6] = {};

  // Rows were counted from first_row.
  ROTFAST_INLINE void end_strip(int64_t first_row) {
    for (int axis = 0; axis < 6; axis += 3) {
      const Wide slopes = __builtin_convertvector(strip[axis + 2], Wide);
      all[axis] += __builtin_convertvector(strip[axis], Wide);
      all[axis + 1] += __builtin_convertvector(strip[axis + 1], Wide) + slopes * double(first_row);
      all[axis + 2] += slopes;
    }
    for (auto& sum : strip) sum = typename V::type{};
  }

  ROTFAST_INLINE double total(int entry) const {
    double lanes[V::size], sum = 0;
    std::memcpy(lanes, all + entry, sizeof lanes);
    for (const double lane : lanes) sum += lane;
    return sum;
  }
};

// Slopes of a channel at the sites of a strip, times its gradients.
template <bool reflection, class T>
ROTFAST_INLINE void add_slopes(
    const Strip<T, 1>& strip, const T* frame, int64_t frame_row, const T* grad, SlopeSums<T>& sums) {
  using V = Vector<T>;
  static constexpr T count_up[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  const T* below = frame + frame_row;
  typename V::type sum[6];
  for (int e = 0; e < 6; ++e) sum[e] = sums.strip[e];
  for (int64_t i = 0; i < strip.count; ++i) {
    const Sites8<T>& site = strip.sites[i];
    for (int64_t k = 0; k < Sites8<T>::size; k += V::size) {
      const Neighbours<T> upper(frame, site.cell + k), lower(below, site.cell + k);
      const auto across = upper.right - upper.left, down = lower.left - upper.left;
      const auto twist = (lower.right - lower.left) - across;
      const auto g = V::load(grad + site.offset + k), X = site.X + V::load(count_up + k);
      auto slope_u = g * (across + V::load(site.v + k) * twist);
      auto slope_v = g * (down + V::load(site.u + k) * twist);
      if (reflection) {
        slope_u *= V::load(strip.signs[i].u + k);
        slope_v *= V::load(strip.signs[i].v + k);
      }
      sum[0] += slope_u * X;
      sum[1] += slope_u * site.Y;
      sum[2] += slope_u;
      sum[3] += slope_v * X;
      sum[4] += slope_v * site.Y;
      sum[5] += slope_v;
    }
  }
  for (int e = 0; e < 6; ++e) sums.strip[e] = sum[e];
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
  // The next image is fetched while the present one is worked on, if both stay in the cache.
  const bool small = s.C * s.H * s.W * sizeof(S) <= 1 << 16 && x.pixel == 1;
  const Frame frame = strip_frame(s);
  const int64_t group = std::clamp(kFrameBytes / (frame.numel() * int64_t(sizeof(T))), int64_t(1), s.C);
  Strip<T, 1> strip(s, frame, padding, -1);
  const auto frames = std::make_unique<T[]>(group * frame_step(frame));
  std::vector<T> copy(strip.height * s.OW + Sites8<T>::size);
  for (int64_t unit = begin_unit; unit < end_unit; ++unit) {
    const int64_t n = unit / s.K;
    strip.aim(matrix + 6 * unit);
    SlopeSums<T> sums;
    for (int64_t first = 0; first < s.C; first += group) {
      const int64_t channels = std::min(group, s.C - first);
      if (group < s.C || unit == begin_unit || unit % s.K == 0) {
        for (int64_t c = 0; c < channels; ++c) {
          T* to = frames.get() + c * frame_step(frame);
          fill_frame(frame, padding, x, x.plane(n, first + c), channel[first + c], to);
        }
      }
      for (int64_t Y = 0; Y < s.OH; Y += strip.height) {
        const int64_t rows = strip.look(Y);
        for (int64_t c = 0; c < channels; ++c) {
          const S* first_row = g + (unit * s.C + first + c) * plane + Y * s.OW;
          const T* grad = readable(first_row, rows * s.OW, first_row + (s.OH - Y) * s.OW, ahead, copy.data());
          if (small && Y < s.H) fetch(x.plane(n + 1, first + c) + Y * x.row, rows * x.row);
          const T* pixels = frames.get() + c * frame_step(frame);
          if (padding == Padding::reflection) {
            add_slopes<true>(strip, pixels, frame.row, grad, sums);
          } else {
            add_slopes<false>(strip, pixels, frame.row, grad, sums);
          }
        }
        sums.end_strip(Y);
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
        strip_frame(s).numel() < int64_t(1) << 30) {
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
