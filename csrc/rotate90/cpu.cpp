#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "common/isa.h"
#include "common/stream.h"
#include "rotate90/arguments.h"

namespace rotfast {
namespace {

constexpr int64_t kStripBytes = 8192;  // written at a time: the L1 cache holds them until a line is complete
constexpr int64_t kLine = 64;          // bytes
constexpr int64_t kBlock = 128;        // lines of the image that the L1 cache holds as well

// As many lanes as elements fit into 16 bytes, and a square of lanes. Packs instead of loops: the compiler
// keeps an array in registers only where every index is a constant from the start.
template <class T, class = std::make_index_sequence<16 / sizeof(T)>>
struct Lanes;

template <class T, size_t... I>
struct Lanes<T, std::index_sequence<I...>> {
  static constexpr size_t size = sizeof...(I);
  typedef T type __attribute__((vector_size(16)));
  struct Square {
    type row[size];
  };

  static ROTFAST_INLINE type load(const T* p) {
    type v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static ROTFAST_INLINE void store(T* p, const type& v) { std::memcpy(p, &v, sizeof v); }
  static ROTFAST_INLINE Square load_rows(const T* p, int64_t step) {
    return {{load(p + int64_t(I) * step)...}};
  }
  static ROTFAST_INLINE void store_rows(T* p, int64_t step, const Square& square) {
    (store(p + int64_t(I) * step, square.row[I]), ...);
  }

  static ROTFAST_INLINE type reversed(const type& v) {
    return __builtin_shufflevector(v, v, (size - 1 - I)...);
  }
  // Lanes of a and b by turns, from lane `first` on.
  template <size_t first>
  static ROTFAST_INLINE type zipped(const type& a, const type& b) {
    return __builtin_shufflevector(a, b, (I % 2 * size + first + I / 2)...);
  }
  // Zips the rows' halves log2(size) times.
  template <size_t zips = size>
  static ROTFAST_INLINE Square transposed(const Square& v) {
    if constexpr (zips == 1) {
      return v;
    } else {
      return transposed<zips / 2>({{zipped<I % 2 * size / 2>(v.row[I / 2], v.row[I / 2 + size / 2])...}});
    }
  }
};

// Some rows of one turned channel: out[i, j] for begin <= i < end, j < width, from out[begin, 0] on.
struct Rows {
  int64_t begin, end, width;

  int64_t count() const { return end - begin; }
};

// Where neighbours in a column are neighbours in memory (row_step 1 or -1), tile by tile; the last tile of a
// row or column lies over the one before.
template <class T>
ROTFAST_INLINE void transpose_rows(const T* in, const Walk& walk, const Rows& rows, T* out) {
  using L = Lanes<T>;
  constexpr int64_t size = L::size;
  const bool ascending = walk.row_step == 1;
  for (int64_t block = 0; block < rows.width; block += kBlock) {
    const int64_t block_end = std::min(block + kBlock, rows.width);
    for (int64_t start_row = 0; start_row < rows.count(); start_row += size) {
      const int64_t row = std::min(start_row, rows.count() - size), i = rows.begin + row;
      const T* column = in + (ascending ? i : 1 - size - i);
      T* corner = out + (ascending ? row : row + size - 1) * rows.width;
      for (int64_t start = block; start < block_end; start += size) {
        const int64_t j = std::min(start, rows.width - size);
        const auto square = L::load_rows(column + j * walk.column_step, walk.column_step);
        L::store_rows(corner + j, walk.row_step * rows.width, L::transposed(square));
      }
    }
  }
}

// Where a row is a row of the image backwards (column_step -1).
template <class T>
ROTFAST_INLINE void reverse_rows(const T* in, const Walk& walk, const Rows& rows, T* out) {
  using L = Lanes<T>;
  constexpr int64_t size = L::size;
  for (int64_t i = rows.begin; i < rows.end; ++i, out += rows.width) {
    for (int64_t start = 0; start < rows.width; start += size) {
      const int64_t j = std::min(start, rows.width - size);
      const auto v = L::load(in + i * walk.row_step - j - (size - 1));
      L::store(out + j, L::reversed(v));
    }
  }
}

// Elements of any size and at any steps; `bytes` is `element`, or 0 when that is not known in advance.
template <int64_t bytes>
ROTFAST_INLINE void copy_elements(
    const char* in, const Walk& walk, const Rows& rows, int64_t element, char* out) {
  const int64_t size = bytes == 0 ? element : bytes;
  for (int64_t block = 0; block < rows.width; block += kBlock) {
    const int64_t block_end = std::min(block + kBlock, rows.width);
    for (int64_t row = 0; row < rows.count(); ++row) {
      for (int64_t j = block; j < block_end; ++j) {
        const char* from = in + ((rows.begin + row) * walk.row_step + j * walk.column_step) * size;
        std::memcpy(out + (row * rows.width + j) * size, from, size);
      }
    }
  }
}

template <int64_t bytes>
ROTFAST_INLINE void turn_rows(
    const char* in, const Walk& walk, const Rows& rows, int64_t element, char* out) {
  if (walk.column_step == 1) {
    for (int64_t i = rows.begin; i < rows.end; ++i, out += rows.width * element) {
      std::memcpy(out, in + i * walk.row_step * element, rows.width * element);
    }
    return;
  }
  if constexpr (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8) {
    using T = std::conditional_t<
        bytes <= 2, std::conditional_t<bytes == 1, uint8_t, uint16_t>,
        std::conditional_t<bytes == 4, uint32_t, uint64_t>>;
    constexpr int64_t size = Lanes<T>::size;
    const T* from = reinterpret_cast<const T*>(in);
    T* to = reinterpret_cast<T*>(out);
    if (rows.width >= size) {
      if (walk.column_step == -1) return reverse_rows(from, walk, rows, to);
      const bool columns = walk.row_step == 1 || walk.row_step == -1;
      if (columns && rows.count() >= size) return transpose_rows(from, walk, rows, to);
    }
  }
  copy_elements<bytes>(in, walk, rows, element, out);
}

// Strips of whole rows, so that each is one run of the result; the last one of a channel takes the rest.
struct Strips {
  int64_t rows, count;

