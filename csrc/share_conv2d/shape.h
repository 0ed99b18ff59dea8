// The geometry of a convolution, read off tensor shapes and checked.
#pragma once

#include <torch/headeronly/util/Exception.h>

#include <vector>

#include "share_conv2d/share_conv2d.h"

namespace rotfast {

using Ints = std::vector<int64_t>;

inline int64_t out_size(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  return (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

inline ConvShape conv_shape(
    const Ints& x,
    const Ints& weight,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    int64_t groups) {
  const size_t xd = x.size(), wd = weight.size();
  STD_TORCH_CHECK(xd >= 4 && wd >= 4, "conv2d: x must be (N,C,H,W) and weight (O,I,kh,kw), or with tasks");
  ConvShape s;
  s.groups = groups;
  s.O = weight[wd - 4] / groups;
  s.I = weight[wd - 3];
  s.H = x[xd - 2];
  s.W = x[xd - 1];
  s.kh = weight[wd - 2];
  s.kw = weight[wd - 1];
  s.sh = stride[0], s.sw = stride[1];
  s.ph = padding[0], s.pw = padding[1];
  s.dh = dilation[0], s.dw = dilation[1];
  s.OH = out_size(s.H, s.kh, s.sh, s.ph, s.dh);
  s.OW = out_size(s.W, s.kw, s.sw, s.pw, s.dw);
  STD_TORCH_CHECK(x[xd - 3] == s.groups * s.I, "conv2d: channels of x and weight differ");
  STD_TORCH_CHECK(s.OH > 0 && s.OW > 0, "conv2d: the kernel is larger than the padded image");
  return s;
}

}  // namespace rotfast
