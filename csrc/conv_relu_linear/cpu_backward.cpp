// The gradients of conv_relu_linear with respect to its parameters, and the gradients of those: both go over
// the blocks of the forward once, and compute their activations again.
#include <tuple>

#include "conv_relu_linear/circuit.h"

namespace rotfast {
namespace {

struct PerTask {
  bool kernel, kernel_bias, weight;

  bool any() const { return kernel || kernel_bias || weight; }
};

// A direction in which kernel, kernel_bias and weight move.
struct Direction {
  Tensor kernel;
  std::optional<Tensor> kernel_bias;
  Tensor weight;
};

struct Gradients {
  std::optional<Tensor> g;  // with a direction only
  Tensor kernel, kernel_bias, weight;
};

// What the units of all tasks read, and what they write besides the weight's gradient.
template <class T>
struct Work {
  Circuit circuit;
  Cut cut;
  const Tensor& g;  // without gaps
  const Tasked &x, &weight;
  Kernels<T> kernels;
  std::optional<Kernels<T>> d_kernels;
  std::optional<Tasked> d_weight;
  std::vector<T> kernel_sums;  // (tasks, O, taps and bias)
  std::vector<T> scores;       // (heads, units, images, outputs)
};

// One unit of a head: the gradients of ⟨g, result⟩ or, with a direction, of ⟨g, the result's change⟩.
template <class T>
void run_unit(
    Work<T>& work, int64_t head, int64_t unit, bool accumulate, T* active, T* moved, T* back, T* g_weight) {
  const Circuit& c = work.circuit;
  const T* weight = work.weight.template of_task<T>(head);
  for_blocks<T>(c, work.cut, head, unit, work.x, [&](const Panel<T>& panel) {
    const int64_t n = panel.first - head * c.head_images();
    const bool add = accumulate || n > 0;
    const T* g = data<T>(work.g) + panel.first * c.outputs;
    panel.convolve(work.kernels, nullptr, active);
    if (work.d_weight.has_value()) {
      const T* d_weight = work.d_weight->template of_task<T>(head);
      T* scores = work.scores.data() + ((head * work.cut.units + unit) * c.head_images() + n) * c.outputs;
      panel.convolve(*work.d_kernels, active, moved);
      panel.add_scores(moved, weight, scores);
      panel.add_scores(active, d_weight, scores);
      panel.spread(g, d_weight, moved, active, add, back, g_weight);
    } else {
      panel.spread(g, weight, active, active, add, back, g_weight);
    }
    panel.add_kernel_grad(back, work.kernel_sums.data());
  });
}

// The sums of kernels and biases, per task or over tasks.
template <class T>
void add_kernel_sums(const Work<T>& work, PerTask per_task, const Tensor& kernel, const Tensor& kernel_bias) {
  const Circuit& c = work.circuit;
  const int64_t O = c.conv.O, taps = c.conv.taps();
  for (int64_t row = 0; row < c.tasks * O; ++row) {
    const T* in = work.kernel_sums.data() + row * c.columns();
    T* to = mutable_data<T>(kernel) + (per_task.kernel ? row : row % O) * taps;
    for (int64_t r = 0; r < taps; ++r) to[r] += in[r];
    mutable_data<T>(kernel_bias)[per_task.kernel_bias ? row : row % O] += in[taps];
  }
}

Gradients gradients(
    const Tensor& g_,
    const Tensor& x_,
    const Tensor& kernel_,
    const std::optional<Tensor>& kernel_bias,
    const Tensor& weight_,
    const Direction* direction,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    PerTask per_task) {
  check_like("x", x_, g_);
  check_like("kernel", kernel_, x_);
  check_like("weight", weight_, x_);
  if (kernel_bias.has_value()) check_like("kernel_bias", *kernel_bias, x_);
  const Tensor g = torch::stable::contiguous(g_);
  const Tasked x(x_, 4), kernel(kernel_, 4), weight(weight_, 2);
  const int64_t tasks =
      common_tasks({task_count(g, 2), x.tasks, kernel.tasks, weight.tasks, optional_tasks(kernel_bias)});
  Circuit c = circuit_of(x_, kernel_, weight_, stride, padding, dilation, g.dim() > 2 ? tasks : 1);
  STD_TORCH_CHECK(
      (g.dim() > 2 || !(tasks > 0 || per_task.any())) && g.size(-2) == c.images && g.size(-1) == c.outputs,
      "conv_relu_linear_backward: g does not have the shape of the result");
  const ConvShape& conv = c.conv;
  const auto sizes = [&](bool with_tasks, Ints rest) {
    if (with_tasks) rest.insert(rest.begin(), c.tasks);
    return rest;
  };
  const bool empty = c.tasks * c.images * c.outputs == 0;
  const Ints kernel_sizes{conv.O, conv.I, conv.kh, conv.kw};
  const Ints weight_sizes = sizes(per_task.weight, {c.outputs, c.features()});
  Gradients result{
      std::nullopt, torch::stable::new_zeros(g, sizes(per_task.kernel, kernel_sizes)),
      torch::stable::new_zeros(g, sizes(per_task.kernel_bias, {conv.O})),
      empty ? torch::stable::new_zeros(g, weight_sizes) : new_result(g, weight_sizes)};
  if (direction != nullptr) result.g = new_result(g, {g.sizes().begin(), g.sizes().end()});
  if (empty) return result;
  std::optional<Tasked> d_weight;
  if (direction != nullptr) d_weight.emplace(direction->weight, 2);
  c.pooled = !per_task.weight && weight.step == 0 && (!d_weight.has_value() || d_weight->step == 0);
  const Cut cut(c, direction == nullptr ? 2 : 3);
  ROTFAST_DISPATCH(x_.scalar_type(), "conv_relu_linear_backward", {
    using T = scalar_t;
    Work<T> work{c, cut, g, x, weight, Kernels<T>(c, kernel, kernel_bias), {}, d_weight, {}, {}};
    work.kernel_sums.resize(c.tasks * conv.O * c.columns());
    if (direction != nullptr) {
      work.d_kernels.emplace(c, Tasked(direction->kernel, 4), direction->kernel_bias);
      work.scores.resize(cut.units * g.numel());
    }
    T* g_weight = mutable_data<T>(result.weight);
    // Heads that share the weight's gradient add to it one after the other.
    const int64_t chains = per_task.weight ? c.heads() : 1, step = c.outputs * c.features();
    torch::stable::parallel_for(0, chains * cut.units, 1, [&](int64_t begin, int64_t end) {
      const int64_t size = block_size<T>(cut);
      const Aligned<T> active(size), moved(direction == nullptr ? 0 : size), back(size);
      for (int64_t index = begin; index < end; ++index) {
        for (int64_t head = index % chains; head < c.heads(); head += chains) {
          run_unit(
              work, head, index / chains, chains == 1 && head > 0, active.data(), moved.data(), back.data(),
              g_weight + (per_task.weight ? head * step : 0));
        }
      }
    });
    add_kernel_sums(work, per_task, result.kernel, result.kernel_bias);
    if (result.g.has_value()) sum_units(c, cut, work.scores, mutable_data<T>(*result.g));
  });
  return result;
}

// Gradients with respect to kernel, kernel_bias and weight, each summed over tasks unless it is to be per
// task.
std::tuple<Tensor, Tensor, Tensor> conv_relu_linear_backward(
    const Tensor& g,
    const Tensor& x,
    const Tensor& kernel,
    const std::optional<Tensor>& kernel_bias,
    const Tensor& weight,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    bool kernel_per_task,
    bool kernel_bias_per_task,
    bool weight_per_task) {
  const Gradients result = gradients(
      g, x, kernel, kernel_bias, weight, nullptr, stride, padding, dilation,
      {kernel_per_task, kernel_bias_per_task, weight_per_task});
  return {result.kernel, result.kernel_bias, result.weight};
}

// The gradients with respect to g, kernel, kernel_bias and weight of ⟨d_kernel, g_kernel⟩ + ⟨d_kernel_bias,
// g_kernel_bias⟩ + ⟨d_weight, g_weight⟩, the g_* being what conv_relu_linear_backward returns.
std::tuple<Tensor, Tensor, Tensor, Tensor> conv_relu_linear_double_backward(
    const Tensor& g,
    const Tensor& x,
    const Tensor& kernel,
    const std::optional<Tensor>& kernel_bias,
    const Tensor& weight,
    const Tensor& d_kernel,
    const std::optional<Tensor>& d_kernel_bias,
    const Tensor& d_weight,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    bool kernel_per_task,
    bool kernel_bias_per_task,
    bool weight_per_task) {
  check_like("d_kernel", d_kernel, x);
  check_like("d_weight", d_weight, x);
  if (d_kernel_bias.has_value()) check_like("d_kernel_bias", *d_kernel_bias, x);
  const Direction direction{d_kernel, d_kernel_bias, d_weight};
  const Gradients result = gradients(
      g, x, kernel, kernel_bias, weight, &direction, stride, padding, dilation,
      {kernel_per_task, kernel_bias_per_task, weight_per_task});
  return {*result.g, result.kernel, result.kernel_bias, result.weight};
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def(
      "conv_relu_linear_backward(Tensor g, Tensor x, Tensor kernel, Tensor? kernel_bias, Tensor weight,"
      " int[] stride, int[] padding, int[] dilation, bool kernel_per_task, bool kernel_bias_per_task,"
      " bool weight_per_task) -> (Tensor, Tensor, Tensor)");
  m.def(
      "conv_relu_linear_double_backward(Tensor g, Tensor x, Tensor kernel, Tensor? kernel_bias, Tensor "
      "weight,"
      " Tensor d_kernel, Tensor? d_kernel_bias, Tensor d_weight, int[] stride, int[] padding, int[] dilation,"
      " bool kernel_per_task, bool kernel_bias_per_task, bool weight_per_task)"
      " -> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("conv_relu_linear_backward", TORCH_BOX(&rotfast::conv_relu_linear_backward));
  m.impl("conv_relu_linear_double_backward", TORCH_BOX(&rotfast::conv_relu_linear_double_backward));
}
