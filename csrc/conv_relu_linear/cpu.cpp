// y = linear(flatten(relu(conv2d(x, kernel) + kernel_bias)), weight) + bias, in one pass over groups of
// channels and panels of positions: their activations live in cache and are never written out; backward
// computes them again.
#include <tuple>

#include "conv_relu_linear/circuit.h"

namespace rotfast {

Circuit circuit_of(
    const Tensor& x,
    const Tensor& kernel,
    const Tensor& weight,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    int64_t tasks) {
  const Ints x_sizes(x.sizes().begin(), x.sizes().end());
  const Ints kernel_sizes(kernel.sizes().begin(), kernel.sizes().end());
  const ConvShape conv = conv_shape(x_sizes, kernel_sizes, stride, padding, dilation, 1);
  const Circuit c{conv, tasks, x.size(-4), weight.size(-2)};
  STD_TORCH_CHECK(
      weight.size(-1) == c.features(), "conv_relu_linear: weight does not fit the flattened activations");
  return c;
}

namespace {

int64_t optional_tasks(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? task_count(*tensor, 1) : 0;
}

// The scores of every image by the channels of each unit: (tasks, units, images, outputs).
template <class T>
std::vector<T> scores_of_units(
    const Circuit& c, const Cut& cut, const Kernels<T>& kernels, const Tasked& x, const Tasked& weight) {
  const int64_t size = c.images * c.outputs;
  std::vector<T> scores(c.tasks * cut.units * size);
  torch::stable::parallel_for(0, c.tasks * cut.units, 1, [&](int64_t begin, int64_t end) {
    const Aligned<T> active(block_size<T>(cut));
    for (int64_t index = begin; index < end; ++index) {
      const int64_t t = index % c.tasks, unit = index / c.tasks;
      T* unit_scores = scores.data() + (t * cut.units + unit) * size;
      for_blocks(c, cut, unit, x.of_task<T>(t), [&](const Panel<T>& panel, int64_t first) {
        panel.convolve(kernels.of_task(t), kernels.bias_of_task(t), nullptr, active.data());
        panel.add_scores(active.data(), weight.of_task<T>(t), unit_scores + first * c.outputs);
      });
    }
  });
  return scores;
}

Tensor conv_relu_linear(
    const Tensor& x_,
    const Tensor& kernel_,
    const std::optional<Tensor>& kernel_bias,
    const Tensor& weight_,
    const std::optional<Tensor>& bias_,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation) {
  check_like("kernel", kernel_, x_);
  check_like("weight", weight_, x_);
  if (kernel_bias.has_value()) check_like("kernel_bias", *kernel_bias, x_);
  if (bias_.has_value()) check_like("bias", *bias_, x_);
  const Tasked x(x_, 4), kernel(kernel_, 4), weight(weight_, 2);
  std::optional<Tasked> bias;
  if (bias_.has_value()) bias.emplace(*bias_, 1);
  const bool batched = x_.dim() > 4 || kernel_.dim() > 4 || weight_.dim() > 2 ||
                       (kernel_bias.has_value() && kernel_bias->dim() > 1) ||
                       (bias_.has_value() && bias_->dim() > 1);
  const int64_t tasks =
      batched ? common_tasks(
                    {x.tasks, kernel.tasks, weight.tasks, optional_tasks(kernel_bias), optional_tasks(bias_)})
              : 1;
  Circuit c = circuit_of(x_, kernel_, weight_, stride, padding, dilation, tasks);
  Ints sizes{c.images, c.outputs};
  if (batched) sizes.insert(sizes.begin(), c.tasks);
  Tensor y = new_result(x.tensor, sizes);
  if (y.numel() == 0) return y;
  const int64_t images = c.images;
  ROTFAST_DISPATCH(x_.scalar_type(), "conv_relu_linear", {
    const Kernels<scalar_t> kernels(c, kernel, kernel_bias);
    if (kernels.shared() && weight.step == 0 && x.step != 0) {
      // Tasks that differ in their images only are one task with all the images.
      c.images *= c.tasks;
      c.tasks = 1;
    }
    const Cut cut(c, 4);
    const int64_t size = c.images * c.outputs;
    const std::vector<scalar_t> scores = scores_of_units(c, cut, kernels, x, weight);
    scalar_t* out = mutable_data<scalar_t>(y);
    for (int64_t e = 0; e < y.numel(); ++e) {
      const int64_t output = e % c.outputs, t = e / size;
      scalar_t sum =
          bias.has_value() ? bias->of_task<scalar_t>(e / (images * c.outputs))[output] : scalar_t(0);
      for (int64_t u = 0; u < cut.units; ++u) sum += scores[(t * cut.units + u) * size + e % size];
      out[e] = sum;
    }
  });
  return y;
}

// Gradients with respect to kernel, kernel_bias and weight, each summed over tasks unless it is to be per
// task.
std::tuple<Tensor, Tensor, Tensor> conv_relu_linear_backward(
    const Tensor& g_,
    const Tensor& x_,
    const Tensor& kernel_,
    const std::optional<Tensor>& kernel_bias,
    const Tensor& weight_,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    bool kernel_per_task,
    bool kernel_bias_per_task,
    bool weight_per_task) {
  check_like("x", x_, g_);
  check_like("kernel", kernel_, x_);
  check_like("weight", weight_, x_);
  if (kernel_bias.has_value()) check_like("kernel_bias", *kernel_bias, x_);
  const Tasked g(g_, 2), x(x_, 4), kernel(kernel_, 4), weight(weight_, 2);
  const int64_t tasks =
      common_tasks({g.tasks, x.tasks, kernel.tasks, weight.tasks, optional_tasks(kernel_bias)});
  Circuit c = circuit_of(x_, kernel_, weight_, stride, padding, dilation, g_.dim() > 2 ? tasks : 1);
  const bool per_task = kernel_per_task || kernel_bias_per_task || weight_per_task;
  STD_TORCH_CHECK(
      (g_.dim() > 2 || !(tasks > 0 || per_task)) && g_.size(-2) == c.images && g_.size(-1) == c.outputs,
      "conv_relu_linear_backward: g does not have the shape of the result");
  const ConvShape& conv = c.conv;
  const auto sizes = [&](bool with_tasks, Ints rest) {
    if (with_tasks) rest.insert(rest.begin(), c.tasks);
    return rest;
  };
  Tensor g_kernel =
      torch::stable::new_zeros(x.tensor, sizes(kernel_per_task, {conv.O, conv.I, conv.kh, conv.kw}));
  Tensor g_kernel_bias = torch::stable::new_zeros(x.tensor, sizes(kernel_bias_per_task, {conv.O}));
  const Ints weight_sizes = sizes(weight_per_task, {c.outputs, c.features()});
  const bool empty = c.tasks * c.images == 0;
  Tensor g_weight =
      empty ? torch::stable::new_zeros(x.tensor, weight_sizes) : new_result(x.tensor, weight_sizes);
  if (empty) return {g_kernel, g_kernel_bias, g_weight};
  ROTFAST_DISPATCH(x_.scalar_type(), "conv_relu_linear_backward", {
    const Kernels<scalar_t> kernels(c, kernel, kernel_bias);
    if (!per_task && kernels.shared() && weight.step == 0 && x.step != 0 && g.step != 0) {
      c.images *= c.tasks;
      c.tasks = 1;
    }
    const Cut cut(c, 2);
    std::vector<scalar_t> kernel_sums(c.tasks * conv.O * c.columns());
    scalar_t* weight_out = mutable_data<scalar_t>(g_weight);
    // Tasks that share the weight's gradient add to it one after the other.
    const int64_t chains = weight_per_task ? c.tasks : 1;
    torch::stable::parallel_for(0, chains * cut.units, 1, [&](int64_t begin, int64_t end) {
      const Aligned<scalar_t> active(block_size<scalar_t>(cut)), back(block_size<scalar_t>(cut));
      for (int64_t index = begin; index < end; ++index) {
        for (int64_t t = index % chains; t < c.tasks; t += chains) {
          const scalar_t *task_g = g.of_task<scalar_t>(t), *task_weight = weight.of_task<scalar_t>(t);
          scalar_t* task_out = weight_out + (weight_per_task ? t * c.outputs * c.features() : 0);
          for_blocks(
              c, cut, index / chains, x.of_task<scalar_t>(t),
              [&](const Panel<scalar_t>& panel, int64_t first) {
                const bool accumulate = first > 0 || (t > 0 && chains == 1);
                panel.convolve(kernels.of_task(t), kernels.bias_of_task(t), nullptr, active.data());
                panel.spread(
                    task_g + first * c.outputs, task_weight, active.data(), active.data(), accumulate,
                    back.data(), task_out);
                panel.add_kernel_grad(back.data(), kernel_sums.data() + t * conv.O * c.columns());
              });
        }
      }
    });
    scatter_kernel_sums(c, kernel_sums, kernel_per_task, kernel_bias_per_task, g_kernel, g_kernel_bias);
  });
  return {g_kernel, g_kernel_bias, g_weight};
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def(
      "conv_relu_linear(Tensor x, Tensor kernel, Tensor? kernel_bias, Tensor weight, Tensor? bias, int[] "
      "stride,"
      " int[] padding, int[] dilation) -> Tensor");
  m.def(
      "conv_relu_linear_backward(Tensor g, Tensor x, Tensor kernel, Tensor? kernel_bias, Tensor weight,"
      " int[] stride, int[] padding, int[] dilation, bool kernel_per_task, bool kernel_bias_per_task,"
      " bool weight_per_task) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("conv_relu_linear", TORCH_BOX(&rotfast::conv_relu_linear));
  m.impl("conv_relu_linear_backward", TORCH_BOX(&rotfast::conv_relu_linear_backward));
}
