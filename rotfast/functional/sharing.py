"""Weights generated from shared parameters, and the convolutions and linear maps that apply them.

Notation: T tasks, N images, O output and I input channels (or features), K kernel taps, L latent size.
A leading task dimension T stands for one weight set per task; arguments without it are shared by all tasks.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast import ops
from rotfast._checks import (
    IntOrPair,
    check_bias,
    check_data,
    check_dense,
    check_dim,
    check_extent,
    check_images,
    check_like,
    check_tasks,
    check_tensor,
    check_warp,
    check_weight_shape,
    pair,
)

__all__ = [
    "expand_dense",
    "expand_kronecker",
    "share_conv2d",
    "share_conv2d_full",
    "share_linear",
]

Padding = IntOrPair | Literal["same", "valid"]
_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")

# The rank of every tensor without a task dimension.
_KRONECKER_RANKS = {"weight": 3, "A": 2, "B": 2, "C": 2}
_DENSE_RANKS = {"U": 2, "v": 1}
_LINEAR_RANKS = {"U": 2, "v": 1, "bias": 1}
_CONV_RANKS = {"x": 4, "weight": 4, "A": 2, "B": 2, "C": 2, "bias": 1}
_CONV_FULL_RANKS = {"x": 4, "U": 2, "v": 1, "bias": 1}


def _pad(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    mode: str,
) -> tuple[Tensor, tuple[int, int]]:
    """Resolve padding: what a zero-padding convolution can do itself is returned, the rest is done here."""
    if mode not in _PADDING_MODES:
        raise ValueError(f"padding_mode must be one of {', '.join(_PADDING_MODES)}, got {mode!r}")
    if padding == "valid":
        return x, (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got {stride}")
        total = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
        before = (total[0] // 2, total[1] // 2)
        after = (total[0] - before[0], total[1] - before[1])
    elif isinstance(padding, str):
        raise ValueError(f"padding must be an int, a pair, 'same' or 'valid', got {padding!r}")
    else:
        before = after = pair("padding", padding, 0)
    if mode == "zeros" and before == after:
        return x, before
    widths = [before[1], after[1], before[0], after[0]]
    images = x.flatten(0, -4)
    padded = F.pad(images, widths, mode="constant" if mode == "zeros" else mode)
    return padded.unflatten(0, x.shape[:-3]), (0, 0)


def expand_kronecker(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Generate a weight by a Kronecker-structured sharing matrix: W = (A ⊗ B ⊗ C) w.

    W[o,i,k] = Σ_{p,q,l} A[o,p] B[i,q] C[k,l] weight[p,q,l]; differentiable to any order in every argument.

    Args:
        weight: free parameters, (P, Q, L) or (T, P, Q, L).
        A: output-channel warp, (O, P) or (T, O, P).
        B: input-channel warp, (I, Q) or (T, I, Q).
        C: kernel-tap warp, (K, L) or (T, K, L).

    Returns:
        (O, I, K), or (T, O, I, K) when any argument carries a task dimension.

    Raises:
        TypeError: an argument is no floating-point tensor, or the dtypes differ.
        ValueError: the shapes do not fit, or the devices differ; the message names the argument.

    Source: Zhou, Knowles, Finn 2020 (arXiv 2007.02933), section 4 and appendix, the factored form of U.

    Example:
        >>> import torch, rotfast
        >>> w = torch.arange(6.0).reshape(1, 2, 3)
        >>> swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> rotfast.expand_kronecker(w, torch.eye(1), swap, torch.eye(3))
        tensor([[[3., 4., 5.],
                 [0., 1., 2.]]])
    """
    check_tensor("weight", weight)
    check_dim("weight", weight, 3, 4, "(P, Q, L) or (T, P, Q, L)")
    P, Q, L = weight.shape[-3:]
    check_like("A", A, "weight", weight)
    check_like("B", B, "weight", weight)
    check_like("C", C, "weight", weight)
    check_warp("A", A, P, "dimension P of weight", square=False)
    check_warp("B", B, Q, "dimension Q of weight", square=False)
    check_warp("C", C, L, "dimension L of weight", square=False)
    check_tasks(_KRONECKER_RANKS, weight, A, B, C)
    return ops.expand_kronecker(weight, A, B, C)


