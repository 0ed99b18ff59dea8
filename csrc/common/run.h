// Neighbouring elements that a thread loads or stores together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace rotfast {

template <class S, int count>
struct alignas(std::min<size_t>(count * sizeof(S), 16)) Run {
  S at[count];
};

// Whether runs lie aligned: from the first element on, at multiples of the steps, which are in elements.
template <class S, int count>
bool has_runs(const S* first, std::initializer_list<int64_t> steps) {
  return reinterpret_cast<uintptr_t>(first) % alignof(Run<S, count>) == 0 &&
         std::all_of(steps.begin(), steps.end(), [](int64_t step) { return step % count == 0; });
}

}  // namespace rotfast
