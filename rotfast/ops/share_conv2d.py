"""share_conv2d: autograd, vmap and fake kernels over torch.ops.rotfast.conv2d and its derivatives.

For few input channels one Function expands the kernel and convolves directly; elsewhere the fused
expansion is followed by the library's convolution.

Convolution, its input gradient and its weight gradient are the three derivatives of one trilinear form
⟨g, conv2d(x, W)⟩: each one's backward is the other two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast import backend, reference
from rotfast.ops import triton
from rotfast.ops.autograd import Operator, batch_as_tasks, call, in_float32, is_needed, match_tasks, needed
from rotfast.ops.expand_dense import expand_dense
from rotfast.ops.expand_kronecker import (
    ExpandKronecker,
    ExpandKroneckerBackward,
    expand_kronecker,
    why_not_fused,
)

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


# Kernel taps per group (input channels x kh x kw) up to which the direct kernel beats oneDNN.
_DIRECT_TAPS = 32
# On a GPU: with more, the expanded kernel goes to cuDNN. Chosen without one, not measured.
_CUDA_TAPS = 64
# Images x pixels x output channels up to which the call's overhead decides; not measured on a GPU.
_SMALL = 1 << 15

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
        bias_dim = ctx.bias_dim if ctx.needs_input_grad[2] else None
        return (
            call(ConvInputGrad, g, W, x.dim() > 4, ctx.geometry) if is_needed(ctx, 0) else None,
            *parameter_grads(x, g, W.dim() > 4, ctx.geometry, is_needed(ctx, 1), bias_dim),
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


class ShareConv2d(Operator):
    """conv2d(x, (A ⊗ B ⊗ C) weight) + bias in one Function; the kernel is generated again in backward."""

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, A: Tensor, B: Tensor, C: Tensor, bias: Tensor | None, geometry: Geometry
    ) -> Tensor:
        W = torch.ops.rotfast.expand_kronecker(weight.flatten(-2), A, B, C)
        return torch.ops.rotfast.conv2d(x, W.view(*W.shape[:-1], *geometry.kernel), bias, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, bias, ctx.geometry = inputs
        ctx.save_for_backward(*tensors)
        ctx.bias_dim = None if bias is None else bias.dim()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, A, B, C = ctx.saved_tensors
        needs_factors = any(is_needed(ctx, position) for position in range(1, 5))
        needs_bias = ctx.needs_input_grad[5]  # comes for nothing with the others, not worth the question
        w, taps = weight.flatten(-2), weight.shape[-2:]
        gx: Tensor | None = None
        factors: tuple[Tensor | None, ...] = (None,) * 4
        per_task = any(t.dim() > rank for t, rank in ((w, 3), (A, 2), (B, 2), (C, 2)))
        gW, g_bias = parameter_grads(
            x, g, per_task, ctx.geometry, needs_factors, ctx.bias_dim if needs_bias else None
        )
        if is_needed(ctx, 0):
            W = call(ExpandKronecker, w, A, B, C)
            W = W.view(*W.shape[:-1], *taps)
            gx = call(ConvInputGrad, g, W, x.dim() > 4, ctx.geometry)
        if gW is not None:
            gw, *g_warps = call(ExpandKroneckerBackward, gW.flatten(-2), w, A, B, C)
            factors = (gw.view(weight.shape), *g_warps)
        return gx, *factors, g_bias, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        tensors, geometry = args[:6], args[6]

        def run(x: Tensor, *rest: Any) -> Tensor:
            *factors, bias = rest
            return ShareConv2d.apply(
                share_images(x, factors[0], bias, *factors[1:]), *factors, bias, geometry
            )

        return batch_as_tasks(info.batch_size, in_dims[:6], tensors, (4, 4, 2, 2, 2, 1), run), 0


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


def why_not_direct(x: Tensor, W_dtype: torch.dtype, W_shape: Sequence[int]) -> str | None:
    """Why the direct convolution does not serve these arguments, or None."""
    if (reason := backend.why_not_compiled()) is not None:
        return reason
    if not x.is_cpu and (reason := triton.why_not(x)) is not None:
        return reason
    if x.dtype != W_dtype or (x.is_cpu and in_float32(x)):
        return f"the library's convolution serves {x.dtype}"
    taps = W_shape[-3] * W_shape[-2] * W_shape[-1]
    limit = _DIRECT_TAPS if x.is_cpu else _CUDA_TAPS
    if taps > limit:
        return f"{taps} taps per group, more than {limit}"
    if x.stride(-3) == 1 and x.shape[-3] > 1 and x.shape[-1] > 1:
        return "channels_last images"
    return None


def _is_small(x: Tensor, W: Tensor) -> bool:
    if torch.compiler.is_compiling():  # no overhead to save, and the choice would bind the number of images
        return False
    return x.numel() // x.shape[-3] * W.shape[-4] <= _SMALL


def library_conv2d(x: Tensor, W: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """torch's convolution; tasks become groups when the kernel has a task dimension."""
    stride, padding, dilation, groups = geometry
    if W.dtype != x.dtype:
        W = W.to(x.dtype)
        bias = None if bias is None else bias.to(x.dtype)
    if 0 in (x.shape[0], W.shape[0]):
        return reference.conv2d(x, W, bias, *geometry)
    if W.dim() == 4:
        if bias is not None and bias.dim() == 2:
            y = library_conv2d(x, W, None, geometry)
            return y + bias[:, None, :, None, None]
        images = x.flatten(0, 1) if x.dim() == 5 else x
        y = F.conv2d(images, W, bias, stride, padding, dilation, groups)
        return y.unflatten(0, x.shape[:2]) if x.dim() == 5 else y
    tasks = W.shape[0]
    if x.dim() == 5:
        images = x.transpose(0, 1).flatten(1, 2)
    else:
        images = x.unsqueeze(1).expand(-1, tasks, -1, -1, -1).flatten(1, 2)
    if bias is not None:
        bias = (bias if bias.dim() == 2 else bias.expand(tasks, -1)).flatten()
    y = F.conv2d(images, W.flatten(0, 1), bias, stride, padding, dilation, tasks * groups)
    return y.unflatten(1, (tasks, -1)).transpose(0, 1)


