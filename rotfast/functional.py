"""Public functions: check the arguments, choose the backend, call the operator.

Notation: T tasks, N images, O output and I input channels (or features), K kernel taps, L latent size.
A leading task dimension T stands for one weight set per task; arguments without it are shared by all tasks.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast import ops

__all__ = [
    "conv_relu_linear",
    "expand_dense",
    "expand_kronecker",
    "share_conv2d",
    "share_conv2d_full",
    "share_linear",
]

IntOrPair = int | Sequence[int]
Padding = IntOrPair | Literal["same", "valid"]
_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def _check_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a Tensor, got {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{name} must have a floating-point dtype, got {value.dtype}")


def _check_together(anchor: str, **tensors: Tensor | None) -> None:
    """All tensors share the device and dtype of the one named anchor."""
    first = tensors[anchor]
    assert first is not None
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.device != first.device:
            raise ValueError(
                f"{name} must be on the device of {anchor} ({first.device}), got {tensor.device}"
            )
        if tensor.dtype != first.dtype:
            raise TypeError(f"{name} must have the dtype of {anchor} ({first.dtype}), got {tensor.dtype}")


def _check_dim(name: str, tensor: Tensor, dims: tuple[int, ...], form: str) -> None:
    if tensor.dim() not in dims:
        raise ValueError(f"{name} must be {form}, got shape {tuple(tensor.shape)}")


def _check_tasks(**task_sizes: tuple[Tensor | None, int]) -> int | None:
    """The common task size of the tensors that have one dimension more than the given number, or None."""
    found: tuple[str, int] | None = None
    for name, (tensor, dim) in task_sizes.items():
        if tensor is None or tensor.dim() <= dim:
            continue
        tasks = tensor.shape[0]
        if found is None:
            found = (name, tasks)
        elif found[1] != tasks:
            raise ValueError(f"{name} must have the {found[1]} tasks of {found[0]}, got {tasks}")
    return None if found is None else found[1]


def _check_warp(name: str, warp: Tensor, columns: int, what: str, *, square: bool) -> None:
    _check_dim(name, warp, (2, 3), "a matrix, or (T, rows, columns)")
    rows, got = warp.shape[-2:]
    if got != columns or (square and rows != columns):
        wanted = f"({columns}, {columns})" if square else f"(*, {columns})"
        raise ValueError(f"{name} must have shape {wanted} to act on {what}, got ({rows}, {got})")


def _pair(name: str, value: IntOrPair, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair):
        raise ValueError(f"{name} must be an int or a pair of ints, got {value!r}")
    if min(pair) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return pair


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
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        before = [t // 2 for t in total]
        after = [t - b for t, b in zip(total, before, strict=True)]
    elif isinstance(padding, str):
        raise ValueError(f"padding must be an int, a pair, 'same' or 'valid', got {padding!r}")
    else:
        before = after = list(_pair("padding", padding, 0))
    if mode == "zeros" and before == after:
        return x, (before[0], before[1])
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
    for name, value in (("weight", weight), ("A", A), ("B", B), ("C", C)):
        _check_tensor(name, value)
    _check_dim("weight", weight, (3, 4), "(P, Q, L) or (T, P, Q, L)")
    P, Q, L = weight.shape[-3:]
    _check_warp("A", A, P, "dimension P of weight", square=False)
    _check_warp("B", B, Q, "dimension Q of weight", square=False)
    _check_warp("C", C, L, "dimension L of weight", square=False)
    _check_tasks(weight=(weight, 3), A=(A, 2), B=(B, 2), C=(C, 2))
    _check_together("weight", weight=weight, A=A, B=B, C=C)
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
    _check_tensor("U", U)
    _check_tensor("v", v)
    _check_dense("v", U, v)
    return ops.expand_dense(U, v)


def _check_dense(name: str, U: Tensor, v: Tensor) -> None:
    _check_dim("U", U, (2, 3), "(M, L) or (T, M, L)")
    _check_dim(name, v, (1, 2), "(L,) or (T, L)")
    if v.shape[-1] != U.shape[-1]:
        raise ValueError(f"{name} must have the {U.shape[-1]} columns of U, got {v.shape[-1]}")
    _check_tasks(U=(U, 2), v=(v, 1))
    _check_together("U", U=U, v=v)


def _check_bias(name: str, bias: Tensor | None, size: int) -> None:
    if bias is None:
        return
    _check_tensor(name, bias)
    if bias.dim() not in (1, 2) or bias.shape[-1] != size:
        raise ValueError(f"{name} must be ({size},) or (T, {size}), got shape {tuple(bias.shape)}")


def _check_conv(x: Tensor, W_shape: Sequence[int], bias: Tensor | None, groups: int, name: str) -> None:
    O, I = W_shape[0], W_shape[1]  # noqa: E741
    _check_dim("x", x, (3, 4, 5), "(C, H, W), (N, C, H, W) or (T, N, C, H, W)")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be a positive int, got {groups!r}")
    if O % groups:
        raise ValueError(f"groups must divide the {O} output channels of {name}, got {groups}")
    if x.shape[-3] != I * groups:
        raise ValueError(
            f"x must have {I * groups} channels ({name} has {I}, groups={groups}), got {x.shape[-3]}"
        )
    _check_bias("bias", bias, O)


def _autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype that autocast asks for, or None; torch never casts float64."""
    device = x.device.type
    available = torch.amp.is_autocast_available(device)
    if available and torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return None


