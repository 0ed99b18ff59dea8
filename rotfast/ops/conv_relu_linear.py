"""conv_relu_linear: autograd, vmap and fake kernels over torch.ops.rotfast.conv_relu_linear.

The CPU's kernels never write the activations out; on a GPU they are written once, bias and ReLU done.
Backward computes them again, and so does the CPU's kernel for the gradient of the gradient. The images'
gradients, the second order on a GPU and the third everywhere are composed of the convolution's and the linear
map's own derivative operators.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rotfast import backend, reference
from rotfast.ops.autograd import Operator, batch_as_tasks, call, match_tasks, needed
from rotfast.ops.conv2d import (
    ConvInputGrad,
    ConvWeightGrad,
    DirectConv2d,
    Geometry,
    Pair,
    bias_grad,
    make_geometry,
    share_images,
)
from rotfast.ops.share_conv2d import library_conv2d, why_not_direct
from rotfast.ops.share_linear import Linear, LinearWeightGrad, input_grad, library_linear


@dataclass(frozen=True)
class PerTask:
    """Which gradients keep the task dimension; the others are summed over tasks."""

    kernel: bool
    kernel_bias: bool
    weight: bool

    def __iter__(self) -> Iterator[bool]:
        """In the order of the operator's arguments."""
        return iter((self.kernel, self.kernel_bias, self.weight))


_RANKS = (4, 4, 1, 2, 1)
# Outputs of the head up to which recomputing the activations costs less than writing them out.
OUTPUTS = 64

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
        kernel_per_task: bool,
        kernel_bias_per_task: bool,
        weight_per_task: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        per_task = PerTask(kernel_per_task, kernel_bias_per_task, weight_per_task)
        sizes = (kernel.shape[-4:], kernel.shape[-4:-3], weight.shape[-2:])
        results = [
            g.new_empty([*g.shape[:-2], *size] if flag else [*size])
            for size, flag in zip(sizes, per_task, strict=True)
        ]
        return results[0], results[1], results[2]

    @torch.library.register_fake("rotfast::conv_relu_linear_double_backward")
    def _fake_double_backward(
        g: Tensor,
        x: Tensor,
        kernel: Tensor,
        kernel_bias: Tensor | None,
        weight: Tensor,
        d_kernel: Tensor,
        d_kernel_bias: Tensor | None,
        d_weight: Tensor,
        *rest: Any,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return g.new_empty(g.shape), *_fake_backward(g, x, kernel, kernel_bias, weight, *rest)


class ConvReluLinear(Operator):
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
        needs_x, needs_kernel, needs_kernel_bias, needs_weight, needs_bias, _ = needed(ctx)
        g_bias: Tensor | None = None
        if needs_bias:
            g_bias = g.sum(-2)
            g_bias = g_bias.sum(0) if g_bias.dim() > ctx.bias_dim else g_bias
        geometry = ctx.geometry
        per_task = PerTask(
            kernel.dim() > 4, kernel_bias is not None and kernel_bias.dim() > 1, weight.dim() > 2
        )
        if needs_x:
            gradients = _composed(g, x, kernel, kernel_bias, weight, per_task, geometry, needs_x=True)
        else:
            arguments = (g, x, kernel, kernel_bias, weight)
            gradients = (None, *call(ConvReluLinearGrad, *arguments, per_task, geometry))
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


class ConvReluLinearGrad(Operator):
    """The gradients of ⟨g, result⟩ with respect to kernel, kernel_bias and weight."""

    @staticmethod
    def forward(
        g: Tensor,
        x: Tensor,
        kernel: Tensor,
        kernel_bias: Tensor | None,
        weight: Tensor,
        per_task: PerTask,
        geometry: Geometry,
    ) -> tuple[Tensor, ...]:
        return torch.ops.rotfast.conv_relu_linear_backward(
            g, x, kernel, kernel_bias, weight, *_steps(geometry), *per_task
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, _, ctx.geometry = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, d_kernel: Tensor, d_bias: Tensor, d_weight: Tensor) -> tuple[Tensor | None, ...]:
        """Of ⟨g, d⟩, d being the change of the result when kernel, kernel_bias and weight move by the d_*."""
        _, x, kernel, kernel_bias, weight = ctx.saved_tensors
        needs_g, needs_x, *needs_parameters = needed(ctx)[:5]
        arguments = (*ctx.saved_tensors, d_kernel, None if kernel_bias is None else d_bias, d_weight)
        per_task = PerTask(
            kernel.dim() > 4, kernel_bias is not None and kernel_bias.dim() > 1, weight.dim() > 2
        )
        d_x: Tensor | None = None
        if needs_x or not x.is_cpu:
            d_g, d_x, *parameters = _composed_double(arguments, per_task, ctx.geometry, needs_x=needs_x)
        else:
            d_g, *parameters = call(ConvReluLinearDoubleGrad, *arguments, per_task, ctx.geometry)
        wanted = [p if needs else None for p, needs in zip(parameters, needs_parameters, strict=True)]
        return d_g if needs_g else None, d_x, *wanted, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, tuple[int, ...]]:
        tensors, per_task, geometry = args[:5], args[5], args[6]
        nested = tensors[0].dim() - (in_dims[0] is not None) > 2

        def run(*tensors: Any) -> tuple[Tensor, ...]:
            flags = per_task if nested else PerTask(True, True, True)
            return ConvReluLinearGrad.apply(*tensors, flags, geometry)

        ranks = (2, *_RANKS[:4])
        return batch_as_tasks(info.batch_size, in_dims[:5], tensors, ranks, run, expand=(0,)), (0, 0, 0)


