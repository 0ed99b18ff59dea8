"""share_conv2d: a generated kernel, then a convolution.

For few input channels one Function expands the kernel and convolves directly; elsewhere the fused
expansion is followed by the library's convolution.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast import backend, reference
from rotfast.ops import triton
from rotfast.ops.autograd import Operator, batch_as_tasks, call, in_float32, needed
from rotfast.ops.conv2d import (
    ConvInputGrad,
    DirectConv2d,
    Geometry,
    Pair,
    make_geometry,
    parameter_grads,
    share_images,
)
from rotfast.ops.expand_dense import expand_dense
from rotfast.ops.expand_kronecker import (
    ExpandKronecker,
    ExpandKroneckerBackward,
    expand_kronecker,
    why_not_fused,
)

# Kernel taps per group (input channels x kh x kw) up to which the direct kernel beats oneDNN.
_DIRECT_TAPS = 32
# On a GPU: with more, the expanded kernel goes to cuDNN. Chosen without one, not measured.
_CUDA_TAPS = 64
# Images x pixels x output channels up to which the call's overhead decides; not measured on a GPU.
_SMALL = 1 << 15


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
        needs_x, *needs_factors, needs_bias, _ = needed(ctx)
        w, taps = weight.flatten(-2), weight.shape[-2:]
        gx: Tensor | None = None
        factors: tuple[Tensor | None, ...] = (None,) * 4
        per_task = any(t.dim() > rank for t, rank in ((w, 3), (A, 2), (B, 2), (C, 2)))
        gW, g_bias = parameter_grads(
            x, g, per_task, ctx.geometry, any(needs_factors), ctx.bias_dim if needs_bias else None
        )
        if needs_x:
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
