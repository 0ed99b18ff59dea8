// Arguments of the fused circuit's operators, and how their work is cut into blocks.
#pragma once

#include <algorithm>
#include <memory>

#include "common/tensor.h"
#include "conv_relu_linear/patches.h"
#include "conv_relu_linear/tiles.h"
#include "share_conv2d/shape.h"

namespace rotfast {

// A tensor without gaps, and the elements between its tasks: 0 where all share one, also one that was
// expanded.
struct Tasked {
  Tensor tensor;
  int64_t step = 0, tasks = 0;

  Tasked(const Tensor& given, int64_t rank) : tensor(given), tasks(task_count(given, rank)) {
    const bool expanded = tasks > 0 && given.strides()[0] == 0;
    tensor = torch::stable::contiguous(expanded ? torch::stable::select(given, 0, 0) : given);
    if (tasks > 0 && !expanded) step = tensor.numel() / tasks;
  }

  template <class T>
  const T* of_task(int64_t t) const {
    return data<T>(tensor) + t * step;
  }
};

inline int64_t optional_tasks(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? task_count(*tensor, 1) : 0;
}

// Images are counted through all tasks. Tasks whose weight is the same, and whose weight gradients are
// summed, are pooled: they are as one head's images, though each image keeps its task's kernel.
struct Circuit {
  ConvShape conv;  // one group
  int64_t tasks, images, outputs;
  bool pooled = false;

  int64_t heads() const { return pooled ? 1 : tasks; }
  int64_t head_images() const { return pooled ? tasks * images : images; }

  int64_t features() const { return conv.O * conv.out_plane(); }
  int64_t columns() const { return conv.taps() + 1; }  // of the kernel's gradient, its bias being the last
};

Circuit circuit_of(
    const Tensor& x,
    const Tensor& kernel,
    const Tensor& weight,
    const Ints& stride,
    const Ints& padding,
    const Ints& dilation,
    int64_t tasks);

// Kernels packed by pack_rows, and their biases; one for all tasks or one each.
template <class T>
struct Kernels {
  std::vector<T> packed;
  int64_t packed_step;
  std::optional<Tasked> bias;

  Kernels(const Circuit& c, const Tasked& kernel, const std::optional<Tensor>& given_bias) {
    const int64_t taps = c.conv.taps(), size = packed_size(c.conv.O, taps);
    const int64_t count = kernel.step != 0 ? c.tasks : 1;
    packed_step = kernel.step != 0 ? size : 0;
    packed.resize(count * size);
    for (int64_t k = 0; k < count; ++k) {
      pack_rows(c.conv.O, taps, kernel.of_task<T>(k), taps, int64_t(1), packed.data() + k * size);
    }
    if (given_bias.has_value()) bias.emplace(*given_bias, 1);
  }

  const T* of_task(int64_t t) const { return packed.data() + t * packed_step; }
  const T* bias_of_task(int64_t t) const { return bias.has_value() ? bias->of_task<T>(t) : nullptr; }
};

// A unit of work is one head and a few groups of channels. It goes through panels of positions and blocks of
// images, so small that the activations of a group of channels stay in cache, as do `matrices` as large as
// the weight's columns of the unit.
constexpr int64_t kImages = 10;
constexpr int64_t kPanel = 704;
constexpr int64_t kWeights = int64_t(1) << 17;

struct Cut {
  int64_t channels, units;  // channels of a unit, units of a head
  int64_t panel, images;    // positions of a panel, images of a block

  Cut(const Circuit& c, int64_t matrices) {
    const int64_t plane = c.conv.out_plane(), panels = (plane + kPanel - 1) / kPanel;
    panel = panels == 1 ? plane : ((plane + panels - 1) / panels + 15) / 16 * 16;
    const int64_t blocks = (c.head_images() + kImages - 1) / kImages;
    images = (c.head_images() + blocks - 1) / blocks;
    channels =
        std::clamp(kWeights / (matrices * c.outputs * panel * kGroup), int64_t(1), int64_t(4)) * kGroup;
    units = (c.conv.O + channels - 1) / channels;
  }
};

// Memory on cache lines, not initialized.
template <class T>
class Aligned {
 public:
  explicit Aligned(int64_t size) : memory_(new char[size * sizeof(T) + 64]) {}
  T* data() const {
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory_.get()) + 63) / 64 * 64);
  }

 private:
  std::unique_ptr<char[]> memory_;
};

// One panel of positions and its patches, for a block of images and a group of channels at a time.
template <class T>
struct Panel {
  const Circuit& circuit;
  Patches<T> patches;
  bool whole;   // the channels' positions lie side by side, as in the weight
  Block block;  // the current images and channels
  int64_t first = 0, channel = 0;
  Aligned<T> inputs;
  std::vector<int64_t> output_offsets;

  Panel(const Circuit& c, const Cut& cut, int64_t begin)
      : circuit(c),
        patches(c.conv, begin, std::min(begin + cut.panel, c.conv.out_plane())),
        whole(patches.positions == c.conv.out_plane()),
        block{cut.images, 0, patches.positions, whole ? patches.positions : padded(patches.positions), 0},
        inputs(cut.images * patches.size) {
    block.image_step = padded(kGroup * block.pitch);
    for (int64_t o = 0; o < c.outputs; ++o) output_offsets.push_back(o * c.features());
    for (int64_t n = 0; n < cut.images; ++n) patches.fill_ones(inputs.data() + n * patches.size);
  }

