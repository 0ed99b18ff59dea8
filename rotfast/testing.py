"""For tests of rotfast and of code built on it: one tolerance table, comparisons, derivative checks."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

__all__ = ["TOLERANCES", "assert_close", "check_derivatives", "check_vmap"]

# (rtol, atol) per dtype: about 30 roundings of a sum of a few hundred products.
TOLERANCES: dict[torch.dtype, tuple[float, float]] = {
    torch.float64: (1e-10, 1e-10),
    torch.float32: (1e-4, 1e-4),
    torch.float16: (1e-2, 1e-2),
    torch.bfloat16: (4e-2, 4e-2),
}


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Compare with the tolerance of the result's dtype; a dtype or shape that differs is an error.

    Example:
        >>> import torch
        >>> assert_close(torch.ones(2), torch.ones(2) + 1e-7)
    """
    rtol, atol = TOLERANCES[actual.dtype]
    torch.testing.assert_close(actual, expected.to(actual.dtype), rtol=rtol, atol=atol)


def check_derivatives(function: Callable[..., Tensor], args: Sequence[Tensor]) -> None:
    """First and second derivatives of ``function`` at float64 ``args`` against finite differences.

    Example:
        >>> import torch
        >>> check_derivatives(torch.sin, [torch.rand(3, dtype=torch.float64)])
    """
    leaves = [a.detach().clone().requires_grad_() for a in args]
    torch.autograd.gradcheck(function, leaves)
    torch.autograd.gradgradcheck(function, leaves)


def check_vmap(function: Callable[..., Tensor], args: Sequence[Tensor], batch: int = 3) -> None:
    """``torch.vmap`` of ``function`` over every non-empty subset of its arguments against a loop.

    Example:
        >>> import torch
        >>> check_vmap(torch.add, [torch.rand(3), torch.rand(3)])
    """
    for batched in product((False, True), repeat=len(args)):
        if not any(batched):
            continue
        stacked = [
            torch.stack([a + i * torch.rand_like(a) for i in range(batch)], dim=-1) if b else a
            for a, b in zip(args, batched, strict=True)
        ]
        in_dims = tuple(-1 if b else None for b in batched)
        loop = [
            function(*(a[..., i] if b else a for a, b in zip(stacked, batched, strict=True)))
            for i in range(batch)
        ]
        assert_close(torch.vmap(function, in_dims=in_dims)(*stacked), torch.stack(loop))
