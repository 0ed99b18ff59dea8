// Stores that go past the caches: half the memory traffic for results too large to stay there.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/isa.h"
#include "common/tensor.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#if defined(__linux__)
#include <unistd.h>
#endif

namespace rotfast {

// Copies a run. Only whole cache lines are streamed: half a line would cost a read of the other half.
ROTFAST_INLINE void stream(char* to, const char* from, int64_t bytes) {
#if defined(__SSE2__)
  constexpr int64_t line = 64;
  const int64_t head = -reinterpret_cast<intptr_t>(to) & (line - 1);
  if (bytes >= head + line) {
    std::memcpy(to, from, head);
    int64_t done = head;
    for (; done + line <= bytes; done += line) {
      for (int64_t part = done; part < done + line; part += 16) {
        _mm_stream_si128(
            reinterpret_cast<__m128i*>(to + part),
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + part)));
      }
    }
    to += done;
    from += done;
    bytes -= done;
  }
#endif
  std::memcpy(to, from, bytes);
}

// After the last stream() of a thread: others see what it stored.
ROTFAST_INLINE void finish_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Whether a result should be streamed. Memory that the system has yet to map is better written through the
// caches, where the zeroes of a new page are.
inline bool worth_streaming(const Tensor& result) {
#if defined(__SSE2__) && defined(__linux__)
  constexpr int64_t large = int64_t(8) << 20;
  const int64_t bytes = result.numel() * static_cast<int64_t>(result.element_size());
  if (bytes <= large) return false;
  const uintptr_t middle = reinterpret_cast<uintptr_t>(result.const_data_ptr()) + bytes / 2;
  const uintptr_t page = middle & -static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  unsigned char mapped = 0;
  return mincore(reinterpret_cast<void*>(page), 1, &mapped) == 0 && (mapped & 1) != 0;
#else
  return false;
#endif
}

}  // namespace rotfast
