// Where samples come from and how they are weighted: one arithmetic for the CPU and CUDA kernels.
//
// A matrix maps the output pixel (X, Y) to the source position (u, v); u counts columns, v rows. The source
// is thought of as extended to all integer indices: by a fill value, by its border pixels, or by reflection
// about the centres of its border pixels. A sample is the sum of the extended pixels around (u, v), weighted
// by the interpolation kernel, or by a derivative of it.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace rotfast {

enum class Interpolation : int64_t { nearest, bilinear, bicubic };
enum class Padding : int64_t { constant, border, reflection };

struct AffineShape {
  int64_t N, K, C, H, W, OH, OW;
};

// How often the interpolation kernel is differentiated along columns and rows.
struct Order {
  int u, v;
};

ROTFAST_HOST_DEVICE constexpr int tap_count(Interpolation kind) {
  return kind == Interpolation::nearest ? 1 : kind == Interpolation::bilinear ? 2 : 4;
}

// Index of the first tap, counted from floor(position).
ROTFAST_HOST_DEVICE constexpr int first_tap(Interpolation kind) {
  return kind == Interpolation::bicubic ? -1 : 0;
}

// Taps lie within this distance of the position.
ROTFAST_HOST_DEVICE constexpr int reach(Interpolation kind) { return kind == Interpolation::bicubic ? 2 : 1; }

// Positions this far outside see nothing but what extends the image. Between pixel centres, where no weight
// is 0, so that an infinite border pixel stays infinite and is not multiplied by 0.
constexpr double kMargin = 3.5;

ROTFAST_HOST_DEVICE double position(const double* matrix, int axis, int64_t X, int64_t Y) {
  const double* m = matrix + 3 * axis;
  return m[0] * double(X) + (m[1] * double(Y) + m[2]);
}

// An equivalent position near the image; every double, also NaN, gives one that converts to an integer.
ROTFAST_HOST_DEVICE double bounded(double position, int64_t size, Padding padding) {
  double low = -kMargin, high = double(size - 1) + kMargin;
  if (padding == Padding::reflection) {
    const double period = double(2 * (size - 1));
    position = size == 1 ? 0.0 : position - period * floor(position / period);
    low = 0;
    high = period;
  }
  position = position > low ? position : low;  // also where it is NaN
  return position < high ? position : high;
}

// The pixel that stands at an index of the extended image; -1 is the fill value.
template <class Index>
ROTFAST_HOST_DEVICE Index source_index(Index index, Index size, Padding padding) {
  if (index >= 0 && index < size) return index;
  if (padding == Padding::constant) return -1;
  if (padding == Padding::border || size == 1) return index < 0 ? 0 : size - 1;
  const Index period = 2 * (size - 1);
  index %= period;
  if (index < 0) index += period;
  return index < size ? index : period - index;
}

// Derivatives of Keys' cubic kernel (a = -0.75) at a distance up to 1, and at one from 1 to 2.
template <class T>
ROTFAST_HOST_DEVICE T cubic_near(int order, T s) {
  const T a = T(-0.75);
  switch (order) {
    case 0:
      return ((a + 2) * s - (a + 3)) * s * s + 1;
    case 1:
      return (3 * (a + 2) * s - 2 * (a + 3)) * s;
    case 2:
      return 6 * (a + 2) * s - 2 * (a + 3);
    case 3:
      return 6 * (a + 2);
    default:
      return 0;
  }
}

template <class T>
ROTFAST_HOST_DEVICE T cubic_far(int order, T s) {
  const T a = T(-0.75);
  switch (order) {
    case 0:
      return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a;
    case 1:
      return (3 * a * s - 10 * a) * s + 8 * a;
    case 2:
      return 6 * a * s - 10 * a;
    case 3:
      return 6 * a;
    default:
      return 0;
  }
}

// The taps of one axis: index of the first one, and the weights.
template <Interpolation kind, class T>
struct Taps {
  int64_t first;
  T weight[tap_count(kind)];

  // From a bounded position.
  ROTFAST_HOST_DEVICE Taps(double at, int order) {
    if constexpr (kind == Interpolation::nearest) {
      first = int64_t(rint(at));
      weight[0] = T(order == 0);
    } else {
      const double cell = floor(at);
      const T t = T(at - cell);
      first = int64_t(cell) + first_tap(kind);
      if constexpr (kind == Interpolation::bilinear) {
        weight[0] = order == 0 ? 1 - t : order == 1 ? T(-1) : T(0);
        weight[1] = order == 0 ? t : order == 1 ? T(1) : T(0);
      } else {
        const T sign = order % 2 == 0 ? T(1) : T(-1);
        weight[0] = cubic_far(order, 1 + t);
        weight[1] = cubic_near(order, t);
        weight[2] = sign * cubic_near(order, 1 - t);
        weight[3] = sign * cubic_far(order, 2 - t);
      }
    }
  }
};

