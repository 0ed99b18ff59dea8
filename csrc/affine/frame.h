// A plane of the source, copied into a frame that holds what extends it. Samplers read the frame without
// bounds checks: dtype, layout, normalisation, fill and padding mode are all absorbed by the copy.
#pragma once

#include <cstring>
#include <type_traits>

#include "affine/affine.h"
#include "common/isa.h"

namespace rotfast {

// A tensor of images as it lies in memory, in elements.
template <class S>
struct Images {
  const S* first;
  int64_t image, channel, row, pixel;

  const S* plane(int64_t n, int64_t c) const { return first + n * image + c * channel; }
};

template <class S>
Images<S> images(const Tensor& x) {
  const auto stride = x.strides();
  return {data<S>(x), stride[0], stride[1], stride[2], stride[3]};
}

struct Frame {
  int64_t H, W, margin, row;  // the plane, how far it is extended on each side, elements from row to row

  Frame(int64_t height, int64_t width, int64_t margin_)
      : H(height), W(width), margin(margin_), row(width + 2 * margin_) {
    if (row % 64 == 0) row += 8;  // columns of pixels would fall into few sets of the cache
  }

  int64_t numel() const { return (H + 2 * margin) * row; }
};

// How far a frame has to extend, so that taps at clamped positions see nothing but the extension.
constexpr int64_t frame_margin(Interpolation kind) { return tap_count(kind); }

template <class S, class T>
ROTFAST_INLINE void copy_row(const S* from, int64_t step, int64_t count, const Channel& channel, T* to) {
  const T scale = T(channel.scale), shift = T(channel.shift);
  if (channel.scale == 1 && channel.shift == 0) {
    if (step == 1) {
      for (int64_t i = 0; i < count; ++i) to[i] = T(from[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = T(from[i * step]);
    }
  } else if (step == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = T(from[i]) * scale + shift;
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = T(from[i * step]) * scale + shift;
  }
}

// The extension of a row to its left and right.
template <class T>
ROTFAST_INLINE void extend_row(const Frame& frame, Padding padding, T fill, T* row) {
  T* pixel = row + frame.margin;
  for (int64_t i = 1; i <= frame.margin; ++i) {
    const int64_t left = source_index(-i, frame.W, padding);
    const int64_t right = source_index(frame.W - 1 + i, frame.W, padding);
    pixel[-i] = left < 0 ? fill : pixel[left];
    pixel[frame.W - 1 + i] = right < 0 ? fill : pixel[right];
  }
}

// The plane at `from`, with the strides of its images, and its extension.
template <class S, class T>
ROTFAST_CLONES void fill_frame(
    const Frame& frame,
    Padding padding,
    const Images<S>& source,
    const S* from,
    const Channel& channel,
    T* to) {
  const T fill = T(channel.fill);
  T* first = to + frame.margin * frame.row;
  for (int64_t j = 0; j < frame.H; ++j) {
    T* row = first + j * frame.row;
    copy_row(from + j * source.row, source.pixel, frame.W, channel, row + frame.margin);
    extend_row(frame, padding, fill, row);
  }
  for (int64_t i = 1; i <= frame.margin; ++i) {
    for (const int64_t j : {-i, frame.H - 1 + i}) {
      const int64_t same = source_index(j, frame.H, padding);
      T* row = first + j * frame.row;
      if (same < 0) {
        for (int64_t k = 0; k < frame.row; ++k) row[k] = fill;
      } else {
        std::memcpy(row, first + same * frame.row, frame.row * sizeof(T));
      }
    }
  }
}

}  // namespace rotfast
