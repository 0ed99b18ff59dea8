// y = linear(flatten(relu(conv2d(x, kernel) + kernel_bias)), weight) + bias, in one pass over panels of
// output positions: the activations of a panel live in cache and are never written out; backward computes
// them again.
#include <algorithm>
#include <tuple>

#include "common/panel_gemm.h"
#include "common/tensor.h"
#include "share_conv2d/shape.h"

namespace rotfast {
namespace {

constexpr int64_t kPanel = 120;  // positions; a multiple of every tile width
constexpr int64_t kImages =
    8;  // images whose activations of one panel are held at once (120 KB at 32 channels)

struct CircuitShape {
  ConvShape conv;  // one group
  int64_t tasks, images, outputs;
  // Elements between tasks, 0 for an argument that all tasks share.
  int64_t x_step, kernel_step, kernel_bias_step, weight_step, bias_step;
  bool weight_grad_per_task;

  ROTFAST_INLINE int64_t features() const { return conv.O * conv.out_plane(); }
  ROTFAST_INLINE int64_t panels() const { return (conv.out_plane() + kPanel - 1) / kPanel; }
  ROTFAST_INLINE int64_t image_blocks() const { return (images + kImages - 1) / kImages; }
};

// Scratch of one thread: patches of one image, activations and their gradients of up to kImages images.
template <class T>
struct Scratch {
  explicit Scratch(const CircuitShape& s)
      : columns((s.conv.taps() + 1) * kPanel), activations(kImages * s.conv.O * kPanel) {}
  std::vector<T> columns, activations, gradients, rest, packed, sums, tail;
};

// activations[image, channel, position] = relu(conv2d) for images [first, first + count), positions [begin,
// end).
template <class T>
ROTFAST_INLINE void activate(
    const CircuitShape& s,
    const T* images,
    const T* packed_kernel,
    const T* kernel_bias,
    int64_t count,
    int64_t begin,
    int64_t end,
    Scratch<T>& scratch) {
  const ConvShape& conv = s.conv;
  for (int64_t n = 0; n < count; ++n) {
    image_to_columns(conv, images + n * conv.in_image(), begin, end, scratch.columns.data(), kPanel);
    T* out = scratch.activations.data() + n * conv.O * kPanel;
    panel_product(
        conv.O, conv.taps(), end - begin, packed_kernel, scratch.columns.data(), kPanel, kernel_bias, out,
        kPanel);
    for (int64_t c = 0; c < conv.O; ++c) {
      T* row = out + c * kPanel;
      // Written so that NaN passes, as in torch.relu.
      for (int64_t p = 0; p < end - begin; ++p) row[p] = row[p] < T(0) ? T(0) : row[p];
    }
  }
}

template <class T>
ROTFAST_CLONES void forward_units(
    const CircuitShape& s,
    const T* x,
    const T* packed,
    int64_t packed_step,
    const T* kernel_bias,
    const T* weight,
    const T* bias,
    T* y,
    int64_t begin_unit,
    int64_t end_unit) {
  using V = Vector<T>;
  const ConvShape& conv = s.conv;
  const int64_t plane = conv.out_plane();
  Scratch<T> scratch(s);
  for (int64_t unit = begin_unit; unit < end_unit; ++unit) {
    const int64_t t = unit / s.image_blocks(), first = unit % s.image_blocks() * kImages;
    const int64_t count = std::min(kImages, s.images - first);
    const int64_t entries = count * s.outputs;
    scratch.sums.assign(entries * V::size, T(0));
    scratch.tail.assign(entries, T(0));
    for (int64_t begin = 0; begin < plane; begin += kPanel) {
      const int64_t end = std::min(begin + kPanel, plane);
      activate(
          s, x + t * s.x_step + first * conv.in_image(), packed + t * packed_step,
          kernel_bias == nullptr ? nullptr : kernel_bias + t * s.kernel_bias_step, count, begin, end,
          scratch);
      for (int64_t c = 0; c < conv.O; ++c) {
        panel_inner_products(
            count, s.outputs, end - begin, scratch.activations.data() + c * kPanel, conv.O * kPanel,
            weight + t * s.weight_step + c * plane + begin, s.features(), scratch.sums.data(),
            scratch.tail.data());
      }
    }
    T* out = y + (t * s.images + first) * s.outputs;
    for (int64_t e = 0; e < entries; ++e) {
      const T offset = bias == nullptr ? T(0) : bias[t * s.bias_step + e % s.outputs];
      out[e] = V::sum(V::load(scratch.sums.data() + e * V::size)) + scratch.tail[e] + offset;
    }
  }
}

// One unit is a panel of positions (of one task, or of all tasks when the weight's gradient is their sum): it
// owns its columns of the weight's gradient, and leaves a partial gradient of the kernel (with its bias as
// the last column).
template <class T>
ROTFAST_CLONES void backward_units(
    const CircuitShape& s,
    const T* g,
    const T* x,
    const T* packed,
    int64_t packed_step,
    const T* kernel_bias,
    const T* weight,
    T* partial,
    T* g_weight,
    int64_t begin_unit,
    int64_t end_unit) {
  using V = Vector<T>;
  const ConvShape& conv = s.conv;
  const int64_t plane = conv.out_plane(), features = s.features(), cols = conv.taps() + 1;
  const bool sum_tasks = !s.weight_grad_per_task;
  Scratch<T> scratch(s);
  scratch.gradients.resize(kImages * conv.O * kPanel);
  std::fill(scratch.columns.end() - kPanel, scratch.columns.end(), T(1));
  std::vector<T> packed_transposed;
  for (int64_t unit = begin_unit; unit < end_unit; ++unit) {
    const int64_t begin = unit % s.panels() * kPanel, end = std::min(begin + kPanel, plane);
    const int64_t positions = end - begin;
    for (int64_t task = 0; task < (sum_tasks ? s.tasks : 1); ++task) {
      const int64_t t = sum_tasks ? task : unit / s.panels();
      const T* task_weight = weight + t * s.weight_step + begin;
      T* task_g_weight = g_weight + (sum_tasks ? 0 : t * s.outputs * features) + begin;
      scratch.sums.assign(conv.O * cols * V::size, T(0));
      scratch.tail.assign(conv.O * cols, T(0));
      for (int64_t first = 0; first < s.images; first += kImages) {
        const int64_t count = std::min(kImages, s.images - first);
        const T* images = x + t * s.x_step + first * conv.in_image();
        const T* rows = g + (t * s.images + first) * s.outputs;
        activate(
            s, images, packed + t * packed_step,
            kernel_bias == nullptr ? nullptr : kernel_bias + t * s.kernel_bias_step, count, begin, end,
            scratch);
        scratch.packed.resize(packed_size(count, s.outputs));
        pack_rows(count, s.outputs, rows, s.outputs, int64_t(1), scratch.packed.data());
        packed_transposed.resize(packed_size(s.outputs, count));
        pack_rows(s.outputs, count, rows, int64_t(1), s.outputs, packed_transposed.data());
        for (int64_t c = 0; c < conv.O; ++c) {
          T* activation = scratch.activations.data() + c * kPanel;
          T* gradient = scratch.gradients.data() + c * kPanel;
          bounded_panel_product(
              count, s.outputs, positions, scratch.packed.data(), task_weight + c * plane, features, gradient,
              conv.O * kPanel, scratch.rest);
          T* g_columns = task_g_weight + c * plane;
          if (first == 0 && (task == 0 || !sum_tasks)) {
            bounded_panel_product(
                s.outputs, count, positions, packed_transposed.data(), activation, conv.O * kPanel, g_columns,
                features, scratch.rest);
          } else {
            bounded_panel_product<true>(
                s.outputs, count, positions, packed_transposed.data(), activation, conv.O * kPanel, g_columns,
                features, scratch.rest);
          }
          for (int64_t n = 0; n < count; ++n) {
            const T* a = activation + n * conv.O * kPanel;
            T* d = gradient + n * conv.O * kPanel;
            for (int64_t p = 0; p < positions; ++p) d[p] = a[p] <= T(0) ? T(0) : d[p];
          }
        }
        for (int64_t n = 0; n < count; ++n) {
          image_to_columns(conv, images + n * conv.in_image(), begin, end, scratch.columns.data(), kPanel);
          panel_inner_products(
              conv.O, cols, positions, scratch.gradients.data() + n * conv.O * kPanel, kPanel,
              scratch.columns.data(), kPanel, scratch.sums.data(), scratch.tail.data());
        }
      }
      T* out = partial + (t * s.panels() + unit % s.panels()) * conv.O * cols;
      for (int64_t e = 0; e < conv.O * cols; ++e) {
        out[e] = V::sum(V::load(scratch.sums.data() + e * V::size)) + scratch.tail[e];
      }
    }
  }
}

struct Arguments {
  Tensor x, kernel, weight;
  std::optional<Tensor> kernel_bias, bias;
  bool batched;
  CircuitShape shape;
};

Arguments arguments(
    const Tensor& x,
    const Tensor& kernel,
    const std::optional<Tensor>& kernel_bias,
    const Tensor& weight,
    const std::optional<Tensor>& bias,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation) {
  check_like("kernel", kernel, x);
  check_like("weight", weight, x);
  Arguments a{
      torch::stable::contiguous(x),
      torch::stable::contiguous(kernel),
      torch::stable::contiguous(weight),
      std::nullopt,
      std::nullopt,
      false,
      {}};
  int64_t kernel_bias_tasks = 0, bias_tasks = 0;
  a.batched = x.dim() > 4 || kernel.dim() > 4 || weight.dim() > 2;
  if (kernel_bias.has_value()) {
    check_like("kernel_bias", *kernel_bias, x);
    a.kernel_bias = torch::stable::contiguous(*kernel_bias);
    kernel_bias_tasks = task_count(*kernel_bias, 1);
    a.batched = a.batched || kernel_bias->dim() > 1;
  }
  if (bias.has_value()) {
    check_like("bias", *bias, x);
    a.bias = torch::stable::contiguous(*bias);
    bias_tasks = task_count(*bias, 1);
    a.batched = a.batched || bias->dim() > 1;
  }
  CircuitShape& s = a.shape;
  s.conv = conv_shape(
      {x.sizes().begin(), x.sizes().end()}, {kernel.sizes().begin(), kernel.sizes().end()}, stride, padding,
      dilation, 1);
  s.tasks = a.batched ? common_tasks(
                            {task_count(x, 4), task_count(kernel, 4), task_count(weight, 2),
                             kernel_bias_tasks, bias_tasks})
                      : 1;
  s.images = x.size(-4);
  s.outputs = weight.size(-2);
  STD_TORCH_CHECK(
      weight.size(-1) == s.features(), "conv_relu_linear: weight does not fit the flattened activations");
  s.x_step = x.dim() > 4 ? s.images * s.conv.in_image() : 0;
  s.kernel_step = kernel.dim() > 4 ? s.conv.kernel_size() : 0;
  s.kernel_bias_step = kernel_bias_tasks > 0 ? s.conv.O : 0;
  s.weight_step = weight.dim() > 2 ? s.outputs * s.features() : 0;
  s.bias_step = bias_tasks > 0 ? s.outputs : 0;
  return a;
}

// Tasks that differ in their images only are one task with all the images.
void merge_tasks(CircuitShape& s) {
  const bool same = s.kernel_step == 0 && s.kernel_bias_step == 0 && s.weight_step == 0 && s.bias_step == 0;
  if (!same || s.x_step == 0) return;
  s.images *= s.tasks;
  s.tasks = 1;
  s.x_step = 0;
}

template <class T>
std::vector<T> packed_kernels(const Arguments& a, int64_t& step) {
  const CircuitShape& s = a.shape;
  const int64_t size = packed_size(s.conv.O, s.conv.taps()), count = s.kernel_step != 0 ? s.tasks : 1;
  step = s.kernel_step != 0 ? size : 0;
  std::vector<T> packed(count * size);
  for (int64_t k = 0; k < count; ++k) {
    pack_rows(
        s.conv.O, s.conv.taps(), data<T>(a.kernel) + k * s.conv.kernel_size(), s.conv.taps(), int64_t(1),
        packed.data() + k * size);
  }
  return packed;
}

template <class T>
const T* optional_data(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? data<T>(*tensor) : nullptr;
}

Tensor conv_relu_linear(
    const Tensor& x,
    const Tensor& kernel,
    const std::optional<Tensor>& kernel_bias,
    const Tensor& weight,
    const std::optional<Tensor>& bias,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation) {
  const Arguments a = arguments(x, kernel, kernel_bias, weight, bias, stride, padding, dilation);
  CircuitShape s = a.shape;
  Ints sizes{s.images, s.outputs};
  if (a.batched) sizes.insert(sizes.begin(), s.tasks);
  merge_tasks(s);
  Tensor y = new_result(a.x, sizes);
  ROTFAST_DISPATCH(a.x.scalar_type(), "conv_relu_linear", {
    int64_t step = 0;
    const std::vector<scalar_t> packed = packed_kernels<scalar_t>(a, step);
    scalar_t* out = mutable_data<scalar_t>(y);
    torch::stable::parallel_for(0, s.tasks * s.image_blocks(), 1, [&](int64_t begin, int64_t end) {
      forward_units<scalar_t>(
          s, data<scalar_t>(a.x), packed.data(), step, optional_data<scalar_t>(a.kernel_bias),
          data<scalar_t>(a.weight), optional_data<scalar_t>(a.bias), out, begin, end);
    });
  });
  return y;
}

// Gradients with respect to kernel, kernel_bias and weight, each summed over tasks unless it is to be per
// task.
std::tuple<Tensor, Tensor, Tensor> conv_relu_linear_backward(
    const Tensor& g_,
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
  const Arguments a = arguments(x, kernel, kernel_bias, weight, std::nullopt, stride, padding, dilation);
  CircuitShape s = a.shape;
  const Tensor g = torch::stable::contiguous(g_);
  if (g.dim() > 2) s.tasks = g.size(0);
  STD_TORCH_CHECK(
      (g.dim() > 2 || !(a.batched || kernel_per_task || kernel_bias_per_task || weight_per_task)) &&
          g.size(-2) == s.images && g.size(-1) == s.outputs,
      "conv_relu_linear_backward: g does not have the shape of the result");
  s.weight_grad_per_task = weight_per_task;
  if (!kernel_per_task && !kernel_bias_per_task && !weight_per_task) merge_tasks(s);
  const ConvShape& conv = s.conv;
  const int64_t cols = conv.taps() + 1;
  const auto sizes = [&](bool per_task, Ints rest) {
    if (per_task) rest.insert(rest.begin(), s.tasks);
    return rest;
  };
  Tensor g_kernel =
      torch::stable::new_zeros(a.kernel, sizes(kernel_per_task, {conv.O, conv.I, conv.kh, conv.kw}));
  Tensor g_kernel_bias = torch::stable::new_zeros(a.kernel, sizes(kernel_bias_per_task, {conv.O}));
  const Ints weight_sizes = sizes(weight_per_task, {s.outputs, s.features()});
  // Every entry is written by the first block of images, unless there is none.
  Tensor g_weight = s.tasks * s.images == 0 ? torch::stable::new_zeros(a.weight, weight_sizes)
                                            : new_result(a.weight, weight_sizes);
  ROTFAST_DISPATCH(a.x.scalar_type(), "conv_relu_linear_backward", {
    int64_t step = 0;
    const std::vector<scalar_t> packed = packed_kernels<scalar_t>(a, step);
    std::vector<scalar_t> partial(s.tasks * s.panels() * conv.O * cols);
    scalar_t* weight_out = mutable_data<scalar_t>(g_weight);
    const int64_t units = s.tasks * s.images == 0 ? 0 : (weight_per_task ? s.tasks : 1) * s.panels();
    torch::stable::parallel_for(0, units, 1, [&](int64_t begin, int64_t end) {
      backward_units<scalar_t>(
          s, data<scalar_t>(g), data<scalar_t>(a.x), packed.data(), step,
          optional_data<scalar_t>(a.kernel_bias), data<scalar_t>(a.weight), partial.data(), weight_out, begin,
          end);
    });
    scalar_t *kernel_out = mutable_data<scalar_t>(g_kernel),
             *bias_out = mutable_data<scalar_t>(g_kernel_bias);
    for (int64_t index = 0; index < s.tasks * s.panels(); ++index) {
      const int64_t t = index / s.panels();
      const scalar_t* in = partial.data() + index * conv.O * cols;
      for (int64_t c = 0; c < conv.O; ++c) {
        for (int64_t r = 0; r < conv.taps(); ++r) {
          kernel_out[(kernel_per_task ? t * conv.kernel_size() : 0) + c * conv.taps() + r] +=
              in[c * cols + r];
        }
        bias_out[(kernel_bias_per_task ? t * conv.O : 0) + c] += in[c * cols + cols - 1];
      }
    }
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
