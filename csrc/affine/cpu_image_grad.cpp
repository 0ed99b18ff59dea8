// The adjoint of the resampling on the CPU. Every channel of an image is one thread's, so the result does not
// depend on their number.
#include <algorithm>

#include "affine/gradients.h"
#include "affine/strip.h"
#include "common/quad.h"

namespace rotfast {
namespace {

// Row j of all channels of one image: every pixel gathers from the outputs that see it.
template <Interpolation kind, class S>
void gather_row(
    const AffineShape& s, const AffineOptions& options, const S* g, const double* matrix, int64_t j, S* gx) {
  using T = Accumulator<S>;
  std::vector<T> sums(s.C);
  for (int64_t i = 0; i < s.W; ++i) {
    sums.assign(s.C, T(0));
    for (int64_t k = 0; k < s.K; ++k) {
      const S* grad = g + k * s.C * s.OH * s.OW;
      const double* m = matrix + 6 * k;
      const auto add = [&](int64_t X, int64_t Y, T weight) {
        for (int64_t c = 0; c < s.C; ++c) sums[c] += weight * T(grad[(c * s.OH + Y) * s.OW + X]);
      };
      gather<kind, T>(s, m, options.padding, options.order, j, i, add);
    }
    for (int64_t c = 0; c < s.C; ++c) gx[(c * s.H + j) * s.W + i] = S(sums[c]);
  }
}

// All channels of one image, tap by tap: the transpose of the general resampling, for kernels of any width.
template <Interpolation kind, class S>
void scatter_taps(
    const AffineShape& s,
    const AffineOptions& options,
    const S* g,
    const double* matrix,
    Accumulator<S>* sums) {
  using T = Accumulator<S>;
  constexpr int count = tap_count(kind);
  if constexpr (kind != Interpolation::nearest) {
    if (maps_grid_onto_itself(matrix))
      return scatter_taps<Interpolation::nearest>(s, options, g, matrix, sums);
  }
  for (int64_t Y = 0; Y < s.OH; ++Y) {
    for (int64_t X = 0; X < s.OW; ++X) {
      const Taps<kind, T> columns(bounded(position(matrix, 0, X, Y), s.W, options.padding), 0);
      const Taps<kind, T> rows(bounded(position(matrix, 1, X, Y), s.H, options.padding), 0);
      int64_t i[count], j[count];
      for (int tap = 0; tap < count; ++tap) {
        i[tap] = source_index(columns.first + tap, s.W, options.padding);
        j[tap] = source_index(rows.first + tap, s.H, options.padding);
      }
      const bool inside = columns.first >= 0 && columns.first + count <= s.W;
      for (int64_t c = 0; c < s.C; ++c) {
        const T grad = T(g[(c * s.OH + Y) * s.OW + X]);
        for (int b = 0; b < count; ++b) {
          if (j[b] < 0) continue;
          const T share = rows.weight[b] * grad;
          T* row = sums + (c * s.H + j[b]) * s.W;
          if (inside) {
            for (int a = 0; a < count; ++a) row[columns.first + a] += columns.weight[a] * share;
          } else {
            for (int a = 0; a < count; ++a) {
              if (i[a] >= 0) row[i[a]] += columns.weight[a] * share;
            }
          }
        }
      }
    }
  }
}

template <Interpolation kind, class S>
void scatter_images(
    const AffineShape& s,
    const AffineOptions& options,
    const S* g,
    const double* matrices,
    S* gx,
    int64_t begin,
    int64_t end) {
  const int64_t size = s.C * s.H * s.W;
  std::vector<Accumulator<S>> sums(size);
  for (int64_t n = begin; n < end; ++n) {
    std::fill(sums.begin(), sums.end(), Accumulator<S>(0));
    for (int64_t nk = n * s.K; nk < (n + 1) * s.K; ++nk) {
      scatter_taps<kind>(s, options, g + nk * s.C * s.OH * s.OW, matrices + 6 * nk, sums.data());
    }
    std::copy(sums.begin(), sums.end(), gx + n * size);
  }
}

// What one thread scatters into: a frame of cells for every channel that it works on at a time. A cell holds
// what its corners receive (upper left, upper right, lower left, lower right), so that an output pixel is one
// aligned addition; afterwards a pixel collects from the four cells around it.
template <class T>
struct Cells {
  using Four = typename Quad<T>::type;
  struct alignas(sizeof(Four)) Cell {
    T corner[4];
  };

