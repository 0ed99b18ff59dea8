"""Checks of arguments: each error names the argument, what was expected and what came.

A small layer's call takes tens of microseconds, so what is right costs a few comparisons, and words are put
together only for what is wrong.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

IntOrPair = int | Sequence[int]


def check_tensor(name: str, value: object) -> None:
    """A floating-point tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a Tensor, got {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{name} must have a floating-point dtype, got {value.dtype}")


def check_device(name: str, tensor: Tensor, anchor_name: str, anchor: Tensor) -> None:
    """A tensor on the device of the anchor."""
    if tensor.device != anchor.device:
        raise ValueError(
            f"{name} must be on the device of {anchor_name} ({anchor.device}), got {tensor.device}"
        )


def check_like(name: str, value: Tensor, anchor_name: str, anchor: Tensor) -> None:
    """A tensor of the dtype and on the device of the anchor, a tensor that is checked already."""
    if isinstance(value, Tensor) and value.dtype == anchor.dtype and value.device == anchor.device:
        return
    check_tensor(name, value)
    check_device(name, value, anchor_name, anchor)
    raise TypeError(f"{name} must have the dtype of {anchor_name} ({anchor.dtype}), got {value.dtype}")


def check_data(x: Tensor, anchor_name: str, anchor: Tensor) -> torch.dtype | None:
    """Data that match the weights; returns the dtype to which autocast casts them for the caller, or None."""
    check_tensor("x", x)
    dtype = _autocast_dtype(x)
    if dtype is None:
        check_like("x", x, anchor_name, anchor)
    else:
        check_device("x", x, anchor_name, anchor)
    return dtype


def _autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype that autocast asks for, or None; torch never casts float64."""
    device = "cpu" if x.is_cpu else x.device.type  # the type's name is built anew whenever it is asked for
    if not (x.is_cpu or torch.amp.is_autocast_available(device)):
        return None
    if not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return None
    return torch.get_autocast_dtype(device)


def check_dim(name: str, tensor: Tensor, least: int, most: int, form: str) -> None:
    """A number of dimensions from least to most."""
    if not least <= tensor.dim() <= most:
        raise ValueError(f"{name} must be {form}, got shape {tuple(tensor.shape)}")


def check_tasks(ranks: Mapping[str, int], *tensors: Tensor | None) -> int | None:
    """The common size of the task dimensions, or None; ``ranks`` names the tensors and their rank without."""
    first: tuple[str, int] | None = None
    for (name, rank), tensor in zip(ranks.items(), tensors, strict=True):
        if tensor is None or tensor.dim() <= rank:
            continue
        tasks = tensor.shape[0]
        if first is None:
            first = (name, tasks)
        elif first[1] != tasks:
            raise ValueError(f"{name} must have the {first[1]} tasks of {first[0]}, got {tasks}")
    return None if first is None else first[1]


def check_warp(name: str, warp: Tensor, columns: int, what: str, *, square: bool) -> None:
    """A matrix, or one per task, that maps the dimension ``what`` of the given size."""
    shape = warp.shape
    if len(shape) != 2 and len(shape) != 3:
        raise ValueError(f"{name} must be a matrix, or (T, rows, columns), got shape {tuple(shape)}")
    if shape[-1] != columns or (square and shape[-2] != columns):
        wanted = f"({columns}, {columns})" if square else f"(*, {columns})"
        raise ValueError(f"{name} must have shape {wanted} to act on {what}, got ({shape[-2]}, {shape[-1]})")


def check_dense(U: Tensor, v: Tensor) -> None:
    """A dense sharing matrix and its latent parameters."""
    check_tensor("U", U)
    check_like("v", v, "U", U)
    check_dim("U", U, 2, 3, "(M, L) or (T, M, L)")
    check_dim("v", v, 1, 2, "(L,) or (T, L)")
    if v.shape[-1] != U.shape[-1]:
        raise ValueError(f"v must have the {U.shape[-1]} columns of U, got {v.shape[-1]}")


def check_bias(name: str, bias: Tensor | None, size: int, anchor_name: str, anchor: Tensor) -> None:
    """None, or a vector of the given size, or one per task."""
    if bias is None:
        return
    check_like(name, bias, anchor_name, anchor)
    shape = bias.shape
    if (len(shape) != 1 and len(shape) != 2) or shape[-1] != size:
        raise ValueError(f"{name} must be ({size},) or (T, {size}), got shape {tuple(shape)}")


def check_images(x: Tensor, channels: int, filters: int, groups: int, name: str) -> None:
    """Images for the kernel called ``name``, of so many filters and input channels per group."""
    shape = x.shape
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"x must be (C, H, W), (N, C, H, W) or (T, N, C, H, W), got shape {tuple(shape)}")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be a positive int, got {groups!r}")
    if filters % groups:
        raise ValueError(f"groups must divide the {filters} output channels of {name}, got {groups}")
    if shape[-3] != channels * groups:
        raise ValueError(
            f"x must have {channels * groups} channels ({name} has {channels}, groups={groups}), "
            f"got {shape[-3]}"
        )


def check_extent(axis: str, size: int, kernel: int) -> None:
    """Padded images no smaller than the dilated kernel."""
    if size < kernel:
        raise ValueError(f"x must have a padded {axis} of at least {kernel}, the kernel's, got {size}")


def check_weight_shape(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Four positive ints."""
    if isinstance(shape, (tuple, Sequence)) and len(shape) == 4:
        O, I, kh, kw = shape  # noqa: E741
        if all(isinstance(n, int) for n in shape) and min(shape) > 0:
            return O, I, kh, kw
    raise ValueError(f"weight_shape must be four positive ints (O, I, kh, kw), got {shape!r}")


def pair(name: str, value: IntOrPair, least: int) -> tuple[int, int]:
    """An int, for both directions, or a pair of ints, none below ``least``."""
    if isinstance(value, int):
        first = second = value
    elif isinstance(value, (tuple, Sequence)) and len(value) == 2:
        first, second = value
    else:
        raise ValueError(f"{name} must be an int or a pair of ints, got {value!r}")
    if not isinstance(first, int) or not isinstance(second, int):
        raise ValueError(f"{name} must be an int or a pair of ints, got {value!r}")
    if first < least or second < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return first, second