// Whether the matrix maps pixel centres onto pixel centres, as quarter turns do: then a sample is one pixel.
ROTFAST_HOST_DEVICE bool maps_grid_onto_itself(const double* matrix) {
  const double limit = 1 << 30;
  for (int e = 0; e < 6; ++e) {
    if (!(fabs(matrix[e]) < limit) || matrix[e] != floor(matrix[e])) return false;
  }
  return true;
}

struct Interval {
  int64_t begin, end;
};

// The X of an interval at which low <= slope X + start <= high, exactly as rounded.
ROTFAST_HOST_DEVICE Interval
columns_within(double slope, double start, double low, double high, Interval all) {
  if (!(slope == slope && start == start) || all.begin >= all.end) return {all.begin, all.begin};
  if (slope == 0) return low <= start && start <= high ? all : Interval{all.begin, all.begin};
  const double one = (low - start) / slope, other = (high - start) / slope;
  const double first = double(all.begin), last = double(all.end - 1);
  Interval found{
      int64_t(fmin(fmax(ceil(fmin(one, other)), first), last + 1)),
      int64_t(fmin(fmax(floor(fmax(one, other)), first - 1), last)) + 1};
  // The division rounds: the ends are moved to where the condition itself changes.
  const auto holds = [&](int64_t X) {
    const double at = slope * double(X) + start;
    return low <= at && at <= high;
  };
  while (found.begin > all.begin && holds(found.begin - 1)) --found.begin;
  while (found.begin < found.end && !holds(found.begin)) ++found.begin;
  while (found.end < all.end && found.end >= found.begin && holds(found.end)) ++found.end;
  while (found.end > found.begin && !holds(found.end - 1)) --found.end;
  return found;
}

// For adjoints that gather. One axis of what a source pixel, or one of its reflected copies, contributes to.
struct Slab {
  int64_t copy;      // its index in the extended image
  double low, high;  // positions that may see it
};

// The range of positions of all output pixels along one axis.
ROTFAST_HOST_DEVICE void position_range(
    const double* matrix, int axis, int64_t OH, int64_t OW, double& low, double& high) {
  const double* m = matrix + 3 * axis;
  const double a = m[0] * double(OW - 1), b = m[1] * double(OH - 1);
  low = m[2] + fmin(a, 0.0) + fmin(b, 0.0);
  high = m[2] + fmax(a, 0.0) + fmax(b, 0.0);
}

// The slabs of one pixel, for a given range of positions: slab(0), slab(1), ... up to count().
struct Slabs {
  int64_t pixel, size;
  Padding padding;
  int reach_;
  int64_t first_period, periods;

  ROTFAST_HOST_DEVICE Slabs(
      int64_t pixel_, int64_t size_, Padding padding_, int reach_of_kernel, double low, double high)
      : pixel(pixel_), size(size_), padding(padding_), reach_(reach_of_kernel), first_period(0), periods(1) {
    if (padding == Padding::reflection && size > 1) {
      const double period = double(2 * (size - 1)), limit = 1e15;
      low = fmin(fmax(low, -limit), limit);
      high = fmin(fmax(high, -limit), limit);
      first_period = int64_t(floor((low - reach_) / period));
      periods = int64_t(floor((high + reach_) / period)) - first_period + 1;
    }
  }

  // Pixels strictly between the first and the last have two copies in a period.
  ROTFAST_HOST_DEVICE bool twice() const {
    return padding == Padding::reflection && pixel > 0 && pixel < size - 1;
  }

  ROTFAST_HOST_DEVICE int64_t count() const { return twice() ? 2 * periods : periods; }

  ROTFAST_HOST_DEVICE Slab slab(int64_t number) const {
    const double infinite = 1e300;
    if (padding == Padding::border || size == 1) {
      const bool open = padding != Padding::constant;
      return {
          pixel, open && pixel == 0 ? -infinite : double(pixel - reach_),
          open && pixel == size - 1 ? infinite : double(pixel + reach_)};
    }
    int64_t copy = pixel;
    if (padding == Padding::reflection) {
      const int64_t period = 2 * (size - 1);
      copy = (first_period + (twice() ? number / 2 : number)) * period;
      copy += twice() && number % 2 == 1 ? period - pixel : pixel;
    }
    return {copy, double(copy - reach_), double(copy + reach_)};
  }
};

