"""What launchers share: number formats, and sums taken in parts whose order does not depend on the device."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_ELEMENTS = 256
# Programs that keep a large GPU busy; with fewer, a sum is split into parts.
PROGRAMS = 512


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums are taken in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def sum_type(dtype: torch.dtype) -> Any:
    """As `sum_dtype`, in Triton's words."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def operand_type(dtype: torch.dtype) -> Any:
    """What `tl.dot` is given: the dtype itself, but the interpreter would multiply the bits of bfloat16."""
    if dtype == torch.bfloat16 and triton.knobs.runtime.interpret:
        return tl.float32
    return {
        torch.float16: tl.float16,
        torch.bfloat16: tl.bfloat16,
        torch.float32: tl.float32,
        torch.float64: tl.float64,
    }[dtype]


def products(dtype: torch.dtype) -> str:
    """How float32 numbers are multiplied: as torch's matrix products do, which TF32 may be allowed for."""
    return (
        "tf32" if dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"
    )


def new_parts(like: Tensor, parts: int, shape: tuple[int, ...]) -> Tensor:
    """Memory for a result in so many parts; of the result's dtype where it is the only one."""
    return like.new_empty((parts, *shape), dtype=like.dtype if parts == 1 else sum_dtype(like.dtype))


def sum_parts(parts: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum over the first dimension, in order."""
    if parts.shape[0] == 1 and parts.dtype == dtype:
        return parts[0]
    result = parts.new_empty(parts.shape[1:], dtype=dtype)
    size = result.numel()
    _sum_parts[triton.cdiv(size, _ELEMENTS),](
        parts, result, parts.shape[0], size, BLOCK=_ELEMENTS, ACC=sum_type(dtype), num_warps=4
    )
    return result


@triton.jit
def _sum_parts(x, y, parts, size, BLOCK: tl.constexpr, ACC: tl.constexpr):
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < size
    total = tl.zeros([BLOCK], ACC)
    for part in range(parts):
        total += tl.load(x + tl.cast(part, tl.int64) * size + element, mask=inside, other=0.0).to(ACC)
    tl.store(y + element, total.to(y.dtype.element_ty), mask=inside)
