// What every operator needs of the stable tensor interface.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <optional>
#include <vector>

namespace rotfast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <class T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Blocks above 32 MB come fresh from the system at every allocation (glibc's limit for keeping them). Ask for
// huge pages there, so that writing them costs one page fault per 2 MB instead of one per 4 KB.
inline void advise_huge_pages(const Tensor& tensor) {
#if defined(__linux__)
  constexpr uintptr_t huge = uintptr_t(1) << 21, always_fresh = uintptr_t(1) << 25;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  const uintptr_t first = (begin + huge - 1) & ~(huge - 1);
  const uintptr_t last = (begin + tensor.numel() * tensor.element_size()) & ~(huge - 1);
  if (tensor.is_cpu() && last > first + always_fresh)
    madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

inline Tensor new_result(
    const Tensor& like, const std::vector<int64_t>& sizes, std::optional<ScalarType> type = std::nullopt) {
  Tensor result = torch::stable::new_empty(like, sizes, type);
  advise_huge_pages(result);
  return result;
}

// Whether images (N, C, H, W) have their channels last in memory, as torch says it, and not also first.
inline bool is_channels_last(const Tensor& x) {
  if (x.is_contiguous()) return false;
  int64_t step = 1;
  for (const int64_t dim : {1, 3, 2, 0}) {
    if (x.size(dim) != 1 && x.stride(dim) != step) return false;
    step *= x.size(dim);
  }
  return true;
}

// A result of images (*leading, C, H, W), with the channels last in memory if so wanted.
inline Tensor new_images(
    const Tensor& like,
    std::vector<int64_t> leading,
    int64_t C,
    int64_t H,
    int64_t W,
    bool channels_last,
    std::optional<ScalarType> type = std::nullopt) {
  const std::vector<int64_t> image =
      channels_last ? std::vector<int64_t>{H, W, C} : std::vector<int64_t>{C, H, W};
  leading.insert(leading.end(), image.begin(), image.end());
  const Tensor result = new_result(like, leading, type);
  if (!channels_last) return result;
  return torch::stable::transpose(torch::stable::transpose(result, -3, -1), -2, -1);
}

inline void check_like(const char* name, const Tensor& tensor, const Tensor& first) {
  STD_TORCH_CHECK(
      tensor.scalar_type() == first.scalar_type(), name, ": dtype differs from the first argument's");
  STD_TORCH_CHECK(tensor.is_cpu() == first.is_cpu(), name, ": device differs from the first argument's");
}

// Number of tasks of a tensor whose shape without tasks has `dim` dimensions; 0 when it has no task
// dimension.
inline int64_t task_count(const Tensor& tensor, int64_t dim) {
  return tensor.dim() > dim ? tensor.size(0) : 0;
}

// The common task count of several arguments (0: none has a task dimension).
inline int64_t common_tasks(std::initializer_list<int64_t> counts) {
  int64_t tasks = -1;
  for (int64_t count : counts) {
    if (count == 0) continue;
    STD_TORCH_CHECK(tasks == -1 || tasks == count, "task dimensions differ: ", tasks, " and ", count);
    tasks = count;
  }
  return tasks == -1 ? 0 : tasks;
}

}  // namespace rotfast

// Calls body<scalar>() for the floating types that kernels compute in.
#define ROTFAST_DISPATCH(type, name, ...) \
  switch (type) { \
    case torch::headeronly::ScalarType::Float: { \
      using scalar_t = float; \
      __VA_ARGS__; \
      break; \
    } \
    case torch::headeronly::ScalarType::Double: { \
      using scalar_t = double; \
      __VA_ARGS__; \
      break; \
    } \
    default: \
      STD_TORCH_CHECK(false, name, ": dtype must be float32 or float64"); \
  }