// The weight with which a position sees the copy of a slab.
template <Interpolation kind, class T>
ROTFAST_HOST_DEVICE T slab_weight(const Slab& slab, double at, int order, int64_t size, Padding padding) {
  const bool clamped = padding == Padding::border || (size == 1 && padding == Padding::reflection);
  if (clamped) at = fmin(fmax(at, -kMargin), double(size - 1) + kMargin);
  const Taps<kind, T> taps(at, order);
  T weight = 0;
  for (int tap = 0; tap < tap_count(kind); ++tap) {
    const int64_t index = taps.first + tap;
    if ((clamped ? source_index(index, size, Padding::border) : index) == slab.copy) {
      weight += taps.weight[tap];
    }
  }
  return weight;
}

// The output rows that can hold positions inside both slabs; never too few.
ROTFAST_HOST_DEVICE Interval rows_within(const double* m, const Slab& u, const Slab& v, int64_t OH) {
  const double determinant = m[0] * m[4] - m[1] * m[3];
  if (!(fabs(determinant) > 1e-12) || fabs(u.low) + fabs(u.high) + fabs(v.low) + fabs(v.high) > 1e18) {
    return {0, OH};
  }
  // Y = (m0 (v - m5) - m3 (u - m2)) / determinant is largest and smallest at corners.
  const double a = m[0] / determinant, b = -m[3] / determinant;
  const double from_v_low = a * (v.low - m[5]), from_v_high = a * (v.high - m[5]);
  const double from_u_low = b * (u.low - m[2]), from_u_high = b * (u.high - m[2]);
  const double low = fmin(from_v_low, from_v_high) + fmin(from_u_low, from_u_high) - 1;
  const double high = fmax(from_v_low, from_v_high) + fmax(from_u_low, from_u_high) + 1;
  const double last = double(OH);
  return {int64_t(fmin(fmax(floor(low), 0.0), last)), int64_t(fmin(fmax(ceil(high) + 1, 0.0), last))};
}

// The weight with which a position sees a pixel, in all its copies.
template <Interpolation kind, class T>
ROTFAST_HOST_DEVICE T pixel_weight(int64_t pixel, double at, int order, int64_t size, Padding padding) {
  const Taps<kind, T> taps(bounded(at, size, padding), order);
  T weight = 0;
  for (int tap = 0; tap < tap_count(kind); ++tap) {
    if (source_index(taps.first + tap, size, padding) == pixel) weight += taps.weight[tap];
  }
  return weight;
}

// Several threads may share a gather: each one looks at every `step`-th row, from row `first` on.
struct Share {
  int64_t first, step;
};

// Sum over all outputs that see the source pixel (i, j): visit(X, Y, weight). Meant for one image and matrix.
template <Interpolation kind, class T, class Visit>
ROTFAST_HOST_DEVICE void gather(
    const AffineShape& s,
    const double* m,
    Padding padding,
    Order order,
    int64_t j,
    int64_t i,
    Visit visit,
    Share share = {0, 1}) {
  double low, high;
  position_range(m, 0, s.OH, s.OW, low, high);
  const Slabs columns(i, s.W, padding, reach(kind), low, high);
  position_range(m, 1, s.OH, s.OW, low, high);
  const Slabs rows(j, s.H, padding, reach(kind), low, high);
  // Positions may be so far apart that a pixel has more copies among them than there are outputs.
  if (double(rows.count()) * double(columns.count()) > double(s.OH) * double(s.OW)) {
    for (int64_t Y = share.first; Y < s.OH; Y += share.step) {
      for (int64_t X = 0; X < s.OW; ++X) {
        const T weight = pixel_weight<kind, T>(i, position(m, 0, X, Y), order.u, s.W, padding) *
                         pixel_weight<kind, T>(j, position(m, 1, X, Y), order.v, s.H, padding);
        if (weight != 0) visit(X, Y, weight);
      }
    }
    return;
  }
  for (int64_t r = 0; r < rows.count(); ++r) {
    const Slab v = rows.slab(r);
    for (int64_t c = 0; c < columns.count(); ++c) {
      const Slab u = columns.slab(c);
      const Interval lines = rows_within(m, u, v, s.OH);
      for (int64_t Y = lines.begin + share.first; Y < lines.end; Y += share.step) {
        const double start_u = m[1] * double(Y) + m[2], start_v = m[4] * double(Y) + m[5];
        Interval span = columns_within(m[0], start_u, u.low, u.high, {0, s.OW});
        span = columns_within(m[3], start_v, v.low, v.high, span);
        for (int64_t X = span.begin; X < span.end; ++X) {
          const T weight = slab_weight<kind, T>(u, position(m, 0, X, Y), order.u, s.W, padding) *
                           slab_weight<kind, T>(v, position(m, 1, X, Y), order.v, s.H, padding);
          if (weight != 0) visit(X, Y, weight);
        }
      }
    }
  }
}

}  // namespace rotfast