def _autocast(x: Tensor) -> Tensor:
    """Under autocast the data take its dtype, as in torch's convolution; generated weights follow."""
    dtype = _autocast_dtype(x)
    return x if dtype is None else x.to(dtype)


def _check_compute_dtype(x: Tensor, weight: Tensor, name: str) -> None:
    """x must match the weight; autocast casts for the caller."""
    if _autocast_dtype(x) is None:
        _check_together(name, **{name: weight, "x": x})
    elif x.device != weight.device:
        raise ValueError(f"x must be on the device of {name} ({weight.device}), got {x.device}")


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
    for name, value in (("x", x), ("weight", weight), ("A", A), ("B", B), ("C", C)):
        _check_tensor(name, value)
    _check_dim("weight", weight, (4, 5), "(O, I, kh, kw) or (T, O, I, kh, kw)")
    O, I, kh, kw = weight.shape[-4:]  # noqa: E741
    _check_conv(x, (O, I), bias, groups, "weight")
    _check_warp("A", A, O, "the output channels of weight", square=True)
    _check_warp("B", B, I, "the input channels of weight", square=True)
    _check_warp("C", C, kh * kw, "the kernel taps of weight", square=True)
    _check_tasks(x=(x, 4), weight=(weight, 4), A=(A, 2), B=(B, 2), C=(C, 2), bias=(bias, 1))
    _check_together("weight", weight=weight, A=A, B=B, C=C, bias=bias)
    _check_compute_dtype(x, weight, "weight")
    geometry, images = _geometry(x, (kh, kw), stride, padding, dilation, groups, padding_mode)
    y = ops.share_conv2d(_autocast(images), weight, A, B, C, bias, *geometry)
    return y.squeeze(-4) if x.dim() == 3 else y


