// The input of a panel of output positions, laid out so that every kernel tap reads a run of memory.
#pragma once

#include <algorithm>
#include <vector>

#include "conv_relu_linear/tiles.h"
#include "share_conv2d/share_conv2d.h"

namespace rotfast {

// The rows of the padded image that positions [begin, end) meet, once for every horizontal shift of the
// kernel and as wide as a row of outputs: what a tap reads for neighbouring positions then lies side by side,
// and taps below each other share their rows. (With a vertical stride every tap has rows of its own.)
template <class T>
struct Patches {
  ConvShape conv;
  int64_t begin, positions;
  int64_t rows, size;            // rows of one shift; elements for one image
  std::vector<int64_t> offsets;  // in an image's elements, of each tap and, last, of ones

  Patches(const ConvShape& s, int64_t begin, int64_t end) : conv(s), begin(begin), positions(end - begin) {
    const int64_t out_rows = (end - 1) / s.OW - begin / s.OW + 1;
    rows = shares_rows() ? out_rows + (s.kh - 1) * s.dh : out_rows;
    for (int64_t i = 0; i < s.I; ++i) {
      for (int64_t ky = 0; ky < s.kh; ++ky) {
        for (int64_t kx = 0; kx < s.kw; ++kx) {
          const int64_t plane = shares_rows() ? i : i * s.kh + ky;
          const int64_t row = (plane * s.kw + kx) * rows + (shares_rows() ? ky * s.dh : 0);
          offsets.push_back(row * s.OW + begin % s.OW);
        }
      }
    }
    // Where there is less than one vector, a vector is read.
    const int64_t ones = shifts() * rows * s.OW + kWidest<T>;
    offsets.push_back(ones);
    size = ones + positions;
  }

  bool shares_rows() const { return conv.sh == 1; }
  int64_t shifts() const { return conv.I * (shares_rows() ? 1 : conv.kh) * conv.kw; }

  // Everything but the ones.
  void fill(const T* image, T* to) const;
  void fill_ones(T* to) const { std::fill(to + offsets.back(), to + size, T(1)); }
};

}  // namespace rotfast