def expand_dense(U: Tensor, v: Tensor) -> Tensor:
    """Generate a flat weight by a dense sharing matrix: W = U v.

    Args:
        U: sharing matrix, (M, L) or (T, M, L).
        v: latent parameters, (L,) or (T, L).

    Returns:
        (M,), or (T, M) when either argument carries a task dimension.

    Raises:
        TypeError: an argument is no floating-point tensor, or the dtypes differ.
        ValueError: the shapes do not fit, or the devices differ.

    Source: Zhou, Knowles, Finn 2020 (arXiv 2007.02933), section 4: vec(W) = U v.

    Example:
        >>> import torch, rotfast
        >>> rotfast.expand_dense(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([2.0, 3.0]))
        tensor([2., 5.])
    """
    check_dense(U, v)
    check_tasks(_DENSE_RANKS, U, v)
    return ops.expand_dense(U, v)


def share_conv2d(
    x: Tensor,
    weight: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """Convolve with a kernel generated by learned sharing: conv2d(x, (A ⊗ B ⊗ C) weight) + bias.

    The kernel is W[o,i,k] = Σ A[o,p] B[i,q] C[k,l] weight[p,q,l], with the kh·kw taps numbered row by row.
    Everything else is as in ``torch.nn.functional.conv2d`` (cross-correlation, NCHW).

    Args:
        x: images, (N, C, H, W) or (C, H, W); (T, N, C, H, W) gives each task its own images.
        weight: (O, C/groups, kh, kw) or (T, O, C/groups, kh, kw).
        A: output-channel warp, (O, O) or (T, O, O).
        B: input-channel warp, (C/groups, C/groups) or (T, C/groups, C/groups).
        C: tap warp, (kh·kw, kh·kw) or (T, kh·kw, kh·kw).
        bias: (O,) or (T, O).
        stride, padding, dilation, groups, padding_mode: as in ``torch.nn.Conv2d``.

    Returns:
        (N, O, H', W'), without N for an unbatched image, with a leading T when any argument has one.

    Raises:
        TypeError: an argument is no floating-point tensor, or the dtypes differ outside autocast.
        ValueError: the shapes or devices do not fit together, or groups does not divide the channels.

    Source: Zhou, Knowles, Finn 2020 (arXiv 2007.02933), section 4.

    Example:
        >>> import torch, rotfast
        >>> x, w = torch.randn(2, 1, 28, 28), torch.randn(32, 1, 3, 3)
        >>> y = rotfast.share_conv2d(x, w, torch.eye(32), torch.eye(1), torch.eye(9))
        >>> torch.allclose(y, torch.nn.functional.conv2d(x, w), atol=1e-5)
        True
    """
    check_tensor("weight", weight)
    check_dim("weight", weight, 4, 5, "(O, I, kh, kw) or (T, O, I, kh, kw)")
    O, I, kh, kw = weight.shape[-4:]  # noqa: E741
    dtype = check_data(x, "weight", weight)
    check_images(x, I, O, groups, "weight")
    check_like("A", A, "weight", weight)
    check_like("B", B, "weight", weight)
    check_like("C", C, "weight", weight)
    check_warp("A", A, O, "the output channels of weight", square=True)
    check_warp("B", B, I, "the input channels of weight", square=True)
    check_warp("C", C, kh * kw, "the kernel taps of weight", square=True)
    check_bias("bias", bias, O, "weight", weight)
    check_tasks(_CONV_RANKS, x, weight, A, B, C, bias)
    images, strides, pads, dilations = prepare_images(
        x, dtype, (kh, kw), stride, padding, dilation, padding_mode
    )
    y = ops.share_conv2d(images, weight, A, B, C, bias, strides, pads, dilations, groups)
    return y.squeeze(-4) if x.dim() == 3 else y


def prepare_images(
    x: Tensor,
    dtype: torch.dtype | None,
    kernel: tuple[int, int],
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    padding_mode: str,
) -> tuple[Tensor, tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Batched images as the operators take them, then stride, zero padding and dilation as pairs.

    Under autocast the data take its dtype, as in torch's convolution; generated weights follow.
    """
    strides, dilations = pair("stride", stride, 1), pair("dilation", dilation, 1)
    images = x.unsqueeze(0) if x.dim() == 3 else x
    images, pads = _pad(images, kernel, strides, padding, dilations, padding_mode)
    height, width = images.shape[-2:]
    check_extent("height", height + 2 * pads[0], dilations[0] * (kernel[0] - 1) + 1)
    check_extent("width", width + 2 * pads[1], dilations[1] * (kernel[1] - 1) + 1)
    return images if dtype is None else images.to(dtype), strides, pads, dilations


def share_conv2d_full(
    x: Tensor,
    U: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    *,
    weight_shape: Sequence[int],
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """Convolve with a kernel generated by a dense sharing matrix: conv2d(x, reshape(U v)) + bias.

    Args:
        x: images, (N, C, H, W) or (C, H, W); (T, N, C, H, W) gives each task its own images.
        U: sharing matrix, (O·I·kh·kw, L) or (T, O·I·kh·kw, L).
        v: latent parameters, (L,) or (T, L).
        bias: (O,) or (T, O).
        weight_shape: (O, I, kh, kw) with I = C/groups.
        stride, padding, dilation, groups, padding_mode: as in ``torch.nn.Conv2d``.

    Returns:
        (N, O, H', W'), without N for an unbatched image, with a leading T when any argument has one.

    Raises:
        TypeError: an argument is no floating-point tensor, or the dtypes differ outside autocast.
        ValueError: the shapes or devices do not fit together, or groups does not divide the channels.

    Source: Zhou, Knowles, Finn 2020 (arXiv 2007.02933), section 4: vec(W) = U v.

    Example:
        >>> import torch, rotfast
        >>> x = torch.randn(2, 1, 8, 8)
        >>> y = rotfast.share_conv2d_full(x, torch.randn(4 * 9, 5), torch.randn(5), weight_shape=(4, 1, 3, 3))
        >>> y.shape
        torch.Size([2, 4, 6, 6])
    """
    O, I, kh, kw = check_weight_shape(weight_shape)  # noqa: E741
    check_dense(U, v)
    if U.shape[-2] != O * I * kh * kw:
        raise ValueError(
            f"U must have {O * I * kh * kw} rows for weight_shape {(O, I, kh, kw)}, got {U.shape[-2]}"
        )
    dtype = check_data(x, "U", U)
    check_images(x, I, O, groups, "weight_shape")
    check_bias("bias", bias, O, "U", U)
    check_tasks(_CONV_FULL_RANKS, x, U, v, bias)
    images, strides, pads, dilations = prepare_images(
        x, dtype, (kh, kw), stride, padding, dilation, padding_mode
    )
    y = ops.share_conv2d_full(images, U, v, bias, (O, I, kh, kw), strides, pads, dilations, groups)
    return y.squeeze(-4) if x.dim() == 3 else y


def share_linear(x: Tensor, U: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear map generated by a dense sharing matrix: y = x reshape(U v, (O, I))ᵀ + bias.

    Args:
        x: features, (*, I); when U, v or bias carries a task dimension T, (T, *, I).
        U: sharing matrix, (O·I, L) or (T, O·I, L), rows in the order of ``torch.nn.Linear.weight``.
        v: latent parameters, (L,) or (T, L).
        bias: (O,) or (T, O).

    Returns:
        (*, O), or (T, *, O).

    Raises:
        TypeError: an argument is no floating-point tensor, or the dtypes differ outside autocast.
        ValueError: the shapes do not fit, or the devices differ.

    Source: Zhou, Knowles, Finn 2020 (arXiv 2007.02933), section 4: vec(W) = U v.

    Example:
        >>> import torch, rotfast
        >>> U, v = torch.randn(6, 2), torch.randn(2)
        >>> y = rotfast.share_linear(torch.randn(5, 3), U, v)
        >>> y.shape
        torch.Size([5, 2])
    """
    check_dense(U, v)
    dtype = check_data(x, "U", U)
    if x.dim() < 1:
        raise ValueError("x must be (*, I), got a scalar")
    features, rows = x.shape[-1], U.shape[-2]
    if features < 1 or rows % features:
        raise ValueError(f"x must have a last dimension that divides the {rows} rows of U, got {features}")
    check_bias("bias", bias, rows // features, "U", U)
    tasks = check_tasks(_LINEAR_RANKS, U, v, bias)
    if tasks is not None and (x.dim() < 2 or x.shape[0] != tasks):
        raise ValueError(f"x must have {tasks} tasks in its first dimension, got shape {tuple(x.shape)}")
    return ops.share_linear(x if dtype is None else x.to(dtype), U, v, bias)
