#include "conv_relu_linear/patches.h"

namespace rotfast {
namespace {

// A row of outputs' worth of inputs; outside [first, last) lies padding.
template <class T>
ROTFAST_INLINE void copy_row(const ConvShape& s, const T* from, int64_t first, int64_t last, T* to) {
  using V = Vector<T>;
  if (first == 0 && last == s.OW && s.sw == 1 && last >= V::size) {
    for (int64_t x = 0; x < last - V::size; x += V::size) V::store(to + x, V::load(from + x));
    V::store(to + last - V::size, V::load(from + last - V::size));
    return;
  }
  for (int64_t x = 0; x < first; ++x) to[x] = T(0);
  for (int64_t x = first; x < last; ++x) to[x] = from[x * s.sw];
  for (int64_t x = last; x < s.OW; ++x) to[x] = T(0);
}

template <class T>
ROTFAST_CLONES void fill_patches(const Patches<T>& patches, const T* image, T* to) {
  const ConvShape& s = patches.conv;
  const bool shares_rows = patches.shares_rows();
  for (int64_t shift = 0; shift < patches.shifts(); ++shift) {
    const int64_t kx = shift % s.kw, plane = shift / s.kw;
    const int64_t ky = shares_rows ? 0 : plane % s.kh, i = shares_rows ? plane : plane / s.kh;
    const int64_t x_offset = kx * s.dw - s.pw;
    int64_t first, last;
    inside(s.W, s.sw, x_offset, int64_t(0), s.OW, first, last);
    for (int64_t row = 0; row < patches.rows; ++row, to += s.OW) {
      const int64_t iy = (patches.begin / s.OW + row) * s.sh + ky * s.dh - s.ph;
      const bool padding = iy < 0 || iy >= s.H;
      const T* from = image + (i * s.H + iy) * s.W + x_offset;
      copy_row(s, from, padding ? s.OW : first, padding ? s.OW : last, to);
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
