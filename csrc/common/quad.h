// Four numbers at a time, written with GNU vector extensions.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/isa.h"

namespace rotfast {

template <class T>
struct Quad {
  typedef T type __attribute__((vector_size(4 * sizeof(T))));

  static ROTFAST_INLINE type load(const T* p) {
    type v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }

  static ROTFAST_INLINE void store(T* p, const type& v) { std::memcpy(p, &v, sizeof v); }

  static ROTFAST_INLINE void add(T* p, const type& v) { store(p, load(p) + v); }

  static ROTFAST_INLINE void transpose(type& a, type& b, type& c, type& d) {
    const type ab = __builtin_shufflevector(a, b, 0, 4, 1, 5),
               ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const type cd = __builtin_shufflevector(c, d, 0, 4, 1, 5),
               cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    a = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    b = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    c = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5);
    d = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
  }
};

}  // namespace rotfast
