#include "share_linear/share_linear.h"

#include "common/tensor.h"

namespace rotfast {
namespace {

constexpr int64_t kRowBlock = 32;  // rows of x in one unit of work of the forward product
constexpr int64_t kColumnBlock =
    1536;  // columns in one unit of work of the other two; a multiple of every tile

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t grain(int64_t work) { return 1 + 100000 / (work + 1); }

template <class T>
ROTFAST_CLONES void forward_units(
    const LinearShape& s,
    const T* x,
    int64_t x_step,
    const T* W,
    int64_t W_step,
    const T* bias,
    int64_t bias_step,
    T* y,
    int64_t begin,
    int64_t end) {
  const int64_t blocks = divide_up(s.N, kRowBlock);
  std::vector<T> sums;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t t = unit / blocks, n = unit % blocks * kRowBlock;
    linear_rows(
        s, std::min(kRowBlock, s.N - n), x + t * x_step + n * s.I, W + t * W_step,
        bias == nullptr ? nullptr : bias + t * bias_step, sums, y + (t * s.N + n) * s.O);
  }
}

// out[t] = a[t] b[t] for every task, with a packed; when `sum`, the one out is the sum over tasks in task
// order.
template <class T>
ROTFAST_CLONES void product_units(
    const LinearShape& s,
    int64_t rows,
    int64_t depth,
    const T* packed,
    int64_t packed_step,
    const T* b,
    int64_t b_step,
    bool sum,
    T* out,
    int64_t begin,
    int64_t end) {
  const int64_t blocks = divide_up(s.I, kColumnBlock);
  std::vector<T> rest;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % blocks * kColumnBlock, columns = std::min(kColumnBlock, s.I - first);
    if (!sum) {
      const int64_t t = unit / blocks;
      bounded_panel_product(
          rows, depth, columns, packed + t * packed_step, b + t * b_step + first, s.I,
          out + t * rows * s.I + first, s.I, rest);
      continue;
    }
    bounded_panel_product(rows, depth, columns, packed, b + first, s.I, out + first, s.I, rest);
    for (int64_t t = 1; t < s.tasks; ++t) {
      bounded_panel_product<true>(
          rows, depth, columns, packed + t * packed_step, b + t * b_step + first, s.I, out + first, s.I,
          rest);
    }
  }
}

void check_tasks(const char* name, const Tensor& a, const Tensor& b, bool per_task) {
  STD_TORCH_CHECK(a.dim() >= 2 && b.dim() >= 2, name, ": arguments must be matrices, or matrices with tasks");
  STD_TORCH_CHECK(
      !per_task || a.dim() > 2 || b.dim() > 2, name, ": per_task needs an argument with a task dimension");
}

Tensor linear(const Tensor& x_, const Tensor& W_, const std::optional<Tensor>& bias_) {
  check_like("W", W_, x_);
  check_tasks("linear", x_, W_, false);
  STD_TORCH_CHECK(x_.size(-1) == W_.size(-1), "linear: x and W differ in features");
  const Tensor x = torch::stable::contiguous(x_), W = torch::stable::contiguous(W_);
  std::optional<Tensor> bias;
  if (bias_.has_value()) {
    check_like("bias", *bias_, x_);
    bias = torch::stable::contiguous(*bias_);
  }
  const bool batched = x.dim() > 2 || W.dim() > 2 || (bias.has_value() && bias->dim() > 1);
  const int64_t tasks =
      batched
          ? common_tasks(
                {task_count(x, 2), task_count(W, 2), bias.has_value() ? task_count(*bias, 1) : int64_t(0)})
          : 1;
  const LinearShape s{tasks, x.size(-2), x.size(-1), W.size(-2)};
  std::vector<int64_t> sizes{s.N, s.O};
  if (batched) sizes.insert(sizes.begin(), tasks);
  Tensor y = new_result(x, sizes);
  ROTFAST_DISPATCH(x.scalar_type(), "linear", {
    const scalar_t *input = data<scalar_t>(x), *weight = data<scalar_t>(W);
    const scalar_t* bias_data = bias.has_value() ? data<scalar_t>(*bias) : nullptr;
    scalar_t* output = mutable_data<scalar_t>(y);
    const int64_t units = tasks * divide_up(s.N, kRowBlock);
    torch::stable::parallel_for(0, units, grain(kRowBlock * s.I * s.O), [&](int64_t begin, int64_t end) {
      forward_units<scalar_t>(
          s, input, x.dim() > 2 ? s.N * s.I : 0, weight, W.dim() > 2 ? s.O * s.I : 0, bias_data,
          bias.has_value() && bias->dim() > 1 ? s.O : 0, output, begin, end);
    });
  });
  return y;
}

