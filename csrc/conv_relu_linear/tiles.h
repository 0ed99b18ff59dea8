// The products of the fused circuit, on activations that stay in cache: block[image, channel, position] of a
// few images, one group of channels and one panel of positions.
#pragma once

#include <cstdint>

#include "common/panel_gemm.h"

namespace rotfast {

constexpr int64_t kGroup = kTileRows;  // channels of a block

// The longest vector.
template <class T>
constexpr int64_t kWidest = 64 / sizeof(T);

struct Block {
  int64_t images, channels, positions;
  int64_t pitch, image_step;  // elements between channels and between images
};

// Of one image: out = relu(kernel patches + bias). With `where` there is no relu, but zero where `where` is
// not above zero.
template <class T>
struct Convolution {
  int64_t taps;
  const T* packed;  // the kernel, by pack_rows
  const T* bias;    // or none
  const T* patches;
  const int64_t* offsets;  // of each tap in patches
  const T* where;
  T* out;
};

template <class T>
void convolve(const Block& block, const Convolution<T>& c);

// sums[row, column] += Σ over depth and positions of x[row, depth, position] y[column, depth, position]
template <class T>
struct Inner {
  const T* x;
  int64_t rows, row_step, x_depth_step;
  const T* y;
  int64_t columns;
  const int64_t* offsets;  // of each column in y
  int64_t y_depth_step;
  int64_t depth, positions;
};

template <class T>
void inner_products(const Inner<T>& inner, T* sums);

// In `runs` runs of positions, pitch (or channel_step) apart:
// back[image] = Σ_o g[image, o] weight[o] where `active` is above zero, else 0;
// grad[o] (+)= Σ_image g[image, o] values[image].
// back, values and active are read and written up to a whole vector.
template <class T>
struct Spread {
  int64_t runs, positions;
  const T* g;  // [image, output]
  const T* weight;
  const T *values, *active;
  T *back, *grad;
  int64_t outputs;
  int64_t output_step, channel_step;  // of weight and grad
  bool accumulate;
};

template <class T>
void spread(const Block& block, const Spread<T>& s);

}  // namespace rotfast
