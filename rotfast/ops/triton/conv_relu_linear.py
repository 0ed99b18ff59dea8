"""A classifier of convolution, ReLU and head in two Triton kernels: bias and ReLU end the convolution's."""

import torch
from torch import Tensor

from rotfast.ops.triton.share_conv2d import conv2d_weight_grad, convolve
from rotfast.ops.triton.share_linear import linear, linear_input_grad, linear_weight_grad


def conv_relu_linear(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    """linear(flatten(relu(conv2d(x, kernel) + kernel_bias)), weight) + bias."""
    activations = convolve(x, kernel, kernel_bias, stride, padding, dilation, 1, relu=True)
    return linear(activations.flatten(-3), weight, bias)


def conv_relu_linear_backward(
    g: Tensor,
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    kernel_per_task: bool,
    kernel_bias_per_task: bool,
    weight_per_task: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of ⟨g, result⟩ with respect to kernel, kernel_bias and weight, summed unless per task."""
    activations = convolve(x, kernel, kernel_bias, stride, padding, dilation, 1, relu=True)
    features = activations.flatten(-3)
    per_task = activations.dim() > 4 or kernel_per_task or kernel_bias_per_task
    g_features = linear_input_grad(g, weight, per_task)
    active = torch.ops.aten.threshold_backward(g_features, features.expand_as(g_features), 0)
    g_activations = active.unflatten(-1, activations.shape[-3:])
    leading = g.shape[:-2] if kernel_per_task else ()
    kernel_shape = [*leading, *kernel.shape[-4:]]
    g_bias = g_activations.sum((-2, -1)).sum(-2)
    return (
        conv2d_weight_grad(x, g_activations, kernel_shape, stride, padding, dilation, 1),
        g_bias.sum(0) if per_task and not kernel_bias_per_task else g_bias,
        linear_weight_grad(g, features, weight_per_task),
    )
