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
  const Tasked &g, &x, &weight;
  Kernels<T> kernels;
  std::optional<Kernels<T>> d_kernels;
  std::optional<Tasked> d_weight;
  std::vector<T> kernel_sums;  // (tasks, O, taps and bias)
  std::vector<T> scores;       // (tasks, units, images, outputs)
};

// One unit of a task: the gradients of ⟨g, result⟩ or, with a direction, of ⟨g, the result's change⟩.
template <class T>
void run_unit(
    Work<T>& work, int64_t t, int64_t unit, bool accumulate, T* active, T* moved, T* back, T* g_weight) {
  const Circuit& c = work.circuit;
  const T *g = work.g.template of_task<T>(t), *weight = work.weight.template of_task<T>(t);
  T* kernel_sums = work.kernel_sums.data() + t * c.conv.O * c.columns();
  const auto body = [&](const Panel<T>& panel, int64_t first) {
    const bool add = accumulate || first > 0;
    const T* block_g = g + first * c.outputs;
    panel.convolve(work.kernels.of_task(t), work.kernels.bias_of_task(t), nullptr, active);
    if (work.d_weight.has_value()) {
      const T* d_weight = work.d_weight->template of_task<T>(t);
      T* scores = work.scores.data() + ((t * work.cut.units + unit) * c.images + first) * c.outputs;
      panel.convolve(work.d_kernels->of_task(t), work.d_kernels->bias_of_task(t), active, moved);
      panel.add_scores(moved, weight, scores);
      panel.add_scores(active, d_weight, scores);
      panel.spread(block_g, d_weight, moved, active, add, back, g_weight);
    } else {
      panel.spread(block_g, weight, active, active, add, back, g_weight);
    }
    panel.add_kernel_grad(back, kernel_sums);
  };
  for_blocks(c, work.cut, unit, work.x.template of_task<T>(t), body);
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
  const Tasked g(g_, 2), x(x_, 4), kernel(kernel_, 4), weight(weight_, 2);
  const int64_t tasks =
      common_tasks({g.tasks, x.tasks, kernel.tasks, weight.tasks, optional_tasks(kernel_bias)});
  Circuit c = circuit_of(x_, kernel_, weight_, stride, padding, dilation, g_.dim() > 2 ? tasks : 1);
  STD_TORCH_CHECK(
      (g_.dim() > 2 || !(tasks > 0 || per_task.any())) && g_.size(-2) == c.images && g_.size(-1) == c.outputs,
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
      std::nullopt, torch::stable::new_zeros(g.tensor, sizes(per_task.kernel, kernel_sizes)),
      torch::stable::new_zeros(g.tensor, sizes(per_task.kernel_bias, {conv.O})),
      empty ? torch::stable::new_zeros(g.tensor, weight_sizes) : new_result(g.tensor, weight_sizes)};
  if (direction != nullptr) result.g = new_result(g.tensor, {g_.sizes().begin(), g_.sizes().end()});
  if (empty) return result;
  ROTFAST_DISPATCH(x_.scalar_type(), "conv_relu_linear_backward", {
    using T = scalar_t;
    Kernels<T> kernels(c, kernel, kernel_bias);
    // Tasks that differ in their images only are one task with all the images.
    if (direction == nullptr && !per_task.any() && kernels.shared() && weight.step == 0 && x.step != 0 &&
        g.step != 0) {
      c.images *= c.tasks;
      c.tasks = 1;
    }
    const Cut cut(c, 2);
    Work<T> work{c, cut, g, x, weight, std::move(kernels), {}, {}, {}, {}};
    work.kernel_sums.resize(c.tasks * conv.O * c.columns());
    if (direction != nullptr) {
      work.d_kernels.emplace(c, Tasked(direction->kernel, 4), direction->kernel_bias);
      work.d_weight.emplace(direction->weight, 2);
      work.scores.resize(cut.units * g_.numel());
    }
    T* g_weight = mutable_data<T>(result.weight);
    // Tasks that share the weight's gradient add to it one after the other.
    const int64_t chains = per_task.weight ? c.tasks : 1, step = c.outputs * c.features();
    torch::stable::parallel_for(0, chains * cut.units, 1, [&](int64_t begin, int64_t end) {
      const int64_t size = block_size<T>(cut);
      const Aligned<T> active(size), moved(direction == nullptr ? 0 : size), back(size);
      for (int64_t index = begin; index < end; ++index) {
        for (int64_t t = index % chains; t < c.tasks; t += chains) {
          run_unit(
              work, t, index / chains, chains == 1 && t > 0, active.data(), moved.data(), back.data(),
              g_weight + (per_task.weight ? t * step : 0));
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
