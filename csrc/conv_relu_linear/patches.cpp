#include "conv_relu_linear/patches.h"

namespace rotfast {
namespace {

// A row of `count` outputs' worth of inputs; outside [first, last) lies padding.
template <class T>
ROTFAST_INLINE void copy_row(
    const T* from, int64_t stride, int64_t first, int64_t last, int64_t count, T* to) {
  using V = Vector<T>;
  if (first == 0 && last == count && stride == 1 && count >= V::size) {
    for (int64_t x = 0; x < count - V::size; x += V::size) V::store(to + x, V::load(from + x));
    V::store(to + count - V::size, V::load(from + count - V::size));
    return;
  }
  for (int64_t x = 0; x < first; ++x) to[x] = T(0);
  for (int64_t x = first; x < last; ++x) to[x] = from[x * stride];
  for (int64_t x = last; x < count; ++x) to[x] = T(0);
}

template <class T>
ROTFAST_CLONES void fill_patches(const Patches<T>& patches, const T* image, T* to) {
  const ConvShape s =
      patches.conv;  // a copy: the compiler cannot know that `to` does not change the original
  const bool shares_rows = patches.shares_rows();
  const int64_t shifts = patches.shifts(), rows = patches.rows, first_row = patches.begin / s.OW;
  for (int64_t shift = 0; shift < shifts; ++shift) {
    const int64_t kx = shift % s.kw, plane = shift / s.kw;
    const int64_t ky = shares_rows ? 0 : plane % s.kh, i = shares_rows ? plane : plane / s.kh;
    const int64_t x_offset = kx * s.dw - s.pw, y_offset = ky * s.dh - s.ph;
    int64_t first, last;
    inside(s.W, s.sw, x_offset, int64_t(0), s.OW, first, last);
    const T* from = image + i * s.H * s.W + x_offset;
    for (int64_t row = 0; row < rows; ++row, to += s.OW) {
      const int64_t y = (first_row + row) * s.sh + y_offset;
      const bool padding = y < 0 || y >= s.H;
      copy_row(from + y * s.W, s.sw, padding ? s.OW : first, padding ? s.OW : last, s.OW, to);
    }
  }
}

}  // namespace

template <class T>
void Patches<T>::fill(const T* image, T* to) const {
  fill_patches(*this, image, to);
}

template struct Patches<float>;
template struct Patches<double>;

}  // namespace rotfast
