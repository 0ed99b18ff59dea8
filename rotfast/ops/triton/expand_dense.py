"""Triton kernels of the trilinear form Σ g[m] U[m,l] v[l], for few columns: a tile holds whole rows of U."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rotfast.ops.triton.common import PROGRAMS, new_parts, sum_parts, sum_type

_TILE = 2048  # elements of U in a tile
# Tasks that one program computes from a tile of U it has read once.
_TASKS = 8


def expand_dense(U: Tensor, v: Tensor) -> Tensor:
    """W[m] = Σ U[m,l] v[l]."""
    U, v = U.contiguous(), v.contiguous()
    M, L = U.shape[-2:]
    tasks = _tasks(U.dim() > 2, U, v.dim() > 1, v)
    W = U.new_empty((*tasks, M))
    count = tasks[0] if tasks else 1
    rows, columns = _tile(L)
    group = 1 if U.dim() > 2 else _TASKS
    blocks = triton.cdiv(M, rows)
    _expand[blocks * triton.cdiv(count, group),](
        *(U, v, W, M, L, count, group, blocks),
        *(M * L if U.dim() > 2 else 0, L if v.dim() > 1 else 0),
        **_options(U.dtype, rows, columns),
    )
    return W


def expand_dense_latent_grad(U: Tensor, g: Tensor, per_task: bool) -> Tensor:
    """gv[l] = Σ_m U[m,l] g[m], summed over tasks unless ``per_task``."""
    U, g = U.contiguous(), g.contiguous()
    M, L = U.shape[-2:]
    tasks = _tasks(U.dim() > 2, U, g.dim() > 1, g)
    count = tasks[0] if tasks else 1
    rows, columns = _tile(L)
    blocks = triton.cdiv(M, rows)
    splits = max(1, min(blocks, PROGRAMS // max(count, 1)))
    sums = count if per_task else 1
    parts = new_parts(U, splits * count // sums if sums else 1, (sums, L))
    _latent_grad[splits * count,](
        *(U, g, parts, M, L, count, triton.cdiv(blocks, splits)),
        *(M * L if U.dim() > 2 else 0, M if g.dim() > 1 else 0),
        **_options(U.dtype, rows, columns),
    )
    gv = sum_parts(parts, U.dtype)
    return gv if per_task else gv[0]


def expand_dense_sharing_grad(g: Tensor, v: Tensor, per_task: bool) -> Tensor:
    """gU[m,l] = g[m] v[l], summed over tasks unless ``per_task``."""
    g, v = g.contiguous(), v.contiguous()
    M, L = g.shape[-1], v.shape[-1]
    tasks = _tasks(g.dim() > 1, g, v.dim() > 1, v)
    count = tasks[0] if tasks else 1
    gU = g.new_empty((*(tasks if per_task else ()), M, L))
    rows, columns = _tile(L)
    blocks = triton.cdiv(M, rows)
    _sharing_grad[blocks * (count if per_task else 1),](
        *(g, v, gU, M, L, 1 if per_task else count, blocks),
        *(M if g.dim() > 1 else 0, L if v.dim() > 1 else 0),
        **_options(g.dtype, rows, columns),
    )
    return gU


def _tasks(a_has_tasks: bool, a: Tensor, b_has_tasks: bool, b: Tensor) -> tuple[int, ...]:
    if a_has_tasks:
        return (a.shape[0],)
    return (b.shape[0],) if b_has_tasks else ()


def _tile(L: int) -> tuple[int, int]:
    columns = triton.next_power_of_2(max(L, 1))
    return max(16, _TILE // columns), columns


def _options(dtype: torch.dtype, rows: int, columns: int) -> dict[str, object]:
    return {"ROWS": rows, "COLUMNS": columns, "ACC": sum_type(dtype), "num_warps": 4}


@triton.jit
def _expand(
    U, v, W, M, L, tasks, group, blocks, U_step, v_step,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0) % blocks
    first = tl.program_id(0) // blocks * group
    row = block.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    inside = (row < M)[:, None] & (column < L)[None, :]
    tile = U + first.to(tl.int64) * U_step + row[:, None] * L + column[None, :]
    sharing = tl.load(tile, mask=inside, other=0.0).to(ACC)
    for t in range(first, min(first + group, tasks)):
        task = tl.cast(t, tl.int64)
        latent = tl.load(v + task * v_step + column, mask=column < L, other=0.0).to(ACC)
        weight = tl.sum(sharing * latent[None, :], 1)
        tl.store(W + task * M + row, weight.to(W.dtype.element_ty), mask=row < M)


@triton.jit
def _latent_grad(
    U, g, parts, M, L, tasks, run, U_step, g_step,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    split = tl.program_id(0) // tasks
    task = (tl.program_id(0) % tasks).to(tl.int64)
    column = tl.arange(0, COLUMNS)
    total = tl.zeros([ROWS, COLUMNS], ACC)
    for block in range(split * run, (split + 1) * run):
        row = tl.cast(block, tl.int64) * ROWS + tl.arange(0, ROWS)
        inside = (row < M)[:, None] & (column < L)[None, :]
        tile = U + task * U_step + row[:, None] * L + column[None, :]
        grad = tl.load(g + task * g_step + row, mask=row < M, other=0.0).to(ACC)
        total += tl.load(tile, mask=inside, other=0.0).to(ACC) * grad[:, None]
    out = parts + tl.program_id(0).to(tl.int64) * L + column
    tl.store(out, tl.sum(total, 0).to(parts.dtype.element_ty), mask=column < L)


@triton.jit
def _sharing_grad(
    g, v, gU, M, L, summed, blocks, g_step, v_step,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    group = (tl.program_id(0) // blocks).to(tl.int64)
    row = (tl.program_id(0) % blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    total = tl.zeros([ROWS, COLUMNS], ACC)
    for t in range(summed):
        task = group * summed + t
        grad = tl.load(g + task * g_step + row, mask=row < M, other=0.0).to(ACC)
        latent = tl.load(v + task * v_step + column, mask=column < L, other=0.0).to(ACC)
        total += grad[:, None] * latent[None, :]
    inside = (row < M)[:, None] & (column < L)[None, :]
    out = gU + (group * M + row)[:, None] * L + column[None, :]
    tl.store(out, total.to(gU.dtype.element_ty), mask=inside)
