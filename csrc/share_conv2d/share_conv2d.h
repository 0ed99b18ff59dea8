// Direct convolution for few input channels: geometry and the columns (patches) of an image.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace rotfast {

struct ConvShape {
  int64_t groups, O, I;  // output and input channels of one group
  int64_t H, W;          // input
  int64_t kh, kw;
  int64_t sh, sw, ph, pw, dh, dw;  // stride, padding, dilation
  int64_t OH, OW;                  // output

  ROTFAST_INLINE int64_t taps() const { return I * kh * kw; }
  ROTFAST_INLINE int64_t in_plane() const { return H * W; }
  ROTFAST_INLINE int64_t out_plane() const { return OH * OW; }
  ROTFAST_INLINE int64_t in_image() const { return groups * I * H * W; }
  ROTFAST_INLINE int64_t out_image() const { return groups * O * OH * OW; }
  ROTFAST_INLINE int64_t kernel_size() const { return groups * O * taps(); }
};

// The positions [first, last) within [begin, end) at which position * stride + offset lies in [0, size).
ROTFAST_INLINE void inside(
    int64_t size, int64_t stride, int64_t offset, int64_t begin, int64_t end, int64_t& first, int64_t& last) {
  first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  last = size <= offset ? 0 : (size - offset - 1) / stride + 1;
  if (first < begin) first = begin;
  if (last > end) last = end;
  if (last <= first) first = last = end;
}

// A run of positions in one output row, seen by one kernel tap: inside [first, last) the tap reads
// plane[iy * W + ox * sw + x_offset], outside it reads padding.
struct TapRun {
  int64_t row;     // (i * kh + ky) * kw + kx
  int64_t source;  // offset of (i, iy, x_offset) in the image; only meaningful when first < last
  int64_t begin, first, last, end;
  int64_t column;  // of `begin`, counted from the panel's first position
};

// Calls visit(TapRun) for every tap and every output row that meets positions [begin, end) of the output
// plane.
template <class F>
ROTFAST_INLINE void for_tap_runs(const ConvShape& s, int64_t begin, int64_t end, const F& visit) {
  TapRun run;
  run.row = 0;
  for (int64_t i = 0; i < s.I; ++i) {
    for (int64_t ky = 0; ky < s.kh; ++ky) {
      for (int64_t kx = 0; kx < s.kw; ++kx, ++run.row) {
        const int64_t x_offset = kx * s.dw - s.pw;
        int64_t position = begin, oy = begin / s.OW;
        run.begin = begin % s.OW;
        while (position < end) {
          const int64_t rest = end - position;
          run.end = rest < s.OW - run.begin ? run.begin + rest : s.OW;
          run.column = position - begin;
          const int64_t iy = oy * s.sh - s.ph + ky * s.dh;
          run.first = run.last = run.end;
          if (iy >= 0 && iy < s.H) inside(s.W, s.sw, x_offset, run.begin, run.end, run.first, run.last);
          run.source = i * s.in_plane() + iy * s.W + x_offset;
          visit(run);
          position += run.end - run.begin;
          run.begin = 0;
          ++oy;
        }
      }
    }
  }
}

// Adds columns[tap, position] for positions [begin, end), the gradient of an image's patches, onto the image.
template <class T>
ROTFAST_INLINE void add_columns_to_image(
    const ConvShape& s, const T* columns, int64_t step, int64_t begin, int64_t end, T* image) {
  for_tap_runs(s, begin, end, [&](const TapRun& run) __attribute__((always_inline)) {
    const T* in = columns + run.row * step + run.column - run.begin;
    T* out = image + run.source;
    for (int64_t x = run.first; x < run.last; ++x) out[x * s.sw] += in[x];
  });
}

}  // namespace rotfast