// out[rows, I] = a b with a (rows, depth) or, transposed, (depth, rows); b (depth, I); tasks as the arguments
// have them.
Tensor task_product(const char* name, const Tensor& a_, const Tensor& b_, bool transposed, bool per_task) {
  check_like("second argument", b_, a_);
  check_tasks(name, a_, b_, per_task);
  const Tensor a = torch::stable::contiguous(a_), b = torch::stable::contiguous(b_);
  const int64_t depth = b.size(-2), rows = transposed ? a.size(-1) : a.size(-2);
  STD_TORCH_CHECK(
      (transposed ? a.size(-2) : a.size(-1)) == depth, name, ": the arguments differ in the summed size");
  const bool batched = a.dim() > 2 || b.dim() > 2;
  const int64_t tasks = batched ? common_tasks({task_count(a, 2), task_count(b, 2)}) : 1;
  const LinearShape s{tasks, 0, b.size(-1), 0};
  const std::vector<int64_t> sizes =
      per_task ? std::vector<int64_t>{tasks, rows, s.I} : std::vector<int64_t>{rows, s.I};
  if (tasks == 0) return torch::stable::new_zeros(b, sizes);
  Tensor out = new_result(b, sizes);
  ROTFAST_DISPATCH(b.scalar_type(), name, {
    const int64_t a_count = a.dim() > 2 ? tasks : 1, group = packed_size(rows, depth);
    std::vector<scalar_t> packed(a_count * group);
    for (int64_t t = 0; t < a_count; ++t) {
      const scalar_t* factors = data<scalar_t>(a) + t * rows * depth;
      pack_rows(
          rows, depth, factors, transposed ? int64_t(1) : depth, transposed ? rows : int64_t(1),
          packed.data() + t * group);
    }
    const scalar_t* right = data<scalar_t>(b);
    scalar_t* output = mutable_data<scalar_t>(out);
    const int64_t blocks = divide_up(s.I, kColumnBlock);
    torch::stable::parallel_for(
        0, per_task ? tasks * blocks : blocks, grain(rows * depth * kColumnBlock),
        [&](int64_t begin, int64_t end) {
          product_units<scalar_t>(
              s, rows, depth, packed.data(), a.dim() > 2 ? group : 0, right, b.dim() > 2 ? depth * s.I : 0,
              !per_task && tasks > 1, output, begin, end);
        });
  });
  return out;
}

// gx = g W, summed over tasks unless `per_task`.
Tensor linear_input_grad(const Tensor& g, const Tensor& W, bool per_task) {
  return task_product("linear_input_grad", g, W, false, per_task);
}

// gW = g^T x, summed over tasks unless `per_task`.
Tensor linear_weight_grad(const Tensor& g, const Tensor& x, bool per_task) {
  return task_product("linear_weight_grad", g, x, true, per_task);
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def("linear(Tensor x, Tensor W, Tensor? bias) -> Tensor");
  m.def("linear_input_grad(Tensor g, Tensor W, bool per_task) -> Tensor");
  m.def("linear_weight_grad(Tensor g, Tensor x, bool per_task) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("linear", TORCH_BOX(&rotfast::linear));
  m.impl("linear_input_grad", TORCH_BOX(&rotfast::linear_input_grad));
  m.impl("linear_weight_grad", TORCH_BOX(&rotfast::linear_weight_grad));
}
