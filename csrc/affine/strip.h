// Where the pixels of an output row come from, many at a time: the geometry of geometry.h for CPU loops.
//
// Images are seen in a frame, wider by kFrame pixels on every side, in which positions need no test any more.
// A position is a cell, which is the place in the frame of the pixel above and to the left of it, and the
// fractions by which it lies to the right of and below that pixel.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "affine/frame.h"

namespace rotfast {

constexpr int64_t kFrame = 2;

// Rows are an odd number of elements apart: the pixels of a column then fall into different sets of the
// cache.
inline Frame strip_frame(const AffineShape& s) {
  Frame frame(s.H, s.W, kFrame);
  frame.row |= 1;
  return frame;
}

// Frames are this far apart, so that what lies past the last column of a row has cells of its own.
inline int64_t frame_step(const Frame& frame) { return frame.numel() + frame.row + 8; }

// One line of a matrix: positions along one axis of the source.
struct Axis {
  double slope, per_row, offset;
  double inverse;  // of slope, but finite
  int64_t size;

  Axis() = default;
  Axis(const double* m, int64_t size_)
      : slope(m[0]),
        per_row(m[1]),
        offset(m[2]),
        inverse(std::fabs(slope) < 1e-30 ? 1e30 : 1 / slope),
        size(size_) {}

  ROTFAST_INLINE double start(int64_t Y) const { return per_row * double(Y) + offset; }