  static int64_t padded(int64_t count) { return (count + kWidest<T> - 1) / kWidest<T> * kWidest<T>; }

  void load(const Tasked& x, int64_t first_image, int64_t count) {
    first = first_image;
    block.images = count;
    for (int64_t n = 0; n < count; ++n) {
      const T* image = x.of_task<T>((first + n) / circuit.images);
      image += (first + n) % circuit.images * circuit.conv.in_image();
      patches.fill(image, inputs.data() + n * patches.size);
    }
  }

  void select(int64_t first_channel) {
    channel = first_channel;
    block.channels = std::min(kGroup, circuit.conv.O - channel);
  }

  int64_t runs() const { return whole ? 1 : block.channels; }
  int64_t run() const { return whole ? block.channels * block.positions : block.positions; }

  // This panel's and group's first column in an (outputs, features) matrix.
  int64_t column() const { return channel * circuit.conv.out_plane() + patches.begin; }

  // out = relu(conv2d), or conv2d where `where` is active.
  void convolve(const Kernels<T>& kernels, const T* where, T* out) const {
    const int64_t taps = circuit.conv.taps();
    for (int64_t n = 0; n < block.images; ++n) {
      const int64_t at = n * block.image_step, t = (first + n) / circuit.images;
      const T* bias = kernels.bias_of_task(t);
      const Convolution<T> step{
          .taps = taps,
          .packed = kernels.of_task(t) + channel * taps,
          .bias = bias == nullptr ? nullptr : bias + channel,
          .patches = inputs.data() + n * patches.size,
          .offsets = patches.offsets.data(),
          .where = where == nullptr ? nullptr : where + at,
          .out = out + at};
      rotfast::convolve(block, step);
    }
  }

  // scores[image, output] += values weight^T
  void add_scores(const T* values, const T* weight, T* scores) const {
    const Inner<T> inner{
        .x = values,
        .rows = block.images,
        .row_step = block.image_step,
        .x_depth_step = block.pitch,
        .y = weight + column(),
        .columns = circuit.outputs,
        .offsets = output_offsets.data(),
        .y_depth_step = circuit.conv.out_plane(),
        .depth = runs(),
        .positions = run()};
    inner_products(inner, scores);
  }

  // back = g weight where active; grad (+)= g^T values
  void spread(
      const T* g, const T* weight, const T* values, const T* active, bool accumulate, T* back, T* grad)
      const {
    const Spread<T> step{
        .runs = runs(),
        .positions = run(),
        .g = g,
        .weight = weight + column(),
        .values = values,
        .active = active,
        .back = back,
        .grad = grad + column(),
        .outputs = circuit.outputs,
        .output_step = circuit.features(),
        .channel_step = circuit.conv.out_plane(),
        .accumulate = accumulate};
    rotfast::spread(block, step);
  }

  // grad[task, channel, tap (last: bias)] += the gradient from that of the activations
  void add_kernel_grad(const T* back, T* grad) const {
    for (int64_t n = 0; n < block.images;) {
      const int64_t t = (first + n) / circuit.images;
      const int64_t count = std::min((t + 1) * circuit.images - first, block.images) - n;
      const Inner<T> inner{
          .x = back + n * block.image_step,
          .rows = block.channels,
          .row_step = block.pitch,
          .x_depth_step = block.image_step,
          .y = inputs.data() + n * patches.size,
          .columns = circuit.columns(),
          .offsets = patches.offsets.data(),
          .y_depth_step = patches.size,
          .depth = count,
          .positions = block.positions};
      inner_products(inner, grad + (t * circuit.conv.O + channel) * circuit.columns());
      n += count;
    }
  }
};

// Sums scores (heads, units, images, outputs) over units.
template <class T>
void sum_units(const Circuit& c, const Cut& cut, const std::vector<T>& scores, T* sums) {
  const int64_t size = c.head_images() * c.outputs;
  for (int64_t e = 0; e < c.heads() * size; ++e) {
    const T* in = scores.data() + e / size * cut.units * size + e % size;
    T sum = T(0);
    for (int64_t unit = 0; unit < cut.units; ++unit) sum += in[unit * size];
    sums[e] = sum;
  }
}

// Elements for the activations of a block.
template <class T>
int64_t block_size(const Cut& cut) {
  return cut.images * kGroup * Panel<T>::padded(cut.panel) + kWidest<T>;
}

// Calls body(panel) for every panel, block of images and group of channels of a unit.
template <class T, class F>
void for_blocks(
    const Circuit& c, const Cut& cut, int64_t head, int64_t unit, const Tasked& x, const F& body) {
  const int64_t begin = unit * cut.channels, end = std::min(begin + cut.channels, c.conv.O);
  for (int64_t position = 0; position < c.conv.out_plane(); position += cut.panel) {
    Panel<T> panel(c, cut, position);
    for (int64_t n = 0; n < c.head_images(); n += cut.images) {
      panel.load(x, head * c.head_images() + n, std::min(cut.images, c.head_images() - n));
      for (int64_t channel = begin; channel < end; channel += kGroup) {
        panel.select(channel);
        body(panel);
      }
    }
  }
}

}  // namespace rotfast
