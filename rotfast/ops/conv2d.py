"""conv2d: autograd, vmap and fake kernels over torch.ops.rotfast.conv2d and its derivatives.

Convolution, its input gradient and its weight gradient are the three derivatives of one trilinear form
⟨g, conv2d(x, W)⟩: each one's backward is the other two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rotfast import backend
from rotfast.ops.autograd import Operator, batch_as_tasks, call, match_tasks, needed

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """What a convolution needs to know besides its tensors.

    A class of its own, not a tuple: torch.func takes tuples apart at every call, which costs more than the
    kernels of small problems.
    """

    image: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def __iter__(self) -> Iterator[Any]:
        """stride, padding, dilation, groups: the tail of every convolution's arguments."""
        return iter((self.stride, self.padding, self.dilation, self.groups))


if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::conv2d")
    def _fake(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
    ) -> Tensor:
        tasks = [x.shape[0]] if x.dim() > 4 else [weight.shape[0]] if weight.dim() > 4 else []
        size = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(x.shape[-2:], weight.shape[-2:], stride, padding, dilation, strict=True)
        ]
        return x.new_empty([*tasks, x.shape[-4], weight.shape[-4], *size])

    @torch.library.register_fake("rotfast::conv2d_input_grad")
    def _fake_input_grad(g: Tensor, weight: Tensor, x_shape: list[int], *geometry: Any) -> Tensor:
        return g.new_empty(x_shape)

    @torch.library.register_fake("rotfast::conv2d_weight_grad")
    def _fake_weight_grad(x: Tensor, g: Tensor, weight_shape: list[int], *geometry: Any) -> Tensor:
        return g.new_empty(weight_shape)

    @torch.library.register_fake("rotfast::conv2d_parameter_grads")
    def _fake_parameter_grads(
        x: Tensor, g: Tensor, weight_shape: list[int], *geometry: Any
    ) -> tuple[Tensor, Tensor]:
        return g.new_empty(weight_shape), g.new_empty([*g.shape[:-4], g.shape[-3]])