  // Narrows first <= X <= last to where pixels are seen, but for rounding.
  ROTFAST_INLINE void narrow(double start, double& first, double& last) const {
    const double one = (-1 - start) * inverse, other = (double(size) - start) * inverse;
    const double low = one < other ? one : other, high = one < other ? other : one;
    first = first < low ? low : first;
    last = last > high ? high : last;
  }
};

template <class V>
ROTFAST_INLINE V loaded(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Positions of eight columns that follow each other. Those past the last column of a row see nothing.
template <class T>
struct Sites8 {
  static constexpr int64_t size = 8;
  typedef T Numbers __attribute__((vector_size(8 * sizeof(T))));
  typedef int32_t Integers __attribute__((vector_size(32)));
  int32_t cell[size];  // times the unit of Strip
  T u[size], v[size];
  int32_t offset;  // of the first column in the strip
  T X, Y;          // its column, and its row of the strip
};

// For reflection: -1 where the source is seen reversed.
template <class T>
struct Signs8 {
  T u[Sites8<T>::size], v[Sites8<T>::size];
};

// Positions of some output rows at a time, for one matrix after another; T is the type of the fractions.
template <class T, int32_t unit>
class Strip {
 public:
  const int64_t height;          // of the strips, in rows
  int64_t count = 0;             // of what is in sites
  std::vector<Sites8<T>> sites;  // row after row, but for columns that see no pixel
  std::vector<Signs8<T>> signs;  // with reflection, of the sites

  // With a border, positions are clamped to border_low from below: from 0 on there are only pixels of the
  // image, -1 gives the same values and the slopes of the extended image, which vanish.
  Strip(const AffineShape& s, const Frame& frame, Padding padding, double border_low)
      : height(std::max(kPixels / std::max(s.OW, int64_t(1)), int64_t(1))),
        across_((s.OW + kSites - 1) / kSites),
        nowhere_(frame.numel()),
        shape_(s),
        padding_(padding),
        border_low_(border_low),
        stride_(frame.row),
        product_u_(across_ * kSites),
        product_v_(across_ * kSites),
        start_u_(s.OH),
        start_v_(s.OH),
        first_(s.OH),
        after_(s.OH) {
    sites.resize(height * across_ + kBlock / kSites);
    if (padding == Padding::reflection) signs.resize(sites.size());
  }

  // Chooses the matrix, and whether to look for nearest pixels: cells are then their places, fractions 0.
  ROTFAST_INLINE void aim(const double* matrix, bool nearest = false) {
    nearest_ = nearest;
    axis_u_ = Axis(matrix, shape_.W);
    axis_v_ = Axis(matrix + 3, shape_.H);
    const double limit = 1 << 20;
    ordinary_ = !nearest && padding_ == Padding::constant && double(std::max(shape_.OH, shape_.OW)) < limit;
    for (int e = 0; e < 6; ++e) ordinary_ = ordinary_ && std::fabs(matrix[e]) < limit;
    if (!ordinary_) return multiply();
    const int64_t whole_u = int64_t(std::floor(axis_u_.slope)), whole_v = int64_t(std::floor(axis_v_.slope));
    const T rest_u = T(axis_u_.slope - double(whole_u)), rest_v = T(axis_v_.slope - double(whole_v));
    for (int32_t k = 0; k < kBlock; ++k) {
      ramp_u_[k] = rest_u * T(k);
      ramp_v_[k] = rest_v * T(k);
      jump_[k] = uint32_t(unit * k * (whole_v * stride_ + whole_u));
    }
    double *us = start_u_.data(), *vs = start_v_.data();
    int32_t *firsts = first_.data(), *afters = after_.data();
    for (int32_t Y = 0; Y < int32_t(shape_.OH); ++Y) {
      us[Y] = axis_u_.per_row * Y + axis_u_.offset;
      vs[Y] = axis_v_.per_row * Y + axis_v_.offset;
      double first = 0, last = double(shape_.OW - 1);
      axis_u_.narrow(us[Y], first, last);
      axis_v_.narrow(vs[Y], first, last);
      last = last < -1 ? -1 : last;
      first = first > last + 1 ? last + 1 : first;
      const int32_t begins = int32_t(std::ceil(first)), ends = int32_t(std::floor(last)) + 1;
      firsts[Y] = begins;
      afters[Y] = begins > ends ? begins : ends;
    }
  }

  // Finds the positions of rows from first_row on; returns how many rows.
  ROTFAST_INLINE int64_t look(int64_t first_row) {
    const int64_t rows = std::min(height, shape_.OH - first_row);
    Sites8<T>* site = sites.data();
    for (int64_t Y = 0; Y < rows; ++Y) {
      int64_t begin = 0, end = shape_.OW;
      if (ordinary_) {
        begin = first_[first_row + Y];
        end = after_[first_row + Y];
        walk(first_row, Y, begin, end, site);
      } else if (nearest_) {
        settle_row<true>(first_row, Y, site);
      } else {
        settle_row<false>(first_row, Y, site);
      }
      site = finish_row(end - begin, site);
    }
    count = site - sites.data();
    return rows;
  }

 private:
  static constexpr int64_t kSites = Sites8<T>::size, kBlock = 4 * kSites;
  static constexpr int64_t kPixels =
      128;  // of a strip of narrow rows: few, so that they do not drive images from the L1 cache

  // Each block of columns starts from its position in float64 and steps in T, by the slope less its whole
  // part: so the fractions of float32 are exact to a few units of the last place however large the image.
  ROTFAST_INLINE void walk(int64_t first_row, int64_t Y, int64_t begin, int64_t end, Sites8<T>* site) const {
    using Numbers = typename Sites8<T>::Numbers;
    using Integers = typename Sites8<T>::Integers;
    const double start_u = start_u_[first_row + Y], start_v = start_v_[first_row + Y];
    const int32_t row = int32_t(unit * stride_);
    for (int64_t X = begin; X < end; X += kBlock) {
      const double at_u = axis_u_.slope * double(X) + start_u, at_v = axis_v_.slope * double(X) + start_v;
      const double whole_u = std::floor(at_u), whole_v = std::floor(at_v);
      const T base_u = T(at_u - whole_u), base_v = T(at_v - whole_v);
      const uint32_t base =
          uint32_t(unit * ((int64_t(whole_v) + kFrame) * stride_ + int64_t(whole_u) + kFrame));
      // Always a whole block: a loop of changing length costs more than what it leaves out.
      for (int32_t first = 0; first < kBlock; first += kSites, ++site) {
        const Numbers at_left = base_u + loaded<Numbers>(ramp_u_ + first),
                      at_top = base_v + loaded<Numbers>(ramp_v_ + first);
        // Nothing is negative here: rounding towards zero is rounding down.
        const auto left = __builtin_convertvector(at_left, Integers),
                   top = __builtin_convertvector(at_top, Integers);
        const Numbers u = at_left - __builtin_convertvector(left, Numbers),
                      v = at_top - __builtin_convertvector(top, Numbers);
        const Integers cell = top * row + left * unit + loaded<Integers>(jump_ + first) + int32_t(base);
        std::memcpy(site->cell, &cell, sizeof cell);
        std::memcpy(site->u, &u, sizeof u);
        std::memcpy(site->v, &v, sizeof v);
        place(Y, X + first, site);
      }
    }
  }

  // Y is the row of the strip.
  ROTFAST_INLINE void place(int64_t Y, int64_t X, Sites8<T>* site) const {
    site->offset = int32_t(Y * shape_.OW + X);
    if constexpr (unit == 1) {
      site->X = T(X);
      site->Y = T(Y);
    }
  }

  // Returns where the sites of the next row begin.
  ROTFAST_INLINE Sites8<T>* finish_row(int64_t columns, Sites8<T>* site) const {
    if (columns == 0) return site;
    site += (columns - 1) / kSites;
    const int32_t last = int32_t((columns - 1) % kSites);
    for (int32_t k = 0; k < kSites; ++k) {
      site->cell[k] = k > last ? int32_t(unit * (nowhere_ + k % 4)) : site->cell[k];
    }
    return site + 1;
  }

  template <bool nearest>
  ROTFAST_INLINE void settle_row(int64_t first_row, int64_t Y, Sites8<T>* site) {
    double start_u, start_v;
    starts(first_row + Y, start_u, start_v);
    for (int64_t i = 0; i < across_; ++i) place(Y, i * kSites, site + i);
    switch (padding_) {
      case Padding::constant:
        return settle<Padding::constant, nearest>(start_u, start_v, site);
      case Padding::border:
        return settle<Padding::border, nearest>(start_u, start_v, site);
      case Padding::reflection:
        return settle<Padding::reflection, nearest>(start_u, start_v, site);
    }
  }

  template <Padding padding, bool nearest>
  ROTFAST_INLINE void settle(double start_u, double start_v, Sites8<T>* site) {
    const double *from_u = product_u_.data(), *from_v = product_v_.data();
    Signs8<T> ignored,
        *sign = padding == Padding::reflection ? signs.data() + (site - sites.data()) : &ignored;
    for (int64_t i = 0; i < across_; ++i, ++site, from_u += kSites, from_v += kSites) {
      int32_t column[kSites], row[kSites];
      settle_axis<padding, nearest>(from_u, start_u, shape_.W, column, site->u, sign->u);
      settle_axis<padding, nearest>(from_v, start_v, shape_.H, row, site->v, sign->v);
      if (padding == Padding::reflection) ++sign;
      for (int64_t k = 0; k < kSites; ++k) site->cell[k] = unit * (row[k] * int32_t(stride_) + column[k]);
    }
  }

  // Any position, also NaN, along one axis.
  template <Padding padding, bool nearest>
  ROTFAST_INLINE void settle_axis(
      const double* product, double start, int64_t size, int32_t* place, T* fraction, T* sign) const {
    const double period = double(2 * (size - 1));
    const double low = padding == Padding::constant ? -2 : padding == Padding::border ? border_low_ : 0;
    const double high = padding == Padding::constant ? double(size)
                        : padding == Padding::border ? double(size - 1)
                                                     : period;
    const int32_t mirror = int32_t(period) - (nearest ? 0 : 1);
    for (int64_t k = 0; k < kSites; ++k) {
      double at = product[k] + start;
      if (padding == Padding::reflection) at -= period * std::floor(at / period);
      at = at > low ? at : low;
      at = at < high ? at : high;
      const double whole = nearest ? std::rint(at) : std::floor(at);
      int32_t index = int32_t(whole);
      T rest = nearest ? T(0) : T(at - whole);
      if (padding == Padding::reflection) {
        const bool reversed = mirror - index < index;
        index = reversed ? mirror - index : index;
        rest = reversed && !nearest ? 1 - rest : rest;
        sign[k] = reversed ? T(-1) : T(1);
      }
      fraction[k] = rest;
      place[k] = index + int32_t(kFrame);
    }
  }

  // These two are not compiled for several instruction sets: positions must round as in geometry.h, without
  // fused multiplication and addition, or nearest pixels would differ where two are as near.
  __attribute__((noinline)) void multiply() {
    for (size_t X = 0; X < product_u_.size(); ++X) {
      product_u_[X] = axis_u_.slope * double(X);
      product_v_[X] = axis_v_.slope * double(X);
    }
  }

  __attribute__((noinline)) void starts(int64_t Y, double& start_u, double& start_v) const {
    start_u = axis_u_.start(Y);
    start_v = axis_v_.start(Y);
  }

  int64_t across_;   // sites of a whole row
  int64_t nowhere_;  // a cell past the frame
  AffineShape shape_;
  Padding padding_;
  double border_low_;
  int64_t stride_;
  Axis axis_u_, axis_v_;
  bool ordinary_ = false, nearest_ = false;
  // By columns of a block: steps of the slope less its whole part, and of the cell by that part.
  T ramp_u_[kBlock], ramp_v_[kBlock];
  uint32_t jump_[kBlock];
  std::vector<double> product_u_, product_v_;  // of slopes and X
  // Of rows: positions of X = 0, and the columns that see pixels.
  std::vector<double> start_u_, start_v_;
  std::vector<int32_t> first_, after_;
};

// Asks for the cache lines of a piece of memory, which need not exist.
template <class S>
ROTFAST_INLINE void fetch(const S* first, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / sizeof(S)) __builtin_prefetch(first + i);
}

constexpr int64_t kAhead = 4096;

// Numbers in type T, readable up to eight further before `end`: themselves or a copy. What lies `ahead` of
// them is fetched: channels are in different pages, which the processor does not foresee.
template <class S, class T>
ROTFAST_INLINE const T* readable(const S* first, int64_t count, const S* end, int64_t ahead, T* copy) {
  fetch(first + ahead, count);
  if constexpr (std::is_same_v<S, T>) {
    if (end - first >= count + Sites8<T>::size) return first;
  }
  for (int64_t i = 0; i < count; ++i) copy[i] = T(first[i]);
  for (int64_t i = 0; i < Sites8<T>::size; ++i) copy[count + i] = T(0);
  return copy;
}

}  // namespace rotfast