  Cells(const Frame& frame, int64_t channels)
      : cells(channels * frame_step(frame)), line(frame.W + 4), below(frame.W + 4) {}

  std::vector<Cell> cells;  // zero between images
  std::vector<T> line, below;
};

// Adds gradients to the corners of their cells.
template <class T>
ROTFAST_INLINE void scatter(const Strip<T, 4>& strip, const T* grad, T* cells) {
  using Q = Quad<T>;
  const Sites8<T>* end = strip.sites.data() + strip.count;
  for (const Sites8<T>* site = strip.sites.data(); site != end; ++site) {
    for (int64_t k = 0; k < Sites8<T>::size; k += 4) {
      const auto g = Q::load(grad + site->offset + k), u = Q::load(site->u + k), v = Q::load(site->v + k);
      const auto upper = (1 - v) * g, lower = v * g;
      auto a = (1 - u) * upper, b = u * upper, c = (1 - u) * lower, d = u * lower;
      Q::transpose(a, b, c, d);
      Q::add(cells + site->cell[k], a);
      Q::add(cells + site->cell[k + 1], b);
      Q::add(cells + site->cell[k + 2], c);
      Q::add(cells + site->cell[k + 3], d);
    }
  }
}

// The same where every position is a pixel.
template <class T>
ROTFAST_INLINE void scatter_whole(const Strip<T, 4>& strip, int64_t row, const T* grad, T* cells) {
  for (int64_t i = 0; i < strip.count; ++i) {
    const Sites8<T>& site = strip.sites[i];
    for (int64_t k = 0; k < Sites8<T>::size; ++k) {
      const int64_t right = site.u[k] > T(0.5), below = site.v[k] > T(0.5);
      cells[site.cell[k] + 4 * (below * row + right)] += grad[site.offset + k];
    }
  }
}

// The pixels of an image from its cells, which become zero.
template <class T, class S>
ROTFAST_INLINE void collect(const Frame& frame, T* cells, T* line, T* below, S* gx) {
  using Q = Quad<T>;
  const typename Q::type zero{};
  for (int64_t j = -1; j < frame.H; ++j) {
    T* cell = cells + 4 * ((j + kFrame) * frame.row + kFrame - 1);
    typename Q::type right_before{}, below_right_before{};
    // Pixel i from cells i - 1 (its right corners) and i (its left ones).
    const auto first = Q::load(cell);
    right_before[3] = first[1];
    below_right_before[3] = first[3];
    Q::store(cell, zero);
    cell += 4;
    for (int64_t i = 0; i < frame.W; i += 4, cell += 16) {
      auto left = Q::load(cell), right = Q::load(cell + 4), below_left = Q::load(cell + 8),
           below_right = Q::load(cell + 12);
      for (int64_t k = 0; k < 4; ++k) Q::store(cell + 4 * k, zero);
      Q::transpose(left, right, below_left, below_right);
      Q::store(
          line + i, left + __builtin_shufflevector(right_before, right, 3, 4, 5, 6) + Q::load(below + i));
      Q::store(below + i, below_left + __builtin_shufflevector(below_right_before, below_right, 3, 4, 5, 6));
      right_before = right;
      below_right_before = below_right;
    }
    if (j >= 0) {
      for (int64_t i = 0; i < frame.W; ++i) gx[j * frame.W + i] = S(line[i]);
    }
  }
}

// Images times groups of channels, by which a frame's cells stay in the cache.
template <class S>
ROTFAST_CLONES void scatter_units(
    const AffineShape& s,
    const AffineOptions& options,
    int64_t group,
    const S* g,
    const double* matrix,
    S* gx,
    int64_t begin_unit,
    int64_t end_unit) {
  using T = Accumulator<S>;
  const int64_t groups = (s.C + group - 1) / group, plane = s.OH * s.OW;
  const bool nearest = options.interpolation == Interpolation::nearest;
  const S* g_end = g + s.N * s.K * s.C * plane;
  const Frame frame = strip_frame(s);
  Strip<T, 4> strip(s, frame, options.padding, 0);
  Cells<T> scratch(frame, group);
  std::vector<T> copy(strip.height * s.OW + Sites8<T>::size);
  const int64_t ahead = std::min(s.C * plane, kAhead);
  for (int64_t unit = begin_unit; unit < end_unit; ++unit) {
    const int64_t n = unit / groups, first = unit % groups * group;
    const int64_t channels = std::min(group, s.C - first);
    for (int64_t k = 0; k < s.K; ++k) {
      const double* m = matrix + 6 * (n * s.K + k);
      const bool whole = nearest || maps_grid_onto_itself(m);
      strip.aim(m, nearest);
      for (int64_t Y = 0; Y < s.OH; Y += strip.height) {
        const int64_t pixels = strip.look(Y) * s.OW;
        for (int64_t c = 0; c < channels; ++c) {
          const S* first_row = g + ((n * s.K + k) * s.C + first + c) * plane + Y * s.OW;
          const T* grad = readable(first_row, pixels, g_end, ahead, copy.data());
          T* cells = scratch.cells[c * frame_step(frame)].corner;
          if (whole) {
            scatter_whole(strip, frame.row, grad, cells);
          } else {
            scatter(strip, grad, cells);
          }
        }
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      collect(
          frame, scratch.cells[c * frame_step(frame)].corner, scratch.line.data(), scratch.below.data(),
          gx + (n * s.C + first + c) * s.H * s.W);
    }
  }
}

constexpr int64_t kCellBytes = 1 << 18;  // of the frames that a thread works on at a time, if they are many

// Whether nothing but adding pixels to the corners of cells is asked for.
bool fits_cells(const AffineShape& s, const AffineOptions& options) {
  return options.interpolation != Interpolation::bicubic && strip_frame(s).numel() < int64_t(1) << 28;
}

}  // namespace

Tensor affine_image_grad(
    const Tensor& g_,
    const Tensor& matrix_,
    const Ints& in_size,
    int64_t interpolation,
    int64_t padding,
    const Ints& order) {
  STD_TORCH_CHECK(in_size.size() == 2, "in_size must be two numbers");
  const AffineShape s = gradient_shape(g_, matrix_, in_size[0], in_size[1]);
  const AffineOptions options = affine_options(interpolation, padding, order);
  const Tensor g = torch::stable::contiguous(g_), matrix = torch::stable::contiguous(matrix_);
  Tensor gx = new_result(g, {s.N, s.C, s.H, s.W});
  const double* matrices = data<double>(matrix);
  const bool plain = options.order.u == 0 && options.order.v == 0;
  ROTFAST_DISPATCH_STORED(g.scalar_type(), "affine_image_grad", {
    const stored_t* grad = data<stored_t>(g);
    stored_t* result = mutable_data<stored_t>(gx);
    if (plain && fits_cells(s, options)) {
      const int64_t cells = kCellBytes / int64_t(4 * sizeof(Accumulator<stored_t>)) / strip_frame(s).numel();
      const int64_t group = std::max(std::min(cells, s.C), int64_t(1));
      const int64_t grain = 1 + 20000 / (group * s.K * s.OH * s.OW + group * s.H * s.W + 1);
      torch::stable::parallel_for(
          0, s.N * ((s.C + group - 1) / group), grain, [&](int64_t begin, int64_t end) {
            scatter_units<stored_t>(s, options, group, grad, matrices, result, begin, end);
          });
      return gx;
    }
    ROTFAST_DISPATCH_INTERPOLATION(options.interpolation, {
      if (plain) {
        torch::stable::parallel_for(0, s.N, 1, [&](int64_t begin, int64_t end) {
          scatter_images<kind>(s, options, grad, matrices, result, begin, end);
        });
        return gx;
      }
      torch::stable::parallel_for(0, s.N * s.H, 1 + 1000 / s.W, [&](int64_t begin, int64_t end) {
        for (int64_t e = begin; e < end; ++e) {
          const int64_t n = e / s.H;
          gather_row<kind>(
              s, options, grad + n * s.K * s.C * s.OH * s.OW, matrices + n * s.K * 6, e % s.H,
              result + n * s.C * s.H * s.W);
        }
      });
    });
  });
  return gx;
}

}  // namespace rotfast
