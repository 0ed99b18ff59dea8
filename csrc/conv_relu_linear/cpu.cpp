// y = linear(flatten(relu(conv2d(x, kernel) + kernel_bias)), weight) + bias, in one pass over groups of
// channels and panels of positions: their activations live in cache and are never written out; backward
// computes them again.
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

// The scores of every image by the channels of each unit: (heads, units, images, outputs).
template <class T>
std::vector<T> scores_of_units(
    const Circuit& c, const Cut& cut, const Kernels<T>& kernels, const Tasked& x, const Tasked& weight) {
  const int64_t size = c.head_images() * c.outputs;
  std::vector<T> scores(c.heads() * cut.units * size);
  torch::stable::parallel_for(0, c.heads() * cut.units, 1, [&](int64_t begin, int64_t end) {
    const Aligned<T> active(block_size<T>(cut));
    for (int64_t index = begin; index < end; ++index) {
      const int64_t head = index % c.heads(), unit = index / c.heads();
      T* unit_scores = scores.data() + (head * cut.units + unit) * size;
      for_blocks<T>(c, cut, head, unit, x, [&](const Panel<T>& panel) {
        T* to = unit_scores + (panel.first - head * c.head_images()) * c.outputs;
        panel.convolve(kernels, nullptr, active.data());
        panel.add_scores(active.data(), weight.of_task<T>(head), to);
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
  c.pooled = weight.step == 0;
  const Cut cut(c, 1);
  ROTFAST_DISPATCH(x_.scalar_type(), "conv_relu_linear", {
    const Kernels<scalar_t> kernels(c, kernel, kernel_bias);
    const std::vector<scalar_t> scores = scores_of_units(c, cut, kernels, x, weight);
    scalar_t* out = mutable_data<scalar_t>(y);
    sum_units(c, cut, scores, out);
    if (!bias.has_value()) return y;
    for (int64_t e = 0; e < y.numel(); ++e) {
      out[e] += bias->of_task<scalar_t>(e / (c.images * c.outputs))[e % c.outputs];
    }
  });
  return y;
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def(
      "conv_relu_linear(Tensor x, Tensor kernel, Tensor? kernel_bias, Tensor weight, Tensor? bias, int[] "
      "stride,"
      " int[] padding, int[] dilation) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("conv_relu_linear", TORCH_BOX(&rotfast::conv_relu_linear));
}
