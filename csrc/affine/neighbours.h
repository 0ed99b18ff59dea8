// Pairs of horizontal neighbours in a frame, for as many positions as a vector has elements.
#pragma once

#include "common/panel_gemm.h"

namespace rotfast {

template <class T>
struct Neighbours;

template <>
struct Neighbours<float> {
  Vector<float>::type left, right;

  ROTFAST_INLINE Neighbours(const float* row, const int32_t* cell) {
    // A pair goes as one number of 64 bits; halves are arranged so that all shuffles stay inside them.
    typedef double Pairs __attribute__((vector_size(32)));
    const auto pair = [&](int k) __attribute__((always_inline)) {
      double both;
      std::memcpy(&both, row + cell[k], sizeof both);
      return both;
    };
    const auto a = (Vector<float>::type)Pairs{pair(0), pair(1), pair(4), pair(5)};
    const auto b = (Vector<float>::type)Pairs{pair(2), pair(3), pair(6), pair(7)};
    left = __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14);
    right = __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
  }
};

template <>
struct Neighbours<double> {
  Vector<double>::type left, right;

  ROTFAST_INLINE Neighbours(const double* row, const int32_t* cell) {
    const double *p = row + cell[0], *q = row + cell[1], *r = row + cell[2], *s = row + cell[3];
    left = Vector<double>::type{p[0], q[0], r[0], s[0]};
    right = Vector<double>::type{p[1], q[1], r[1], s[1]};
  }
};

}  // namespace rotfast
