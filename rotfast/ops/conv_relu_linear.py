"""conv_relu_linear: autograd, vmap and fake kernels over torch.ops.rotfast.conv_relu_linear.

The kernel never writes the activations out and its backward computes them again. A backward that is itself to
be differentiated is composed of the convolution's and the linear map's own derivative operators.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rotfast import backend, reference
from rotfast.ops.autograd import batch_as_tasks, call, transformed
from rotfast.ops.share_conv2d import (
    ConvInputGrad,
    ConvWeightGrad,
    DirectConv2d,
    Geometry,
    Pair,
    bias_grad,
    library_conv2d,
    make_geometry,
    share_images,
    why_not_direct,
)
from rotfast.ops.share_linear import input_grad, library_linear, weight_grad

_RANKS = (4, 4, 1, 2, 1)
# Outputs of the head up to which recomputing the activations costs less than writing them out.
_OUTPUTS = 64

if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::conv_relu_linear")
    def _fake(
        x: Tensor,
        kernel: Tensor,
        kernel_bias: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        *steps: Any,
    ) -> Tensor:
        arguments = zip((x, kernel, kernel_bias, weight, bias), _RANKS, strict=True)
        tasks = [t.shape[0] for t, rank in arguments if t is not None and t.dim() > rank]
        return x.new_empty([*tasks[:1], x.shape[-4], weight.shape[-2]])

    @torch.library.register_fake("rotfast::conv_relu_linear_backward")
    def _fake_backward(
        g: Tensor,
        x: Tensor,
        kernel: Tensor,
        kernel_bias: Tensor | None,
        weight: Tensor,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        kernel_bias_per_task: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tasks = [g.shape[0]] if kernel_bias_per_task else []
        return (
            kernel.new_empty(kernel.shape),
            kernel.new_empty([*tasks, kernel.shape[-4]]),
            weight.new_empty(weight.shape),
        )


class ConvReluLinear(Function):
    """linear(flatten(relu(conv2d(x, kernel) + kernel_bias)), weight) + bias."""

    @staticmethod
    def forward(
        x: Tensor,
        kernel: Tensor,
        kernel_bias: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        geometry: Geometry,
    ) -> Tensor:
        return torch.ops.rotfast.conv_relu_linear(x, kernel, kernel_bias, weight, bias, *_steps(geometry))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, kernel, kernel_bias, weight, bias, ctx.geometry = inputs
        ctx.save_for_backward(x, kernel, kernel_bias, weight)
        ctx.bias_dim = None if bias is None else bias.dim()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel, kernel_bias, weight = ctx.saved_tensors
        needs_x, needs_kernel, needs_kernel_bias, needs_weight, needs_bias, _ = ctx.needs_input_grad
        g_bias: Tensor | None = None
        if needs_bias:
            g_bias = g.sum(-2)
            g_bias = g_bias.sum(0) if g_bias.dim() > ctx.bias_dim else g_bias
        if needs_x or torch.is_grad_enabled() or transformed():
            gradients = _composed_backward(
                g, x, kernel, kernel_bias, weight, ctx.geometry, ctx.needs_input_grad
            )
        else:
            per_task = kernel_bias is not None and kernel_bias.dim() > 1
            gradients = (
                None,
                *torch.ops.rotfast.conv_relu_linear_backward(
                    g, x, kernel, kernel_bias, weight, *_steps(ctx.geometry), per_task
                ),
            )
        gx, g_kernel, g_kernel_bias, g_weight = gradients
        return (
            gx,
            g_kernel if needs_kernel else None,
            g_kernel_bias if needs_kernel_bias else None,
            g_weight if needs_weight else None,
            g_bias,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        tensors, geometry = args[:5], args[5]

        def run(*tensors: Any) -> Tensor:
            return ConvReluLinear.apply(*tensors, geometry)

        return batch_as_tasks(info.batch_size, in_dims[:5], tensors, _RANKS, run), 0


def _steps(geometry: Geometry) -> tuple[Pair, Pair, Pair]:
    return geometry.stride, geometry.padding, geometry.dilation


def _composed_backward(
    g: Tensor,
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    weight: Tensor,
    geometry: Geometry,
    needs: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients for x, kernel, kernel_bias and weight by operators that can be differentiated again."""
    activations = call(DirectConv2d, share_images(x, kernel, kernel_bias), kernel, kernel_bias, geometry)
    features = activations.relu().flatten(-3)
    g_weight = weight_grad(g, features, like=weight) if needs[3] else None
    if not any(needs[:3]):
        return None, None, None, g_weight
    g_features = input_grad(g, weight, like=features).view_as(activations)
    g_activations = g_features * (activations > 0)
    return (
        call(ConvInputGrad, g_activations, kernel, x.dim() > 4, geometry) if needs[0] else None,
        call(ConvWeightGrad, x, g_activations, kernel.dim() > 4, geometry) if needs[1] else None,
        bias_grad(g_activations, kernel_bias.dim()) if kernel_bias is not None and needs[2] else None,
        g_weight,
    )


def conv_relu_linear(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    """linear(flatten(relu(conv2d(x, kernel)))) by the best backend; arguments are checked already."""
    geometry = make_geometry(x, kernel.shape, stride, padding, dilation, groups=1)
    reason = why_not_direct(x, kernel.dtype, kernel.shape)
    if reason is None and weight.shape[-2] > _OUTPUTS:
        reason = f"more than {_OUTPUTS} outputs"
    if reason is None:
        backend.explain("conv_relu_linear", "cpu", "fused kernel")
        return call(ConvReluLinear, x, kernel, kernel_bias, weight, bias, geometry)
    if backend.why_not_compiled() is not None:
        backend.explain("conv_relu_linear", "reference", reason)
        return reference.conv_relu_linear(x, kernel, kernel_bias, weight, bias, stride, padding, dilation)
    backend.explain("conv_relu_linear", "torch's convolution and product", reason)
    features = library_conv2d(x, kernel, kernel_bias, geometry).relu().flatten(-3)
    heads = [t.shape[0] for t, rank in ((weight, 2), (bias, 1)) if t is not None and t.dim() > rank]
    if heads and features.dim() == 2:
        features = features.expand(heads[0], *features.shape)
    return library_linear(features, weight, bias, tasks=features.dim() == 3)
