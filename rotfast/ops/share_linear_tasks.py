"""share_linear of many small tasks on the CPU, with one task in each lane of a vector.

The products of one task are too small for a matrix product of their own. Where all of g, x and v have tasks
and U has none, each derivative of share_linear's form is one call of a kernel that keeps weights in cache.
"""

from typing import Any, TypeAlias

import torch
from torch import Tensor

from rotfast import backend
from rotfast.ops.autograd import all_the_same
from rotfast.ops.expand_dense import LATENT_LIMIT

# With fewer tasks most lanes are empty, with more features a task fills a matrix product (one core, AVX-512).
_TASKS = 4
_FEATURES = 512

_Slot: TypeAlias = Any

if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::share_linear_tasks")
    def _fake(x: Tensor, U: Tensor, v: Tensor, transposed: bool) -> Tensor:
        return x.new_empty([*x.shape[:2], U.shape[0] // x.shape[2]])

    @torch.library.register_fake("rotfast::share_linear_tasks_backward")
    def _fake_backward(g: Tensor, x: Tensor, U: _Slot, v: _Slot) -> tuple[Tensor, Tensor]:
        size, L = g.shape[2] * x.shape[2], (v if U is None else U).shape[-1]
        return (
            g.new_empty(0 if v is None else [size, L]),
            g.new_empty(0 if U is None else [g.shape[0], L]),
        )


def serves(g: _Slot, x: _Slot, U: _Slot, v: _Slot) -> bool:
    """Whether the kernels here compute the derivative with respect to the argument that is None."""
    first = g if x is None else x
    if not first.is_cpu or first.dtype not in (torch.float32, torch.float64):
        return False
    if first.shape[0] < _TASKS or any(
        t is not None and (t.dim() != 3 or t.shape[-1] > _FEATURES) for t in (g, x)
    ):
        return False
    if U is not None and (U.dim() != 2 or U.shape[0] > _FEATURES * first.shape[-1]):
        return False
    return v is None or v.dim() == 2


def derivative(g: _Slot, x: _Slot, U: _Slot, v: _Slot) -> Tensor:
    """The form's derivative with respect to the argument that is None; that of U is summed."""
    if v is None:
        return gradients(g, x, U, None)[1]
    if U is None:
        return gradients(g, x, None, v)[0]
    given = g if x is None else x
    if not all_the_same(v, 1):
        return torch.ops.rotfast.share_linear_tasks(given, U, v, x is None)
    W = U @ v[0]
    return given @ (W.view(given.shape[-1], -1) if x is None else W.view(-1, given.shape[-1]).T)


def gradients(g: Tensor, x: Tensor, U: Tensor | None, v: Tensor | None) -> tuple[Tensor, Tensor]:
    """The gradient of U, if v is given, and that of v, if U is."""
    if v is None or not all_the_same(v, 1):
        return torch.ops.rotfast.share_linear_tasks_backward(g, x, U, v)
    gW = g.flatten(0, 1).T @ x.flatten(0, 1)
    outer = torch.ops.rotfast.expand_dense_sharing_grad
    gU = outer(gW.flatten(), v[0], False) if v.shape[1] <= LATENT_LIMIT else torch.outer(gW.flatten(), v[0])
    return gU, gU if U is None else gradients(g, x, U, None)[1]
