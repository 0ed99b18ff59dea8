// Products of many small problems of one shape at once: a vector holds the same element of neighbouring
// tasks, so that nothing depends on how small or odd the sizes of one problem are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "common/panel_gemm.h"
#include "common/quad.h"

namespace rotfast {

template <class T>
constexpr int64_t kLanes = Vector<T>::size;

template <class T>
int64_t whole_lanes(int64_t count) {
  return (count + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Memory that is not initialised, aligned to cache lines.
template <class T>
using Scratch = std::unique_ptr<T[], Free>;

template <class T>
Scratch<T> scratch(int64_t count) {
  void* memory = std::aligned_alloc(64, (count * sizeof(T) / 64 + 1) * 64);
  if (memory == nullptr) throw std::bad_alloc();
  return Scratch<T>(static_cast<T*>(memory));
}

// Between a[task, k] of one group of at most kLanes tasks and lanes[k, lane]; lanes without a task are zeros.
template <bool back, class T, class A>
ROTFAST_INLINE void turn_lanes(int64_t tasks, int64_t K, A* a, T* lanes) {
  using Q = Quad<T>;
  constexpr int64_t S = kLanes<T>;
  for (int64_t t = 0; t < S; t += 4) {
    int64_t k = 0;
    for (; t + 4 <= tasks && k + 4 <= K; k += 4) {
      A* at = a + t * K + k;
      T* to = lanes + k * S + t;
      const int64_t from_step = back ? S : K, to_step = back ? K : S;
      const T* from = back ? to : at;
      typename Q::type q0 = Q::load(from), q1 = Q::load(from + from_step), q2 = Q::load(from + 2 * from_step),
                       q3 = Q::load(from + 3 * from_step);
      Q::transpose(q0, q1, q2, q3);
      T* out = to;
      if constexpr (back) out = at;
      Q::store(out, q0);
      Q::store(out + to_step, q1);
      Q::store(out + 2 * to_step, q2);
      Q::store(out + 3 * to_step, q3);
    }
    for (; k < K; ++k) {
      for (int64_t lane = t; lane < t + 4; ++lane) {
        if constexpr (back) {
          if (lane < tasks) a[lane * K + k] = lanes[k * S + lane];
        } else {
          lanes[k * S + lane] = lane < tasks ? a[lane * K + k] : T(0);
        }
      }
    }
  }
}

// A matrix whose elements are vectors, one lane for each task; steps are in scalars.
template <class T>
struct LaneMatrix {
  T* at;
  int64_t row, column;
};

// out[r, c] = sum_d a[r, d] b[c, d], lane by lane.
template <int64_t R, int64_t C, class T>
ROTFAST_INLINE void lane_tile(
    int64_t depth, const LaneMatrix<const T>& a, const LaneMatrix<const T>& b, const LaneMatrix<T>& out) {
  using V = Vector<T>;
  typename V::type sums[R][C] = {};
  for (int64_t d = 0; d < depth; ++d) {
    typename V::type column[C];
    for (int64_t c = 0; c < C; ++c) column[c] = V::load(b.at + c * b.row + d * b.column);
    for (int64_t r = 0; r < R; ++r) {
      const typename V::type row = V::load(a.at + r * a.row + d * a.column);
      for (int64_t c = 0; c < C; ++c) sums[r][c] += row * column[c];
    }
  }
  for (int64_t r = 0; r < R; ++r) {
    for (int64_t c = 0; c < C; ++c) V::store(out.at + r * out.row + c * out.column, sums[r][c]);
  }
}

template <int64_t R, class T>
ROTFAST_INLINE void lane_tile_columns(
    int64_t columns,
    int64_t depth,
    const LaneMatrix<const T>& a,
    const LaneMatrix<const T>& b,
    const LaneMatrix<T>& out) {
  if (columns == 1) return lane_tile<R, 1>(depth, a, b, out);
  if (columns == 2) return lane_tile<R, 2>(depth, a, b, out);
  lane_tile<R, 3>(depth, a, b, out);
}

template <class T>
ROTFAST_INLINE void lane_product(
    int64_t rows,
    int64_t columns,
    int64_t depth,
    const LaneMatrix<const T>& a,
    const LaneMatrix<const T>& b,
    const LaneMatrix<T>& out) {
  for (int64_t r = 0; r < rows; r += 4) {
    const LaneMatrix<const T> a_tile{a.at + r * a.row, a.row, a.column};
    for (int64_t c = 0; c < columns; c += 3) {
      const LaneMatrix<const T> b_tile{b.at + c * b.row, b.row, b.column};
      const LaneMatrix<T> tile{out.at + r * out.row + c * out.column, out.row, out.column};
      switch (rows - r) {
        case 1:
          lane_tile_columns<1>(columns - c, depth, a_tile, b_tile, tile);
          break;
        case 2:
          lane_tile_columns<2>(columns - c, depth, a_tile, b_tile, tile);
          break;
        case 3:
          lane_tile_columns<3>(columns - c, depth, a_tile, b_tile, tile);
          break;
        default:
          lane_tile_columns<4>(columns - c, depth, a_tile, b_tile, tile);
      }
    }
  }
}

// out[r, vector] (+)= sum_d factors[r, d] b[d, vector] for C neighbouring vectors of b.
template <bool accumulate, int64_t R, int64_t C, class T>
ROTFAST_INLINE void scaled_tile(
    int64_t depth, const LaneMatrix<const T>& factors, const T* b, int64_t b_step, const LaneMatrix<T>& out) {
  using V = Vector<T>;
  typename V::type sums[R][C] = {};
  if constexpr (accumulate) {
    for (int64_t r = 0; r < R; ++r) {
      for (int64_t c = 0; c < C; ++c) sums[r][c] = V::load(out.at + r * out.row + c * out.column);
    }
  }
  for (int64_t d = 0; d < depth; ++d) {
    typename V::type vectors[C];
    for (int64_t c = 0; c < C; ++c) vectors[c] = V::load(b + d * b_step + c * V::size);
    for (int64_t r = 0; r < R; ++r) {
      const T factor = factors.at[r * factors.row + d * factors.column];
      for (int64_t c = 0; c < C; ++c) sums[r][c] += factor * vectors[c];
    }
  }
  for (int64_t r = 0; r < R; ++r) {
    for (int64_t c = 0; c < C; ++c) V::store(out.at + r * out.row + c * out.column, sums[r][c]);
  }
}

template <bool accumulate, int64_t R, int64_t C, class T>
ROTFAST_INLINE void scaled_rows(
    int64_t rows,
    int64_t depth,
    const LaneMatrix<const T>& factors,
    const T* b,
    int64_t b_step,
    const LaneMatrix<T>& out) {
  for (int64_t r = 0; r < rows;) {
    const LaneMatrix<const T> scale{factors.at + r * factors.row, factors.row, factors.column};
    const LaneMatrix<T> tile{out.at + r * out.row, out.row, out.column};
    if (rows - r >= R) {
      scaled_tile<accumulate, R, C>(depth, scale, b, b_step, tile);
      r += R;
    } else if (R > 3 && rows - r >= 3) {
      scaled_tile<accumulate, 3, C>(depth, scale, b, b_step, tile);
      r += 3;
    } else {
      scaled_tile<accumulate, 1, C>(depth, scale, b, b_step, tile);
      ++r;
    }
  }
}

// The same for any number of vectors.
template <bool accumulate, class T>
ROTFAST_INLINE void scaled_product(
    int64_t rows,
    int64_t depth,
    int64_t vectors,
    const LaneMatrix<const T>& factors,
    const T* b,
    int64_t b_step,
    const LaneMatrix<T>& out) {
  for (int64_t c = 0; c < vectors;) {
    const LaneMatrix<T> part{out.at + c * out.column, out.row, out.column};
    const T* at = b + c * kLanes<T>;
    if (vectors - c >= 4) {
      scaled_rows<accumulate, 3, 4>(rows, depth, factors, at, b_step, part);
      c += 4;
    } else if (vectors - c >= 2) {
      scaled_rows<accumulate, 6, 2>(rows, depth, factors, at, b_step, part);
      c += 2;
    } else {
      scaled_rows<accumulate, 8, 1>(rows, depth, factors, at, b_step, part);
      ++c;
    }
  }
}

// Rows of whole vectors, the columns past `columns` left out, one after the other; `to` ends with the last
// row.
template <class T>
ROTFAST_INLINE void close_rows(int64_t rows, int64_t columns, const T* from, int64_t from_step, T* to) {
  using V = Vector<T>;
  T* const end = to + rows * columns;
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = from + r * from_step;
    T* at = to + r * columns;
    for (int64_t c = 0; c < columns; c += V::size) {
      // What spills over is written again with the next rows.
      if (at + c + V::size <= end) {
        V::store(at + c, V::load(row + c));
      } else {
        std::copy(row + c, row + columns, at + c);
      }
    }
  }
}

constexpr int64_t kFewColumns = 4;

// to[r, l] = sum_t a[r, t] columns[l, t] over whole vectors, for few columns.
template <int64_t L, class T>
ROTFAST_INLINE void close_inner_products(int64_t rows, int64_t width, const T* a, const T* columns, T* to) {
  using V = Vector<T>;
  using Q = Quad<T>;
  static_assert(L <= kFewColumns);
  T* const end = to + rows * L;
  for (int64_t r = 0; r < rows; ++r, to += L) {
    typename V::type sums[4] = {};
    for (int64_t j = 0; j < width; j += V::size) {
      const typename V::type row = V::load(a + r * width + j);
      for (int64_t l = 0; l < L; ++l) sums[l] += row * V::load(columns + l * width + j);
    }
    typename Q::type quads[4];
    for (int64_t l = 0; l < 4; ++l) {
      if constexpr (V::size == 8) {
        quads[l] = __builtin_shufflevector(sums[l], sums[l], 0, 1, 2, 3) +
                   __builtin_shufflevector(sums[l], sums[l], 4, 5, 6, 7);
      } else {
        quads[l] = sums[l];
      }
    }
    Q::transpose(quads[0], quads[1], quads[2], quads[3]);
    const typename Q::type total = (quads[0] + quads[1]) + (quads[2] + quads[3]);
    // What spills over is written again with the next rows.
    if (to + 4 <= end) {
      Q::store(to, total);
    } else {
      for (int64_t l = 0; l < L; ++l) to[l] = total[l];
    }
  }
}

}  // namespace rotfast
