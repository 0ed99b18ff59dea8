"""The least that a computation must do: bytes through a device's memory, and operations of arithmetic.

Bytes: every input read once, every result written once. Operations: products and sums, each one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

# Of an output pixel: two coordinates, each of two products and two sums.
_POSITION = 8
# Of a bilinear sample: four products added up.
_BILINEAR = 7


@dataclass(frozen=True)
class Work:
    """Bytes and operations."""

    bytes: int
    operations: int


def moved(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Counter(TorchDispatchMode):
    """Torch's own FlopCounterMode follows modules by hooks, which torch.autograd.grad refuses."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket is torch.ops.aten.mv:
            self.total += 2 * args[0].numel()
        elif (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def counted(call: Callable[[], object]) -> int:
    """Operations of the matrix products and convolutions in a call, backward passes included."""
    with _Counter() as counter:
        call()
    return counter.total


def resampling(shape: tuple[int, ...], parameters: int, read: int, write: int = 4) -> Work:
    """Bilinear resampling of (N, C, H, W) with so many float32 parameters a map.

    ``read`` and ``write`` are the bytes of a value.
    """
    values, pixels = prod(shape), prod(shape) // shape[1]
    return Work(values * (read + write) + 4 * parameters * shape[0], pixels * _POSITION + values * _BILINEAR)