class DirectConv2d(Operator):
    """conv2d(x, W) + bias; each argument may carry a task dimension, bias only together with x or W."""

    @staticmethod
    def forward(x: Tensor, W: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        return torch.ops.rotfast.conv2d(x, W, bias, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, W, bias, ctx.geometry = inputs
        ctx.save_for_backward(x, W)
        ctx.bias_dim = None if bias is None else bias.dim()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, W = ctx.saved_tensors
        needs_x, needs_W, needs_bias, _ = needed(ctx)
        return (
            call(ConvInputGrad, g, W, x.dim() > 4, ctx.geometry) if needs_x else None,
            *parameter_grads(x, g, W.dim() > 4, ctx.geometry, needs_W, ctx.bias_dim if needs_bias else None),
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        tensors, geometry = args[:3], args[3]

        def run(x: Tensor, W: Tensor, bias: Tensor | None) -> Tensor:
            return DirectConv2d.apply(share_images(x, W, bias), W, bias, geometry)

        return batch_as_tasks(info.batch_size, in_dims[:3], tensors, (4, 4, 1), run), 0


class ConvInputGrad(Operator):
    """The gradient of ⟨g, conv2d(x, W)⟩ with respect to x, summed over tasks unless ``per_task``."""

    @staticmethod
    def forward(g: Tensor, W: Tensor, per_task: bool, geometry: Geometry) -> Tensor:
        tasks = g.shape[:-4] if per_task else ()
        x_shape = (*tasks, g.shape[-4], W.shape[-3] * geometry.groups, *geometry.image)
        return torch.ops.rotfast.conv2d_input_grad(g, W, x_shape, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        g, W, _, ctx.geometry = inputs
        ctx.save_for_backward(g, W)

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        g, W = ctx.saved_tensors
        needs_g, needs_W = needed(ctx)[:2]
        return (
            match_tasks(call(DirectConv2d, direction, W, None, ctx.geometry), g) if needs_g else None,
            call(ConvWeightGrad, direction, g, W.dim() > 4, ctx.geometry) if needs_W else None,
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        g, W, per_task, geometry = args
        nested = g.dim() - (in_dims[0] is not None) > 4

        def run(g: Tensor, W: Tensor) -> Tensor:
            return ConvInputGrad.apply(g, W, per_task if nested else True, geometry)

        return batch_as_tasks(info.batch_size, in_dims[:2], (g, W), (4, 4), run, expand=(0,)), 0


class ConvWeightGrad(Operator):
    """The gradient of ⟨g, conv2d(x, W)⟩ with respect to W, summed over tasks unless ``per_task``."""

    @staticmethod
    def forward(x: Tensor, g: Tensor, per_task: bool, geometry: Geometry) -> Tensor:
        tasks = g.shape[:-4] if per_task else ()
        W_shape = (*tasks, g.shape[-3], x.shape[-3] // geometry.groups, *geometry.kernel)
        return torch.ops.rotfast.conv2d_weight_grad(x, g, W_shape, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, g, _, ctx.geometry = inputs
        ctx.save_for_backward(x, g)

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        needs_x, needs_g = needed(ctx)[:2]
        return (
            call(ConvInputGrad, g, direction, x.dim() > 4, ctx.geometry) if needs_x else None,
            match_tasks(call(DirectConv2d, x, direction, None, ctx.geometry), g) if needs_g else None,
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        x, g, per_task, geometry = args
        nested = g.dim() - (in_dims[1] is not None) > 4

        def run(x: Tensor, g: Tensor) -> Tensor:
            return ConvWeightGrad.apply(x, g, per_task if nested else True, geometry)

        return batch_as_tasks(info.batch_size, in_dims[:2], (x, g), (4, 4), run, expand=(1,)), 0


class ConvParameterGrads(Operator):
    """ConvWeightGrad, and the gradient of a bias, not summed over tasks, from reading g once."""

    @staticmethod
    def forward(x: Tensor, g: Tensor, per_task: bool, geometry: Geometry) -> tuple[Tensor, Tensor]:
        if not x.is_cpu:
            return ConvWeightGrad.forward(x, g, per_task, geometry), bias_grad(g, g.dim() - 3)
        tasks = g.shape[:-4] if per_task else ()
        W_shape = (*tasks, g.shape[-3], x.shape[-3] // geometry.groups, *geometry.kernel)
        return torch.ops.rotfast.conv2d_parameter_grads(x, g, W_shape, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, g, _, ctx.geometry = inputs
        ctx.save_for_backward(x, g)

    @staticmethod
    def backward(ctx: Any, direction: Tensor, bias_direction: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        needs_x, needs_g = ctx.needs_input_grad[:2]
        gg: Tensor | None = None
        if needs_g:
            images = share_images(x, direction, bias_direction)
            gg = match_tasks(call(DirectConv2d, images, direction, bias_direction, ctx.geometry), g)
        return (
            call(ConvInputGrad, g, direction, x.dim() > 4, ctx.geometry) if needs_x else None,
            gg,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], *args: Any
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        x, g, per_task, geometry = args
        nested = g.dim() - (in_dims[1] is not None) > 4

        def run(x: Tensor, g: Tensor) -> Any:
            return ConvParameterGrads.apply(x, g, per_task if nested else True, geometry)

        return batch_as_tasks(info.batch_size, in_dims[:2], (x, g), (4, 4), run, expand=(1,)), (0, 0)


def make_geometry(
    x: Tensor, W_shape: Sequence[int], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Geometry:
    """The geometry of a convolution of x with a kernel of shape (…, kh, kw)."""
    image, kernel = (x.shape[-2], x.shape[-1]), (W_shape[-2], W_shape[-1])
    return Geometry(image, kernel, stride, padding, dilation, groups)


def parameter_grads(
    x: Tensor, g: Tensor, per_task: bool, geometry: Geometry, needs_W: bool, bias_dim: int | None
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of W and, unless ``bias_dim`` is None, of a bias of so many dimensions."""
    if not needs_W:
        return None, None if bias_dim is None else bias_grad(g, bias_dim)
    if bias_dim is None:
        return call(ConvWeightGrad, x, g, per_task, geometry), None
    gW, g_bias = call(ConvParameterGrads, x, g, per_task, geometry)
    return gW, g_bias.sum(0) if g_bias.dim() > bias_dim else g_bias


def bias_grad(g: Tensor, bias_dim: int) -> Tensor:
    """Sum the cotangent (N,O,H,W) or (T,N,O,H,W) down to a bias (O,) or (T,O)."""
    summed = g.sum((-2, -1)).sum(-2)  # half the time of one sum over all three
    return summed.sum(0) if summed.dim() > bias_dim else summed


def share_images(x: Tensor, W: Tensor, bias: Tensor | None, *warps: Tensor) -> Tensor:
    """Repeat images for all tasks when only the bias has tasks, which the kernel does not take."""
    alone = x.dim() == 4 and W.dim() == 4 and all(warp.dim() == 2 for warp in warps)
    if bias is not None and bias.dim() == 2 and alone:
        return x.expand(bias.shape[0], *x.shape)
    return x
