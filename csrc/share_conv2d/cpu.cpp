// Direct convolution: patches of a panel of output positions, then a register-tiled product with the kernel
// or, for its gradient, with the cotangent.
#include "share_conv2d/share_conv2d.h"

#include <algorithm>
#include <tuple>

#include "common/panel_gemm.h"
#include "common/tensor.h"
#include "conv_relu_linear/patches.h"
#include "share_conv2d/product.h"
#include "share_conv2d/shape.h"
#include "share_conv2d/weight_grad.h"

namespace rotfast {
namespace {

// Output positions of an input gradient at once; a multiple of every tile width, small enough for L1 and L2.
constexpr int64_t kPanel = 384;

// Most chunks of images of a weight gradient, over all tasks: enough for many threads.
constexpr int64_t kChunks = 32;

int64_t panel_step(int64_t positions) {
  return (positions + kTileColumns<float> - 1) / kTileColumns<float> * kTileColumns<float>;
}

Ints shape(const Tensor& tensor) { return {tensor.sizes().begin(), tensor.sizes().end()}; }

// Which image and which kernel the n-th image of a task uses; a step of 0 means shared by all tasks.
struct TaskSteps {
  int64_t tasks, images;
  int64_t x, weight, out;  // elements between tasks
};

// The panels of one image: their patches fit into L1 with room for what they are multiplied with.
template <class T>
std::vector<Patches<T>> image_panels(const ConvShape& s) {
  const int64_t shifts = s.I * s.kw * (s.sh == 1 ? 1 : s.kh), plane = s.out_plane();
  const int64_t most = std::max<int64_t>(64, (24 << 10) / (shifts * sizeof(T)));
  const int64_t count = (plane + most - 1) / most;
  std::vector<Patches<T>> panels;
  for (int64_t k = 0; k < count; ++k) panels.emplace_back(s, k * plane / count, (k + 1) * plane / count);
  return panels;
}

template <class T>
std::vector<T> patch_buffer(const std::vector<Patches<T>>& panels) {
  int64_t size = 0;
  for (const Patches<T>& panel : panels) size = std::max(size, panel.size);
  return std::vector<T>(size);
}

template <class T>
struct Forward {
  ConvShape s;
  TaskSteps steps;
  const T *x, *packed;
  int64_t packed_group;
  const T* bias;
  int64_t bias_step;
  T* y;
};

template <int64_t bytes, class T>
ROTFAST_INLINE void forward_images(const Forward<T>& f, int64_t begin, int64_t end) {
  const ConvShape& s = f.s;
  const std::vector<Patches<T>> panels = image_panels<T>(s);
  std::vector<T> patches = patch_buffer(panels);
  for (int64_t index = begin; index < end; ++index) {
    const int64_t t = index / f.steps.images, n = index % f.steps.images;
    for (int64_t g = 0; g < s.groups; ++g) {
      const T* image = f.x + t * f.steps.x + n * s.in_image() + g * s.I * s.in_plane();
      const T* kernel = f.packed + ((f.steps.weight != 0 ? t : 0) * s.groups + g) * f.packed_group;
      const T* bias = f.bias == nullptr ? nullptr : f.bias + t * f.bias_step + g * s.O;
      T* out = f.y + t * f.steps.out + n * s.out_image() + g * s.O * s.out_plane();
      for (const Patches<T>& panel : panels) {
        panel.fill(image, patches.data());
        convolve_panel<bytes>(
            PanelProduct<T>{s.O, kernel, bias, panel, patches.data(), out + panel.begin, s.out_plane()});
      }
    }
  }
}

template <class T>
ROTFAST_NARROW void forward_narrow(const Forward<T>& f, int64_t begin, int64_t end) {
  forward_images<32>(f, begin, end);
}

template <class T>
ROTFAST_WIDE void forward_wide(const Forward<T>& f, int64_t begin, int64_t end) {
  forward_images<64>(f, begin, end);
}

// Adds the input gradient of images [begin, end); tasks that share x add in task order.
template <class T>
ROTFAST_CLONES void input_grad_images(
    const ConvShape& s,
    const TaskSteps& steps,
    const T* g,
    const T* packed,
    int64_t packed_group,
    T* gx,
    int64_t begin,
    int64_t end) {
  const int64_t step = panel_step(std::min(kPanel, s.out_plane()));
  std::vector<T> columns(s.taps() * step), rest;
  const int64_t shared_tasks = steps.x == 0 ? steps.tasks : 1;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t n = index % steps.images;
    for (int64_t task = 0; task < shared_tasks; ++task) {
      const int64_t t = steps.x == 0 ? task : index / steps.images;
      T* image = gx + t * steps.x + n * s.in_image();
      const T* grad = g + t * steps.out + n * s.out_image();
      for (int64_t group = 0; group < s.groups; ++group) {
        const T* kernel = packed + ((steps.weight != 0 ? t : 0) * s.groups + group) * packed_group;
        for (int64_t p = 0; p < s.out_plane(); p += kPanel) {
          const int64_t count = std::min(kPanel, s.out_plane() - p);
          bounded_panel_product(
              s.taps(), s.O, count, kernel, grad + group * s.O * s.out_plane() + p, s.out_plane(),
              columns.data(), step, rest);
          add_columns_to_image(s, columns.data(), step, p, p + count, image + group * s.I * s.in_plane());
        }
      }
    }
  }
}

// Chunk by chunk of images, so that the sum does not depend on the number of threads: one partial gradient
// (groups, O, taps + 1) of kernel and bias each.
template <class T>
struct ParameterGrads {
  ConvShape s;
  TaskSteps steps;
  const T *x, *g;
  T* partial;
  int64_t chunk_images, chunks;
};

template <int64_t bytes, int64_t R, int64_t C, class T>
ROTFAST_INLINE void parameter_grads(const ParameterGrads<T>& p, int64_t begin, int64_t end) {
  const ConvShape& s = p.s;
  const std::vector<Patches<T>> panels = image_panels<T>(s);
  std::vector<T> patches = patch_buffer(panels);
  GradSums<T, bytes, R, C> sums(s.O, s.taps());
  for (int64_t index = begin; index < end; ++index) {
    const int64_t t = index / p.chunks, first = index % p.chunks * p.chunk_images;
    const int64_t last = std::min(first + p.chunk_images, p.steps.images);
    for (int64_t group = 0; group < s.groups; ++group) {
      sums.clear();
      for (int64_t n = first; n < last; ++n) {
        const T* image = p.x + t * p.steps.x + n * s.in_image() + group * s.I * s.in_plane();
        const T* g = p.g + t * p.steps.out + n * s.out_image() + group * s.O * s.out_plane();
        for (const Patches<T>& panel : panels) {
          panel.fill(image, patches.data());
          sums.add(panel, patches.data(), g + panel.begin, s.out_plane());
        }
      }
      sums.write(p.partial + (index * s.groups + group) * s.O * (s.taps() + 1));
    }
  }
}

template <class T>
ROTFAST_NARROW void parameter_grads_narrow(const ParameterGrads<T>& p, int64_t begin, int64_t end) {
  parameter_grads<32, 3, 3>(p, begin, end);
}

template <class T>
ROTFAST_WIDE void parameter_grads_wide(const ParameterGrads<T>& p, int64_t begin, int64_t end) {
  parameter_grads<32, 4, 5>(p, begin, end);
}

// Kernels of all tasks and groups, packed for panel_product: as (O, taps), or as (taps, O) for the input
// gradient.
template <class T>
std::vector<T> pack_kernels(
    const ConvShape& s, const T* weight, int64_t count, bool transposed, int64_t& group_size) {
  group_size = transposed ? packed_size(s.taps(), s.O) : packed_size(s.O, s.taps());
  std::vector<T> packed(count * s.groups * group_size);
  for (int64_t k = 0; k < count * s.groups; ++k) {
    const T* kernel = weight + k * s.O * s.taps();
    if (transposed) {
      pack_rows(s.taps(), s.O, kernel, int64_t(1), s.taps(), packed.data() + k * group_size);
    } else {
      pack_rows(s.O, s.taps(), kernel, s.taps(), int64_t(1), packed.data() + k * group_size);
    }
  }
  return packed;
}

int64_t grain(const ConvShape& s) { return 1 + 200000 / (s.kernel_size() * s.out_plane() + 1); }

Tensor conv2d(
    const Tensor& x_,
    const Tensor& weight_,
    const std::optional<Tensor>& bias_,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    int64_t groups) {
  const ConvShape s = conv_shape(shape(x_), shape(weight_), stride, padding, dilation, groups);
  check_like("weight", weight_, x_);
  const Tensor x = torch::stable::contiguous(x_), weight = torch::stable::contiguous(weight_);
  std::optional<Tensor> bias;
  if (bias_.has_value()) {
    check_like("bias", *bias_, x_);
    bias = torch::stable::contiguous(*bias_);
  }
  const bool batched = x.dim() > 4 || weight.dim() > 4 || (bias.has_value() && bias->dim() > 1);
  const int64_t tasks = batched ? common_tasks(
                                      {task_count(x, 4), task_count(weight, 4),
                                       bias.has_value() ? task_count(*bias, 1) : int64_t(0)})
                                : 1;
  const int64_t images = x.size(-4);
  Ints sizes{images, s.groups * s.O, s.OH, s.OW};
  if (batched) sizes.insert(sizes.begin(), tasks);
  Tensor y = new_result(x, sizes);
  const TaskSteps steps{
      tasks, images, x.dim() > 4 ? images * s.in_image() : 0, weight.dim() > 4 ? s.kernel_size() : 0,
      images * s.out_image()};
  ROTFAST_DISPATCH(x.scalar_type(), "conv2d", {
    int64_t group_size = 0;
    const int64_t kernels = weight.dim() > 4 ? tasks : 1;
    const std::vector<scalar_t> packed = pack_kernels(s, data<scalar_t>(weight), kernels, false, group_size);
    const scalar_t* bias_data = bias.has_value() ? data<scalar_t>(*bias) : nullptr;
    const int64_t bias_step = bias.has_value() && bias->dim() > 1 ? s.groups * s.O : 0;
    const scalar_t* input = data<scalar_t>(x);
    scalar_t* output = mutable_data<scalar_t>(y);
    const Forward<scalar_t> forward{s, steps, input, packed.data(), group_size, bias_data, bias_step, output};
    torch::stable::parallel_for(0, tasks * images, grain(s), [&](int64_t begin, int64_t end) {
      has_wide_vectors() ? forward_wide(forward, begin, end) : forward_narrow(forward, begin, end);
    });
  });
  return y;
}

Tensor conv2d_input_grad(
    const Tensor& g_,
    const Tensor& weight_,
    const Ints& x_shape,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    int64_t groups) {
  const ConvShape s = conv_shape(x_shape, shape(weight_), stride, padding, dilation, groups);
  check_like("weight", weight_, g_);
  const Tensor g = torch::stable::contiguous(g_), weight = torch::stable::contiguous(weight_);
  const bool batched = g.dim() > 4, x_batched = x_shape.size() > 4;
  const int64_t tasks = batched ? g.size(0) : 1, images = g.size(-4);
  STD_TORCH_CHECK(
      batched || (!x_batched && weight.dim() == 4),
      "conv2d_input_grad: g must have the task dimension of x and weight");
  STD_TORCH_CHECK(
      g.size(-3) == s.groups * s.O && g.size(-2) == s.OH && g.size(-1) == s.OW,
      "conv2d_input_grad: g does not have the shape of the result");
  Tensor gx = torch::stable::new_zeros(g, x_shape);
  const TaskSteps steps{
      tasks, images, x_batched || tasks == 1 ? images * s.in_image() : 0,
      weight.dim() > 4 ? s.kernel_size() : 0, images * s.out_image()};
  ROTFAST_DISPATCH(g.scalar_type(), "conv2d_input_grad", {
    int64_t group_size = 0;
    const std::vector<scalar_t> packed =
        pack_kernels(s, data<scalar_t>(weight), weight.dim() > 4 ? tasks : 1, true, group_size);
    const scalar_t* grad = data<scalar_t>(g);
    scalar_t* output = mutable_data<scalar_t>(gx);
    const int64_t count = steps.x == 0 ? images : tasks * images;
    torch::stable::parallel_for(0, tasks == 0 ? 0 : count, grain(s), [&](int64_t begin, int64_t end) {
      input_grad_images<scalar_t>(s, steps, grad, packed.data(), group_size, output, begin, end);
    });
  });
  return gx;
}

// The gradients of the kernel and of a bias, the latter (O) or, where g has tasks, (T, O).
std::tuple<Tensor, Tensor> conv2d_parameter_grads(
    const Tensor& x_,
    const Tensor& g_,
    const Ints& weight_shape,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    int64_t groups) {
  const ConvShape s = conv_shape(shape(x_), weight_shape, stride, padding, dilation, groups);
  check_like("g", g_, x_);
  const Tensor x = torch::stable::contiguous(x_), g = torch::stable::contiguous(g_);
  const bool batched = g.dim() > 4, weight_batched = weight_shape.size() > 4;
  const int64_t tasks = batched ? g.size(0) : 1, images = g.size(-4);
  STD_TORCH_CHECK(
      batched || (x.dim() == 4 && !weight_batched),
      "conv2d_weight_grad: g must have the task dimension of x and weight");
  STD_TORCH_CHECK(
      g.size(-3) == s.groups * s.O && g.size(-2) == s.OH && g.size(-1) == s.OW && x.size(-4) == images,
      "conv2d_weight_grad: g does not have the shape of the result");
  Tensor gw = torch::stable::new_zeros(x, weight_shape);
  Tensor gb = torch::stable::new_zeros(x, batched ? Ints{tasks, s.groups * s.O} : Ints{s.groups * s.O});
  if (tasks * images == 0) return {gw, gb};
  const TaskSteps steps{tasks, images, x.dim() > 4 ? images * s.in_image() : 0, 0, images * s.out_image()};
  const int64_t chunk_images =
      std::max(images * tasks / kChunks, 1 + 800000 / (s.kernel_size() * s.out_plane() + 1));
  const int64_t chunks = (images + chunk_images - 1) / chunk_images;
  ROTFAST_DISPATCH(x.scalar_type(), "conv2d_weight_grad", {
    const int64_t channels = s.groups * s.O, taps = s.taps();
    std::vector<scalar_t> partial(tasks * chunks * channels * (taps + 1));
    const ParameterGrads<scalar_t> grads{
        s, steps, data<scalar_t>(x), data<scalar_t>(g), partial.data(), chunk_images, chunks};
    torch::stable::parallel_for(0, tasks * chunks, 1, [&](int64_t begin, int64_t end) {
      has_wide_vectors() ? parameter_grads_wide(grads, begin, end)
                         : parameter_grads_narrow(grads, begin, end);
    });
    const scalar_t* in = partial.data();
    for (int64_t index = 0; index < tasks * chunks; ++index) {
      scalar_t* out = mutable_data<scalar_t>(gw) + (weight_batched ? index / chunks * s.kernel_size() : 0);
      scalar_t* total = mutable_data<scalar_t>(gb) + index / chunks * channels;
      for (int64_t channel = 0; channel < channels; ++channel) {
        for (int64_t tap = 0; tap < taps; ++tap) *out++ += *in++;
        *total++ += *in++;
      }
    }
  });
  return {gw, gb};
}

Tensor conv2d_weight_grad(
    const Tensor& x,
    const Tensor& g,
    const Ints& weight_shape,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    int64_t groups) {
  return std::get<0>(conv2d_parameter_grads(x, g, weight_shape, stride, padding, dilation, groups));
}

}  // namespace
}  // namespace rotfast

STABLE_TORCH_LIBRARY_FRAGMENT(rotfast, m) {
  m.def(
      "conv2d(Tensor x, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] dilation, int groups)"
      " -> Tensor");
  m.def(
      "conv2d_input_grad(Tensor g, Tensor weight, int[] x_shape, int[] stride, int[] padding, int[] dilation,"
      " int groups) -> Tensor");
  m.def(
      "conv2d_weight_grad(Tensor x, Tensor g, int[] weight_shape, int[] stride, int[] padding, int[] "
      "dilation,"
      " int groups) -> Tensor");
  m.def(
      "conv2d_parameter_grads(Tensor x, Tensor g, int[] weight_shape, int[] stride, int[] padding,"
      " int[] dilation, int groups) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(rotfast, CPU, m) {
  m.impl("conv2d", TORCH_BOX(&rotfast::conv2d));
  m.impl("conv2d_input_grad", TORCH_BOX(&rotfast::conv2d_input_grad));
  m.impl("conv2d_weight_grad", TORCH_BOX(&rotfast::conv2d_weight_grad));
  m.impl("conv2d_parameter_grads", TORCH_BOX(&rotfast::conv2d_parameter_grads));
}
