// A plane of the source, copied into a frame that holds what extends it. Samplers read the frame without
// bounds checks: dtype, layout, normalisation, fill and padding mode are all absorbed by the copy.
#pragma once

#include <cstring>
#include <type_traits>

#include "affine/affine.h"
#include "common/isa.h"

namespace rotfast {

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
constexpr int64_t kMostMargin = frame_margin(Interpolation::bicubic);

// Eight pixels in registers; 16-byte vectors are what every machine has.
template <class T>
struct Eight {
  typedef T Part __attribute__((vector_size(16)));
  static constexpr int64_t size = 8, parts = size * sizeof(T) / sizeof(Part);
  Part part[parts];

  template <class S>
  ROTFAST_INLINE explicit Eight(const S* from) {
    T values[size];
    for (int64_t i = 0; i < size; ++i) values[i] = T(from[i]);
    for (int64_t k = 0; k < parts; ++k) std::memcpy(&part[k], values + k * size / parts, sizeof(Part));
  }

  // GCC does not find by itself that bytes become words by interleaving them with zeros.
  ROTFAST_INLINE explicit Eight(const uint8_t* from) {
    typedef uint8_t Bytes __attribute__((vector_size(16)));
    typedef uint16_t Shorts __attribute__((vector_size(16)));
    typedef int32_t Words __attribute__((vector_size(16)));
    typedef uint64_t Longs __attribute__((vector_size(16)));
    uint64_t eight;
    std::memcpy(&eight, from, sizeof eight);
    const Shorts shorts = (Shorts)__builtin_shufflevector(
        (Bytes)Longs{eight, 0}, Bytes{}, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const Shorts low = __builtin_shufflevector(shorts, Shorts{}, 0, 8, 1, 9, 2, 10, 3, 11);
    const Shorts high = __builtin_shufflevector(shorts, Shorts{}, 4, 12, 5, 13, 6, 14, 7, 15);
    part[0] = __builtin_convertvector((Words)low, Part);
    part[1] = __builtin_convertvector((Words)high, Part);
  }

  // One by one: as a whole, the vectors would go through memory.
  ROTFAST_INLINE void store(T* to) const {
    for (int64_t k = 0; k < parts; ++k) std::memcpy(to + k * size / parts, &part[k], sizeof(Part));
  }
};

// A row of the source, in whole vectors where it is long enough: the last one overlaps the one before.
template <bool plain, class S, class T>
ROTFAST_INLINE void copy_row(const S* from, int64_t step, int64_t count, const Channel& channel, T* to) {
  const T scale = T(channel.scale), shift = T(channel.shift);
  constexpr int64_t size = Eight<T>::size;
  if (step != 1 || count < size) {
    for (int64_t i = 0; i < count; ++i) {
      const T value = T(from[i * step]);
      to[i] = plain ? value : value * scale + shift;
    }
    return;
  }
  for (int64_t i = 0; i < count; i += size) {
    const int64_t at = i < count - size ? i : count - size;
    Eight<T> pixels(from + at);
    if (!plain) {
      for (auto& part : pixels.part) part = part * scale + shift;
    }
    pixels.store(to + at);
  }
}

// The extension of a row to its left and right by pixels of the row.
template <class T>
ROTFAST_INLINE void extend_row(const Frame& frame, Padding padding, T* row) {
  T* pixel = row + frame.margin;
  for (int64_t i = 1; i <= frame.margin; ++i) {
    pixel[-i] = pixel[source_index(-i, frame.W, padding)];
    pixel[frame.W - 1 + i] = pixel[source_index(frame.W - 1 + i, frame.W, padding)];
  }
}

template <bool plain, class S, class T>
ROTFAST_INLINE void fill_rows(
    const Frame& frame,
    Padding padding,
    const Images<S>& source,
    const S* from,
    const Channel& channel,
    T* to) {
  const T fill = T(channel.fill);
  for (int64_t j = 0; j < frame.H; ++j) {
    T* row = to + (frame.margin + j) * frame.row;
    if (padding == Padding::constant) {
      // In whole vectors: what is too much is overwritten, by this row or the next one.
      for (int64_t i = 0; i < kMostMargin; ++i) row[i] = fill;
      copy_row<plain>(from + j * source.row, source.pixel, frame.W, channel, row + frame.margin);
      for (int64_t i = 0; i < kMostMargin; ++i) row[frame.margin + frame.W + i] = fill;
    } else {
      copy_row<plain>(from + j * source.row, source.pixel, frame.W, channel, row + frame.margin);
      extend_row(frame, padding, row);
    }
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
  if (channel.scale == 1 && channel.shift == 0) {
    fill_rows<true>(frame, padding, source, from, channel, to);
  } else {
    fill_rows<false>(frame, padding, source, from, channel, to);
  }
  const T fill = T(channel.fill);
  T* first = to + frame.margin * frame.row;
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
