#include "conv_relu_linear/tiles.h"

#include <algorithm>

namespace rotfast {
namespace {

// Fewer elements than a vector, in pieces of halved size; zero behind them.
template <class V, class T>
ROTFAST_INLINE typename V::type load_some(const T* p, int64_t count) {
  T values[V::size] = {};
  int64_t done = 0;
#pragma GCC unroll 4
  for (int64_t piece = V::size / 2; piece > 0; piece /= 2) {
    if ((count & piece) == 0) continue;
    std::memcpy(values + done, p + done, piece * sizeof(T));
    done += piece;
  }
  return V::load(values);
}

template <class V, class T>
ROTFAST_INLINE void store_some(T* p, const typename V::type& v, int64_t count) {
  T values[V::size];
  V::store(values, v);
  int64_t done = 0;
#pragma GCC unroll 4
  for (int64_t piece = V::size / 2; piece > 0; piece /= 2) {
    if ((count & piece) == 0) continue;
    std::memcpy(p + done, values + done, piece * sizeof(T));
    done += piece;
  }
}

// Zero where `active` is at most zero; NaN counts as active, as in torch.relu.
template <class V>
ROTFAST_INLINE typename V::type where_active(const typename V::type& active, const typename V::type& v) {
  const typename V::type zero = {};
  return active <= zero ? zero : v;
}

template <int64_t bytes, int64_t vectors, class T>
ROTFAST_INLINE void convolve_tile(const Block& block, const Convolution<T>& c, const T* start, int64_t j) {
  using V = Vector<T, bytes>;
  typename V::type sums[kGroup][vectors];
#pragma GCC unroll 4
  for (int64_t i = 0; i < kGroup; ++i) {
#pragma GCC unroll 3
    for (int64_t v = 0; v < vectors; ++v) sums[i][v] = V::load(start + i * V::size);
  }
  const T *factors = c.packed, *patches = c.patches + j;
  for (int64_t tap = 0; tap < c.taps; ++tap, factors += kGroup) {
    const T* in = patches + c.offsets[tap];
    typename V::type x[vectors];
#pragma GCC unroll 3
    for (int64_t v = 0; v < vectors; ++v) x[v] = V::load(in + v * V::size);
#pragma GCC unroll 4
    for (int64_t i = 0; i < kGroup; ++i) {
#pragma GCC unroll 3
      for (int64_t v = 0; v < vectors; ++v) sums[i][v] += factors[i] * x[v];
    }
  }
  int64_t at = j;
#pragma GCC unroll 4
  for (int64_t i = 0; i < kGroup; ++i, at += block.pitch) {
    if (i >= block.channels) continue;
#pragma GCC unroll 3
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t place = at + v * V::size;
      const typename V::type active = c.where == nullptr ? sums[i][v] : V::load(c.where + place);
      V::store(c.out + place, where_active<V>(active, sums[i][v]));
    }
  }
}

// The last tile overlaps the one before it. Where there is less than one vector, what is stored too much lies
// in the next channel, whose turn comes later.
template <int64_t bytes, class T>
ROTFAST_INLINE void convolve_with(const Block& block, const Convolution<T>& c) {
  using V = Vector<T, bytes>;
  constexpr int64_t wide = 3 * V::size;
  T start[kGroup * V::size] = {};
  if (c.bias != nullptr) {
    for (int64_t e = 0; e < block.channels * V::size; ++e) start[e] = c.bias[e / V::size];
  }
  const int64_t positions = block.positions;
  int64_t j = 0;
  for (; j + wide <= positions; j += wide) convolve_tile<bytes, 3>(block, c, start, j);
  if (j > 0 && positions - j > V::size) {
    convolve_tile<bytes, 3>(block, c, start, positions - wide);
    return;
  }
  for (; j < positions; j += V::size) {
    convolve_tile<bytes, 1>(block, c, start, std::max(std::min(j, positions - V::size), int64_t(0)));
  }
}

// The vector behind the whole ones, zero where those reach: the last of all elements if they are as many.
template <class V, class T>
ROTFAST_INLINE typename V::type load_last(const T* p, int64_t count, const T* ramp) {
  if (count < V::size) return load_some<V>(p, count);
  const typename V::type zero = {};
  return V::load(ramp) < T(V::size - count % V::size) ? zero : V::load(p + count - V::size);
}

template <class V, int64_t R, int64_t C, class T>
ROTFAST_INLINE void inner_tile(const Inner<T>& inner, int64_t row, int64_t column, T* sums) {
  typename V::type tile[R][C] = {};
  const int64_t whole = inner.positions / V::size * V::size;
  T ramp[V::size];
  for (int64_t i = 0; i < V::size; ++i) ramp[i] = T(i);
  for (int64_t d = 0; d < inner.depth; ++d) {
    const T* x = inner.x + row * inner.row_step + d * inner.x_depth_step;
    const T* y[C];
    for (int64_t k = 0; k < C; ++k) y[k] = inner.y + inner.offsets[column + k] + d * inner.y_depth_step;
    for (int64_t j = 0; j < whole; j += V::size) {
      typename V::type rows[R];
#pragma GCC unroll 4
      for (int64_t i = 0; i < R; ++i) rows[i] = V::load(x + i * inner.row_step + j);
#pragma GCC unroll 5
      for (int64_t k = 0; k < C; ++k) {
        const typename V::type other = V::load(y[k] + j);
#pragma GCC unroll 4
        for (int64_t i = 0; i < R; ++i) tile[i][k] += rows[i] * other;
      }
    }
    if (whole == inner.positions) continue;
    typename V::type rows[R];
    for (int64_t i = 0; i < R; ++i) rows[i] = load_last<V>(x + i * inner.row_step, inner.positions, ramp);
    for (int64_t k = 0; k < C; ++k) {
      const typename V::type other = load_last<V>(y[k], inner.positions, ramp);
      for (int64_t i = 0; i < R; ++i) tile[i][k] += rows[i] * other;
    }
  }
  for (int64_t i = 0; i < R; ++i) {
    for (int64_t k = 0; k < C; ++k) sums[(row + i) * inner.columns + column + k] += V::sum(tile[i][k]);
  }
}

// A tile's accumulators, and one row and one column, fill no more than the 32 registers of AVX-512, or 16.
template <class V, int64_t R, int64_t C, class T>
ROTFAST_INLINE void inner_columns(const Inner<T>& inner, int64_t column, T* sums) {
  int64_t row = 0;
  for (; row + R <= inner.rows; row += R) inner_tile<V, R, C>(inner, row, column, sums);
  for (; row + 2 <= inner.rows; row += 2) inner_tile<V, 2, C>(inner, row, column, sums);
  for (; row < inner.rows; ++row) inner_tile<V, 1, C>(inner, row, column, sums);
}

template <int64_t bytes, class T>
ROTFAST_INLINE void inner_products_with(const Inner<T>& inner, T* sums) {
  using V = Vector<T, bytes>;
  constexpr int64_t R = bytes > 32 ? 4 : 2;
  int64_t column = 0;
  for (; column + 5 <= inner.columns; column += 5) inner_columns<V, R, 5>(inner, column, sums);
  for (; column + 2 <= inner.columns; column += 2) inner_columns<V, R, 2>(inner, column, sums);
  for (; column < inner.columns; ++column) inner_columns<V, R, 1>(inner, column, sums);
}

template <class V, int64_t C, class T>
ROTFAST_INLINE void spread_vector(
    const Block& block, const Spread<T>& s, int64_t output, int64_t run, int64_t j) {
  const int64_t rest = s.positions - j, step = s.output_step;
  const T* weight = s.weight + output * step + run * s.channel_step + j;
  T* grad = s.grad + output * step + run * s.channel_step + j;
  constexpr int64_t ahead = 8 * V::size;  // as many streams as this are too many for the processor to foresee
  typename V::type w[C], sums[C] = {};
#pragma GCC unroll 10
  for (int64_t o = 0; o < C; ++o) {
    __builtin_prefetch(weight + o * step + ahead);
    __builtin_prefetch(grad + o * step + ahead, 1);
    w[o] = rest >= V::size ? V::load(weight + o * step) : load_some<V>(weight + o * step, rest);
    if (s.accumulate)
      sums[o] = rest >= V::size ? V::load(grad + o * step) : load_some<V>(grad + o * step, rest);
  }
  const bool first = output == 0, last = output + C == s.outputs;
  const int64_t images = block.images, outputs = s.outputs, image_step = block.image_step;
  const int64_t at = run * block.pitch + j;
  const T *values = s.values + at, *active = s.active + at, *g = s.g + output;
  T* backs = s.back + at;
  for (int64_t n = 0; n < images; ++n) {
    const typename V::type value = V::load(values);
    typename V::type back = {};
    if (!first) back = V::load(backs);
#pragma GCC unroll 10
    for (int64_t o = 0; o < C; ++o) {
      back += g[o] * w[o];
      sums[o] += g[o] * value;
    }
    V::store(backs, last ? where_active<V>(V::load(active), back) : back);
    values += image_step, active += image_step, backs += image_step, g += outputs;
  }
#pragma GCC unroll 10
  for (int64_t o = 0; o < C; ++o) {
    if (rest >= V::size) {
      V::store(grad + o * step, sums[o]);
    } else {
      store_some<V>(grad + o * step, sums[o], rest);
    }
  }
}

template <class V, int64_t C, class T>
ROTFAST_INLINE void spread_outputs(const Block& block, const Spread<T>& s, int64_t output) {
  for (int64_t run = 0; run < s.runs; ++run) {
    for (int64_t j = 0; j < s.positions; j += V::size) spread_vector<V, C>(block, s, output, run, j);
  }
}

template <int64_t bytes, class T>
ROTFAST_INLINE void spread_with(const Block& block, const Spread<T>& s) {
  using V = Vector<T, bytes>;
  constexpr int64_t most = bytes > 32 ? 10 : 5;
  int64_t output = 0;
  for (; output + most <= s.outputs; output += most) spread_outputs<V, most>(block, s, output);
  for (; output + 4 <= s.outputs; output += 4) spread_outputs<V, 4>(block, s, output);
  for (; output < s.outputs; ++output) spread_outputs<V, 1>(block, s, output);
}

template <class T>
ROTFAST_NARROW void convolve_narrow(const Block& block, const Convolution<T>& c) {
  convolve_with<32>(block, c);
}

template <class T>
ROTFAST_WIDE void convolve_wide(const Block& block, const Convolution<T>& c) {
  convolve_with<64>(block, c);
}

template <class T>
ROTFAST_NARROW void inner_products_narrow(const Inner<T>& inner, T* sums) {
  inner_products_with<32>(inner, sums);
}

template <class T>
ROTFAST_WIDE void inner_products_wide(const Inner<T>& inner, T* sums) {
  inner_products_with<64>(inner, sums);
}

template <class T>
ROTFAST_NARROW void spread_narrow(const Block& block, const Spread<T>& s) {
  spread_with<32>(block, s);
}

template <class T>
ROTFAST_WIDE void spread_wide(const Block& block, const Spread<T>& s) {
  spread_with<64>(block, s);
}

}  // namespace

template <class T>
void convolve(const Block& block, const Convolution<T>& c) {
  has_wide_vectors() ? convolve_wide(block, c) : convolve_narrow(block, c);
}

template <class T>
void inner_products(const Inner<T>& inner, T* sums) {
  has_wide_vectors() ? inner_products_wide(inner, sums) : inner_products_narrow(inner, sums);
}

template <class T>
void spread(const Block& block, const Spread<T>& s) {
  has_wide_vectors() ? spread_wide(block, s) : spread_narrow(block, s);
}

template void convolve<float>(const Block&, const Convolution<float>&);
template void convolve<double>(const Block&, const Convolution<double>&);
template void inner_products<float>(const Inner<float>&, float*);
template void inner_products<double>(const Inner<double>&, double*);
template void spread<float>(const Block&, const Spread<float>&);
template void spread<double>(const Block&, const Spread<double>&);

}  // namespace rotfast
