// What every operator needs of the stable tensor interface.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

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

inline Tensor empty_like_type(const Tensor& like, const std::vector<int64_t>& sizes) {
  return torch::stable::new_empty(like, sizes);
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
