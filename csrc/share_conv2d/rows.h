// Direct convolution along output rows, for unit column stride: a vector of outputs reads its inputs where
// they lie, so no patches are laid out. The last vector of a row overlaps the one before it.
#pragma once

#include <algorithm>
#include <vector>

#include "common/panel_gemm.h"
#include "share_conv2d/share_conv2d.h"

namespace rotfast {

template <class T>
ROTFAST_INLINE bool fits_rows(const ConvShape& s) {
  return s.sw == 1 && s.OW >= Vector<T>::size;
}

// How one group of one image is walked: its zero padding written out, where each tap reads in it, and the
// vectors of outputs, in whole tiles.
template <class T>
struct RowPlan {
  int64_t height, width;
  std::vector<T> pixels;         // empty without padding: the image itself serves
  std::vector<int64_t> offsets;  // of each tap, from the input of the first one
  std::vector<int64_t> in, out;  // of each vector: the input of its first tap, and its place in the plane

  explicit RowPlan(const ConvShape& s) : height(s.H + 2 * s.ph), width(s.W + 2 * s.pw) {
    if (s.ph != 0 || s.pw != 0) pixels.assign(s.I * height * width, T(0));
    for (int64_t i = 0; i < s.I; ++i) {
      for (int64_t ky = 0; ky < s.kh; ++ky) {
        for (int64_t kx = 0; kx < s.kw; ++kx) {
          offsets.push_back((i * height + ky * s.dh) * width + kx * s.dw);
        }
      }
    }
    for (int64_t y = 0; y < s.OH; ++y) {
      for (int64_t x = 0; x < s.OW; x += Vector<T>::size) {
        const int64_t column = std::min(x, s.OW - Vector<T>::size);
        in.push_back(y * s.sh * width + column);
        out.push_back(y * s.OW + column);
      }
    }
    while (in.size() % kTileVectors != 0) {  // computed twice, to the same values
      in.push_back(in.back());
      out.push_back(out.back());
    }
  }

  ROTFAST_INLINE const T* load(const ConvShape& s, const T* image) {
    if (pixels.empty()) return image;
    for (int64_t row = 0; row < s.I * s.H; ++row) {
      T* to = pixels.data() + (row / s.H * height + s.ph + row % s.H) * width + s.pw;
      std::copy(image + row * s.W, image + (row + 1) * s.W, to);
    }
    return pixels.data();
  }
};

// One group of one image.
template <class T>
ROTFAST_CLONES void convolve_rows(
    const ConvShape& s, RowPlan<T>& plan, const T* image, const T* packed, const T* bias, T* out) {
  using V = Vector<T>;
  const T* in = plan.load(s, image);
  const int64_t plane = s.out_plane(), taps = s.taps(), vectors = plan.in.size();
  const int64_t *offsets = plan.offsets.data(), *from = plan.in.data(), *to = plan.out.data();
  for (int64_t o = 0; o < s.O; o += kTileRows) {
    const int64_t rows = std::min(kTileRows, s.O - o);
    T start[kTileRows * V::size] = {};
    if (bias != nullptr) {
      for (int64_t e = 0; e < rows * V::size; ++e) start[e] = bias[o + e / V::size];
    }
    for (int64_t first = 0; first < vectors; first += kTileVectors) {
      const T *in0 = in + from[first], *in1 = in + from[first + 1], *in2 = in + from[first + 2];
      const int64_t to0 = to[first], to1 = to[first + 1], to2 = to[first + 2];
      const T* factors = packed + o * taps;
      typename V::type sums[kTileRows][kTileVectors];
#pragma GCC unroll 4
      for (int64_t i = 0; i < kTileRows; ++i) {
        sums[i][0] = sums[i][1] = sums[i][2] = V::load(start + i * V::size);
      }
      for (int64_t tap = 0; tap < taps; ++tap, factors += kTileRows) {
        const typename V::type x0 = V::load(in0 + offsets[tap]), x1 = V::load(in1 + offsets[tap]),
                               x2 = V::load(in2 + offsets[tap]);
#pragma GCC unroll 4
        for (int64_t i = 0; i < kTileRows; ++i) {
          sums[i][0] += factors[i] * x0;
          sums[i][1] += factors[i] * x1;
          sums[i][2] += factors[i] * x2;
        }
      }
      T* at = out + o * plane;
#pragma GCC unroll 4
      for (int64_t i = 0; i < kTileRows; ++i, at += plane) {
        if (i >= rows) continue;
        V::store(at + to0, sums[i][0]);
        V::store(at + to1, sums[i][1]);
        V::store(at + to2, sums[i][2]);
      }
    }
  }
}

}  // namespace rotfast