class ConvReluLinearDoubleGrad(Operator):
    """The gradients of ⟨g, d⟩ with respect to g, kernel, kernel_bias and weight.

    d is the change of the result when kernel, kernel_bias and weight move by the d_*.
    """

    @staticmethod
    def forward(
        g: Tensor,
        x: Tensor,
        kernel: Tensor,
        kernel_bias: Tensor | None,
        weight: Tensor,
        d_kernel: Tensor,
        d_kernel_bias: Tensor | None,
        d_weight: Tensor,
        per_task: PerTask,
        geometry: Geometry,
    ) -> tuple[Tensor, ...]:
        return torch.ops.rotfast.conv_relu_linear_double_backward(
            g,
            x,
            kernel,
            kernel_bias,
            weight,
            d_kernel,
            d_kernel_bias,
            d_weight,
            *_steps(geometry),
            *per_task,
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.per_task, ctx.geometry = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        """Third order: composed, as nobody's training step takes it."""
        tensors = ctx.saved_tensors
        given = [position for position, t in enumerate(tensors) if t is not None]

        def composed(*present: Tensor) -> tuple[Tensor, ...]:
            arguments: list[Any] = [None] * len(tensors)
            for position, t in zip(given, present, strict=True):
                arguments[position] = t
            d_g, _, *parameters = _composed_double(arguments, ctx.per_task, ctx.geometry, needs_x=False)
            return tuple(t for t in (d_g, *parameters) if t is not None)

        kept = cotangents if tensors[3] is not None else (*cotangents[:2], cotangents[3])
        pull = torch.func.vjp(composed, *(tensors[position] for position in given))[1]
        gradients: list[Tensor | None] = [None] * (len(tensors) + 2)
        for position, gradient in zip(given, pull(kept), strict=True):
            gradients[position] = gradient
        return tuple(gradients)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, tuple[int, ...]]:
        tensors, per_task, geometry = args[:8], args[8], args[9]
        nested = tensors[0].dim() - (in_dims[0] is not None) > 2

        def run(*tensors: Any) -> tuple[Tensor, ...]:
            flags = per_task if nested else PerTask(True, True, True)
            return ConvReluLinearDoubleGrad.apply(*tensors, flags, geometry)

        ranks = (2, *_RANKS[:4], *_RANKS[1:4])
        return batch_as_tasks(info.batch_size, in_dims[:8], tensors, ranks, run, expand=(0,)), (0, 0, 0, 0)


def _steps(geometry: Geometry) -> tuple[Pair, Pair, Pair]:
    return geometry.stride, geometry.padding, geometry.dilation


def _composed(
    g: Tensor,
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    weight: Tensor,
    per_task: PerTask,
    geometry: Geometry,
    *,
    needs_x: bool,
) -> tuple[Tensor | None, ...]:
    """Gradients for x, kernel, kernel_bias and weight by operators that can be differentiated again."""
    images = share_images(x, kernel, kernel_bias)
    activations = call(DirectConv2d, images, kernel, kernel_bias, geometry)
    features = activations.relu().flatten(-3)
    g_features = input_grad(g, weight, like=features).view_as(activations)
    g_activations = g_features * (activations > 0)
    g_kernel_bias: Tensor | None = None
    if kernel_bias is not None:
        g_kernel_bias = bias_grad(g_activations, 2 if per_task.kernel_bias else 1)
    return (
        call(ConvInputGrad, g_activations, kernel, x.dim() > 4, geometry) if needs_x else None,
        call(ConvWeightGrad, x, g_activations, per_task.kernel, geometry),
        g_kernel_bias,
        call(LinearWeightGrad, g, features, per_task.weight),
    )


def _composed_double(
    tensors: Sequence[Any], per_task: PerTask, geometry: Geometry, *, needs_x: bool
) -> tuple[Tensor | None, ...]:
    """ConvReluLinearDoubleGrad's results, and the gradient for x behind the first, by such operators."""
    g, x, kernel, kernel_bias, weight, d_kernel, d_kernel_bias, d_weight = tensors
    x_tasks = x.dim() > 4
    images = share_images(x, kernel, kernel_bias)
    if images.dim() == 4 and (per_task.kernel or per_task.kernel_bias):
        images = images.expand(g.shape[0], *images.shape)
    activations = call(DirectConv2d, images, kernel, kernel_bias, geometry)
    active = activations > 0
    d_images = share_images(images, d_kernel, d_kernel_bias)
    d_activations = call(DirectConv2d, d_images, d_kernel, d_kernel_bias, geometry) * active
    features, d_features = activations.relu().flatten(-3), d_activations.flatten(-3)
    d_g = match_tasks(call(Linear, d_features, weight) + call(Linear, features, d_weight), g)
    g_activations = input_grad(g, d_weight, like=features).view_as(activations) * active
    d_x: Tensor | None = None
    if needs_x:
        moved = input_grad(g, weight, like=d_features).view_as(d_activations) * active
        d_x = call(ConvInputGrad, g_activations, kernel, x_tasks, geometry)
        d_x = d_x + call(ConvInputGrad, moved, d_kernel, x_tasks, geometry)
    g_kernel_bias: Tensor | None = None
    if kernel_bias is not None:
        g_kernel_bias = bias_grad(g_activations, 2 if per_task.kernel_bias else 1)
    return (
        d_g,
        d_x,
        call(ConvWeightGrad, images, g_activations, per_task.kernel, geometry),
        g_kernel_bias,
        call(LinearWeightGrad, g, d_features, per_task.weight),
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
    if reason is None and weight.shape[-2] > OUTPUTS:
        reason = f"more than {OUTPUTS} outputs"
    if reason is None:
        backend.explain("conv_relu_linear", "cpu" if x.is_cpu else "Triton", "fused kernel")
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