def _geometry(
    x: Tensor,
    kernel: tuple[int, int],
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
    padding_mode: str,
) -> tuple[tuple[tuple[int, int], tuple[int, int], tuple[int, int], int], Tensor]:
    strides, dilations = _pair("stride", stride, 1), _pair("dilation", dilation, 1)
    images = x.unsqueeze(0) if x.dim() == 3 else x
    images, pads = _pad(images, kernel, strides, padding, dilations, padding_mode)
    for size, k, p, d, axis in zip(
        images.shape[-2:], kernel, pads, dilations, ("height", "width"), strict=True
    ):
        if size + 2 * p < d * (k - 1) + 1:
            raise ValueError(
                f"x must have a padded {axis} of at least {d * (k - 1) + 1}, the kernel's, got {size + 2 * p}"
            )
    return (strides, pads, dilations, groups), images


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
    for name, value in (("x", x), ("U", U), ("v", v)):
        _check_tensor(name, value)
    if len(weight_shape) != 4 or min(weight_shape) < 1:
        raise ValueError(f"weight_shape must be four positive ints (O, I, kh, kw), got {tuple(weight_shape)}")
    O, I, kh, kw = weight_shape  # noqa: E741
    _check_conv(x, (O, I), bias, groups, "weight_shape")
    _check_dense("v", U, v)
    if U.shape[-2] != O * I * kh * kw:
        raise ValueError(
            f"U must have {O * I * kh * kw} rows for weight_shape {(O, I, kh, kw)}, got {U.shape[-2]}"
        )
    _check_tasks(x=(x, 4), U=(U, 2), v=(v, 1), bias=(bias, 1))
    _check_together("U", U=U, bias=bias)
    _check_compute_dtype(x, U, "U")
    geometry, images = _geometry(x, (kh, kw), stride, padding, dilation, groups, padding_mode)
    y = ops.share_conv2d_full(_autocast(images), U, v, bias, (O, I, kh, kw), *geometry)
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
    for name, value in (("x", x), ("U", U), ("v", v)):
        _check_tensor(name, value)
    _check_dense("v", U, v)
    if x.dim() < 1:
        raise ValueError("x must be (*, I), got a scalar")
    features, rows = x.shape[-1], U.shape[-2]
    if features < 1 or rows % features:
        raise ValueError(f"x must have a last dimension that divides the {rows} rows of U, got {features}")
    _check_bias("bias", bias, rows // features)
    tasks = _check_tasks(U=(U, 2), v=(v, 1), bias=(bias, 1))
    if tasks is not None and (x.dim() < 2 or x.shape[0] != tasks):
        raise ValueError(f"x must have {tasks} tasks in its first dimension, got shape {tuple(x.shape)}")
    _check_together("U", U=U, bias=bias)
    _check_compute_dtype(x, U, "U")
    return ops.share_linear(_autocast(x), U, v, bias)


def conv_relu_linear(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
) -> Tensor:
    """A small classifier in one pass: linear(flatten(relu(conv2d(x, kernel) + kernel_bias)), weight) + bias.

    On a CPU, with few input channels and outputs, the activations are never written to memory; backward
    computes them again.

    Args:
        x: images, (N, C, H, W) or (C, H, W); (T, N, C, H, W) gives each task its own images.
        kernel: (O, C, kh, kw) or (T, O, C, kh, kw).
        kernel_bias: (O,), (T, O) or None.
        weight: head on the flattened activations, (classes, O·H'·W') or (T, classes, O·H'·W').
        bias: (classes,), (T, classes) or None.
        stride, padding, dilation: as in ``torch.nn.functional.conv2d``; zeros are padded.

    Returns:
        (N, classes), without N for an unbatched image, with a leading T when any argument has one.

    Raises:
        TypeError: an argument is no floating-point tensor, or the dtypes differ outside autocast.
        ValueError: the shapes or devices do not fit together.

    Example:
        >>> import torch, rotfast
        >>> x, kernel, head = torch.rand(2, 1, 8, 8), torch.randn(4, 1, 3, 3), torch.randn(10, 4 * 6 * 6)
        >>> rotfast.conv_relu_linear(x, kernel, None, head).shape
        torch.Size([2, 10])
    """
    for name, value in (("x", x), ("kernel", kernel), ("weight", weight)):
        _check_tensor(name, value)
    _check_dim("kernel", kernel, (4, 5), "(O, C, kh, kw) or (T, O, C, kh, kw)")
    _check_dim("weight", weight, (2, 3), "(classes, features) or (T, classes, features)")
    O, I, kh, kw = kernel.shape[-4:]  # noqa: E741
    _check_bias("kernel_bias", kernel_bias, O)
    _check_bias("bias", bias, weight.shape[-2])
    _check_conv(x, (O, I), None, 1, "kernel")
    _check_tasks(
        x=(x, 4), kernel=(kernel, 4), kernel_bias=(kernel_bias, 1), weight=(weight, 2), bias=(bias, 1)
    )
    _check_together("kernel", kernel=kernel, kernel_bias=kernel_bias, weight=weight, bias=bias)
    _check_compute_dtype(x, kernel, "kernel")
    (strides, pads, dilations, _), images = _geometry(x, (kh, kw), stride, padding, dilation, 1, "zeros")
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(images.shape[-2:], (kh, kw), strides, pads, dilations, strict=True)
    ]
    features = O * sizes[0] * sizes[1]
    if weight.shape[-1] != features:
        raise ValueError(f"weight must have {features} columns for these images, got {weight.shape[-1]}")
    y = ops.conv_relu_linear(_autocast(images), kernel, kernel_bias, weight, bias, strides, pads, dilations)
    return y.squeeze(-2) if x.dim() == 3 else y