  Strips(const Turns& turns, int64_t element)
      : rows(std::max(kStripBytes / (turns.width * element), (kLine + element - 1) / element)),
        count(std::max(turns.height / rows, int64_t(1))) {}

  int64_t most_rows() const { return 2 * rows - 1; }

  Rows strip(int64_t number, const Turns& turns) const {
    return {number * rows, number == count - 1 ? turns.height : (number + 1) * rows, turns.width};
  }
};

// Units of work: strips of a channel, then those of its other copies, so that it is read once.
template <int64_t bytes>
ROTFAST_CLONES void turn_units(
    const Turns& turns,
    const Strips& strips,
    int64_t element,
    bool streamed,
    const char* x,
    char* y,
    int64_t begin,
    int64_t end) {
  const std::unique_ptr<char[]> strip(
      streamed ? new char[strips.most_rows() * turns.width * element] : nullptr);
  int64_t number = begin % strips.count, copy = begin / strips.count % turns.copies;
  const int64_t plane = begin / (strips.count * turns.copies);
  int64_t channel = plane % turns.channels, image = plane / turns.channels;
  for (int64_t unit = begin; unit < end; ++unit) {
    const Walk walk =
        turned(turns.quarters(image, copy), turns.height, turns.width, turns.in_row, turns.in_column);
    Rows rows = strips.strip(number, turns);
    const char* in = x + (turns.in(image, channel) + walk.first) * element;
    char* out = y + (turns.out(image, copy, channel) + rows.begin * rows.width) * element;
    if (walk.row_step == rows.width * walk.column_step) {  // the strip is one long row
      in += rows.begin * walk.row_step * element;
      rows = {0, 1, rows.count() * rows.width};
    }
    if (!streamed) {
      turn_rows<bytes>(in, walk, rows, element, out);
    } else if (walk.column_step == 1 && rows.count() == 1) {
      stream(out, in, rows.width * element);
    } else {
      turn_rows<bytes>(in, walk, rows, element, strip.get());
      stream(out, strip.get(), rows.count() * rows.width * element);
    }
    if (++number < strips.count) continue;
    number = 0;
    if (++copy < turns.copies) continue;
    copy = 0;
    if (++channel < turns.channels) continue;
    channel = 0;
    ++image;
  }
  if (streamed) finish_streams();
}

template <int64_t bytes>
void turn(const Turning& turning, const char* x) {
  const Turns& turns = turning.turns;
  const int64_t element = turning.element;
  char* y = static_cast<char*>(turning.result.mutable_data_ptr());
  const Strips strips(turns, element);
  const int64_t units = turns.images * turns.copies * turns.channels * strips.count;
  const int64_t grain = 1 + 32768 * strips.count / (turns.height * turns.width);
  // Where a channel is one strip, its turns are short runs one after the other, which the caches take faster.
  const bool streamed = strips.count > 1 && worth_streaming(turning.result);
  torch::stable::parallel_for(0, units, grain, [&](int64_t begin, int64_t end) {
    turn_units<bytes>(turns, strips, element, streamed, x, y, begin, end);
  });
}

Tensor turned_images(const Turning& turning, const Tensor& x) {
  if (turning.result.numel() == 0) return turning.result;
  const char* pixels = static_cast<const char*>(x.const_data_ptr());
  switch (turning.element) {
    case 1:
      turn<1>(turning, pixels);
      break;
    case 2:
      turn<2>(turning, pixels);
      break;
    case 4:
      turn<4>(turning, pixels);
      break;
    case 8:
      turn<8>(turning, pixels);
      break;
    case 3:  // three channels of uint8, half types and float32
      turn<3>(turning, pixels);
      break;
    case 6:
      turn<6>(turning, pixels);
      break;
    case 12:
      turn<12>(turning, pixels);
      break;
    default:
      turn<0>(turning, pixels);
  }
  return turning.result;
}

Tensor rotate90(const Tensor& x, const Tensor& k_) {
  const Tensor k = torch::stable::contiguous(k_);
  const Turning turning = prepare_rotate90(x, k);
  if (!is_square(x)) check_half_turns(k);
  return turned_images(turning, x);
}

Tensor rotate90_all(const Tensor& x) { return turned_images(prepare_rotate90_all(x), x); }

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def("rotate90(Tensor x, Tensor k) -> Tensor");
  m.def("rotate90_all(Tensor x) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("rotate90", TORCH_BOX(&rotfast::rotate90));
  m.impl("rotate90_all", TORCH_BOX(&rotfast::rotate90_all));
}