def share_conv2d(
    x: Tensor,
    weight: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """conv2d(x, (A ⊗ B ⊗ C) weight) + bias by the best backend; arguments are checked already."""
    geometry = make_geometry(x, weight.shape, stride, padding, dilation, groups)
    if (reason := backend.why_not_compiled()) is not None:
        backend.explain("share_conv2d", "reference", reason)
        return reference.share_conv2d(x, weight, A, B, C, bias, *geometry)
    if _is_small(x, weight):
        reason = "small: torch's operators have less overhead than a Function"
    else:
        reason = why_not_direct(x, weight.dtype, weight.shape)
    if reason is None and why_not_fused(weight.flatten(-2), A, B, C) is None:
        backend.explain(
            "share_conv2d", "cpu" if x.is_cpu else "Triton", "fused expansion and direct convolution"
        )
        return call(ShareConv2d, share_images(x, weight, bias, A, B, C), weight, A, B, C, bias, geometry)
    W = expand_kronecker(weight.flatten(-2), A, B, C)
    W = W.view(*W.shape[:-1], *weight.shape[-2:])
    return _convolve("share_conv2d", x, W, bias, geometry, reason)


def _convolve(
    operator: str, x: Tensor, W: Tensor, bias: Tensor | None, geometry: Geometry, reason: str | None
) -> Tensor:
    """Convolve with a generated kernel, directly unless there is a reason against it."""
    if reason is None:
        backend.explain(operator, "cpu" if x.is_cpu else "Triton", "expansion, then direct convolution")
        return call(DirectConv2d, share_images(x, W, bias), W, bias, geometry)
    backend.explain(operator, "expansion, then torch.conv2d", reason)
    return library_conv2d(x, W, bias, geometry)


def share_conv2d_full(
    x: Tensor,
    U: Tensor,
    v: Tensor,
    bias: Tensor | None,
    weight_shape: tuple[int, int, int, int],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """conv2d(x, reshape(U v, weight_shape)) + bias by the best backend; arguments are checked already."""
    geometry = make_geometry(x, weight_shape, stride, padding, dilation, groups)
    if (reason := backend.why_not_compiled()) is not None:
        backend.explain("share_conv2d_full", "reference", reason)
        return reference.share_conv2d_full(x, U, v, bias, weight_shape, *geometry)
    W = expand_dense(U, v).unflatten(-1, weight_shape)
    return _convolve("share_conv2d_full", x, W, bias, geometry, why_not_direct(x, W.dtype, weight_shape))
