// Quarter turns counter-clockwise as index permutations: which pixel of an image a pixel of its turned copy
// is.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace rotfast {

// A walk over an image in the order of a turned copy's rows and columns, in elements of the image's memory.
struct Walk {
  int64_t first, row_step, column_step;
};

// out[i, j] = in[first + i * row_step + j * column_step], for 0 to 3 quarter turns. Odd ones need
// height == width.
ROTFAST_HOST_DEVICE Walk
turned(int64_t quarters, int64_t height, int64_t width, int64_t row_step, int64_t column_step) {
  const int64_t last_row = (height - 1) * row_step, last_column = (width - 1) * column_step;
  switch (quarters) {
    case 0:
      return {0, row_step, column_step};
    case 1:
      return {last_column, -column_step, row_step};
    case 2:
      return {last_row + last_column, -row_step, -column_step};
    default:
      return {last_row, column_step, -row_step};
  }
}

// Every image turned `copies` times: by table[image * copies + copy], or without a table by the copy's
// number. An element is a pixel of one channel, or of all channels where these are neighbours in memory.
// Of images that are not square an odd number counts as the even one below it.
struct Turns {
  int64_t images, copies, channels, height, width;
  int64_t in_image, in_channel, in_row, in_column;  // steps in elements
  int64_t image_stride, copy_stride;                // in images of the result, which is dense
  int64_t counted;  // bits of the number of turns: 3, or 2 where there are only half turns
  const int64_t* table;

  ROTFAST_HOST_DEVICE int64_t quarters(int64_t image, int64_t copy) const {
    return (table == nullptr ? copy : table[image * copies + copy]) & counted;
  }
  ROTFAST_HOST_DEVICE int64_t in(int64_t image, int64_t channel) const {
    return image * in_image + channel * in_channel;
  }
  ROTFAST_HOST_DEVICE int64_t out(int64_t image, int64_t copy, int64_t channel) const {
    return ((image * image_stride + copy * copy_stride) * channels + channel) * height * width;
  }
};

}  // namespace rotfast
