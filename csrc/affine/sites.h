// Where the pixels of a piece of the output come from: indices into a frame and fractions between its
// pixels, computed once for all channels.
#pragma once

#include <cmath>

#include "affine/frame.h"
#include "common/panel_gemm.h"

namespace rotfast {

// Pixels of the output that follow each other in memory: some whole rows, or a piece of one row.
struct Tile {
  int64_t Y, X, rows, columns;

  int64_t count() const { return rows * columns; }
};

// The output in tiles whose sites stay in the L1 cache.
struct Tiles {
  static constexpr int64_t most = 1024;
  int64_t OH, OW, rows, columns, across, count;

  Tiles(int64_t height, int64_t width) : OH(height), OW(width) {
    columns = OW < most ? OW : most;
    rows = most / columns;
    across = (OW + columns - 1) / columns;
    count = (OH + rows - 1) / rows * across;
  }

  Tile operator[](int64_t number) const {
    const int64_t Y = number / across * rows, X = number % across * columns;
    return {Y, X, rows < OH - Y ? rows : OH - Y, columns < OW - X ? columns : OW - X};
  }
};

// The pixels of a tile, row after row. Vectors may be stored and read past the last one.
template <class T>
struct Sites {
  static constexpr int64_t slack = 16;
  alignas(32) int32_t index[Tiles::most + slack];  // of the first tap of the first row
  alignas(32) T t[Tiles::most + slack];            // fractions along columns and rows
  alignas(32) T s[Tiles::most + slack];
};

// Whether 32 bits before and after the point hold all positions of an output.
inline bool fits_fixed_point(const double* m, const AffineShape& s) {
  const double limit = 1 << 29;
  const auto most = [&](const double* axis) {
    return std::fabs(axis[0]) * double(s.OW + 8) + std::fabs(axis[1]) * double(s.OH) + std::fabs(axis[2]);
  };
  return most(m) < limit && most(m + 3) < limit;
}

// Positions of 8 pixels along one axis, in fixed point: the halves of each vector are 4 pixels apart, so that
// taking every second word of both gives the pixels in their order.
struct FixedPositions {
  typedef int64_t Longs __attribute__((vector_size(32)));
  typedef int32_t Ints8 __attribute__((vector_size(32)));
  typedef uint32_t Unsigned __attribute__((vector_size(32)));
  typedef float Floats __attribute__((vector_size(32)));
  static constexpr double one = 4294967296.0;
  int64_t pixel;
  Longs ramp, even, odd;

  ROTFAST_INLINE explicit FixedPositions(double slope) : pixel(int64_t(slope * one)) {
    const int64_t steps[4] = {0, pixel, 4 * pixel, 5 * pixel};
    ramp = even = odd = Vector<int64_t>::load(steps);
  }
  ROTFAST_INLINE void start(double at) {
    even = ramp + int64_t(at * one);
    odd = even + 2 * pixel;
  }
  ROTFAST_INLINE void advance() {
    even += 8 * pixel;
    odd += 8 * pixel;
  }
  ROTFAST_INLINE Ints8 whole(const Ints8& last) const {
    const Ints8 zero{};
    Ints8 cell = __builtin_shufflevector((Ints8)even, (Ints8)odd, 1, 3, 9, 11, 5, 7, 13, 15);
    cell = cell < zero ? zero : cell;
    return cell > last ? last : cell;
  }
  ROTFAST_INLINE Floats fraction() const {
    const Ints8 bits = __builtin_shufflevector((Ints8)even, (Ints8)odd, 0, 2, 8, 10, 4, 6, 12, 14);
    return __builtin_convertvector((Ints8)((Unsigned)bits >> 8), Floats) * 0x1p-24f;
  }
};

// Positions in fixed point, exact to 2^-24 pixels. Clamping is left to whole cells: beyond the frame's edge
// all taps see the same extension, whatever the fraction.
template <Interpolation kind>
ROTFAST_CLONES void locate_fixed(const Frame& frame, const double* m, const Tile& tile, Sites<float>& sites) {
  const FixedPositions::Ints8 last_column = FixedPositions::Ints8{} + int32_t(frame.W + frame.margin);
  const FixedPositions::Ints8 last_row = FixedPositions::Ints8{} + int32_t(frame.H + frame.margin);
  const int32_t row = int32_t(frame.row);
  const double shift = double(frame.margin + first_tap(kind));
  FixedPositions u(m[0]), v(m[3]);
  for (int64_t r = 0; r < tile.rows; ++r) {
    u.start(position(m, 0, tile.X, tile.Y + r) + shift);
    v.start(position(m, 1, tile.X, tile.Y + r) + shift);
    // The surplus of the last vector is overwritten by the next row.
    for (int64_t i = r * tile.columns; i < (r + 1) * tile.columns; i += 8) {
      const FixedPositions::Ints8 index = v.whole(last_row) * row + u.whole(last_column);
      const FixedPositions::Floats t = u.fraction(), s = v.fraction();
      std::memcpy(sites.index + i, &index, sizeof index);
      std::memcpy(sites.t + i, &t, sizeof t);
      std::memcpy(sites.s + i, &s, sizeof s);
      u.advance();
      v.advance();
    }
  }
}

// slope * (first, first + 1, ...). A call of its own: joined into one rounding with the addition that
// follows, it would decide ties of nearest neighbours otherwise than two operations do.
inline __attribute__((noinline)) void products(double slope, int64_t first, int64_t count, double* result) {
  for (int64_t i = 0; i < count; ++i) result[i] = slope * double(first + i);
}

// What the positions of a tile are sums of.
struct Products {
  double column_u[Tiles::most], column_v[Tiles::most], row_u[Tiles::most], row_v[Tiles::most];

  void set(const double* m, const Tile& tile) {
    products(m[0], tile.X, tile.columns, column_u);
    products(m[1], tile.Y, tile.rows, row_u);
    products(m[3], tile.X, tile.columns, column_v);
    products(m[4], tile.Y, tile.rows, row_v);
  }
};

// One axis of a site: the first tap's index in the frame, and the fraction.
template <Interpolation kind, Padding padding, class T>
ROTFAST_INLINE int32_t split(double at, int64_t size, int64_t margin, T& fraction) {
  at = bounded(at, size, padding);
  if (padding == Padding::reflection) {
    const double last = double(size - 1);
    at = at > last ? 2 * last - at : at;  // the kernel is symmetric, and so is the extension
  }
  double cell;
  if constexpr (kind == Interpolation::nearest) {
    cell = std::rint(at);
    fraction = T(0);
  } else {
    cell = std::floor(at);
    fraction = T(at - cell);
  }
  const int32_t tap = int32_t(cell) + first_tap(kind) + int32_t(margin), last = int32_t(size + margin);
  return tap < 0 ? 0 : tap > last ? last : tap;
}

// Positions in double precision, whatever they are.
template <Interpolation kind, Padding padding, class T>
ROTFAST_CLONES void locate_exactly(
    const Frame& frame, const double* m, const Products& product, const Tile& tile, Sites<T>& sites) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const double start_u = product.row_u[r] + m[2], start_v = product.row_v[r] + m[5];
    const int64_t first = r * tile.columns;
    for (int64_t i = 0; i < tile.columns; ++i) {
      const int32_t column =
          split<kind, padding>(product.column_u[i] + start_u, frame.W, frame.margin, sites.t[first + i]);
      const int32_t row =
          split<kind, padding>(product.column_v[i] + start_v, frame.H, frame.margin, sites.s[first + i]);
      sites.index[first + i] = row * int32_t(frame.row) + column;
    }
  }
}

}  // namespace rotfast
