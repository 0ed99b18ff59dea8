"""Triton kernel of matrix products, with tasks: the derivatives of ⟨g, x Wᵀ⟩, and of x U before v comes in.

A long sum over few tiles, as in a classifier's head, is split among programs and added up in order.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from rotfast.ops.triton import tuning
from rotfast.ops.triton.common import PROGRAMS, new_parts, operand_type, products, sum_parts, sum_type

# Steps of a sum that are worth a program of their own.
_STEPS = 8


class _Line(NamedTuple):
    """Where the elements along one side of a matrix lie: at e // run * outer + e % run * inner."""

    run: int
    outer: int
    inner: int


def _line(step: int) -> _Line:
    return _Line(1, step, 0)


def linear(x: Tensor, W: Tensor, bias: Tensor | None) -> Tensor:
    """y = x Wᵀ + bias."""
    tasks = [t.shape[0] for t, rank in ((x, 2), (W, 2), (bias, 1)) if t is not None and t.dim() > rank][:1]
    y = _product(x, W.mT, bias, tasks[0] if tasks else 1, summed=1)
    return y if tasks else y[0]


def linear_input_grad(g: Tensor, W: Tensor, per_task: bool) -> Tensor:
    """gx = g W, summed over tasks unless ``per_task``."""
    return _gradient(g, W, per_task)


def linear_weight_grad(g: Tensor, x: Tensor, per_task: bool) -> Tensor:
    """gW = gᵀ x, summed over tasks unless ``per_task``."""
    return _gradient(g.mT, x, per_task)


def _gradient(a: Tensor, b: Tensor, per_task: bool) -> Tensor:
    tasks = a.shape[0] if a.dim() > 2 else b.shape[0] if b.dim() > 2 else 1
    if per_task:
        return _product(a, b, None, tasks, summed=1)
    return _product(a, b, None, 1, summed=tasks)[0]


def contract(x: Tensor, U: Tensor) -> Tensor:
    """z[n, oL + l] = Σ x[n,i] U[oI + i, l]; U is read as it lies."""
    (N, I), (rows, L) = x.shape, U.shape  # noqa: E741
    columns = _Line(L, I * L, 1)
    return _run(x, U.contiguous(), (N, I, rows // I * L), x.stride(), (_line(L), columns))[0]


def contract_input_grad(q: Tensor, U: Tensor) -> Tensor:
    """gx[n,i] = Σ q[n, oL + l] U[oI + i, l]."""
    (N, columns), (rows, L) = q.shape, U.shape
    I = rows * L // columns  # noqa: E741
    return _run(q, U.contiguous(), (N, columns, I), q.stride(), (_Line(L, I * L, 1), _line(L)))[0]


def contract_sharing_grad(q: Tensor, x: Tensor, L: int) -> Tensor:
    """gU[oI + i, l] = Σ q[n, oL + l] x[n,i], written as U lies."""
    (N, columns), I = q.shape, x.shape[1]  # noqa: E741
    steps, out = tuple(map(_line, q.stride())), (_line(L), _Line(L, I * L, 1))
    return _run(x, q, (I, N, columns), x.mT.stride(), steps, out).view(-1, L)


def _product(a: Tensor, b: Tensor, bias: Tensor | None, tasks: int, summed: int) -> Tensor:
    """a b + bias for ``tasks`` tasks, each the sum of ``summed`` products; a (M, K), b (K, N), bias (N,)."""
    sizes, steps = (*a.shape[-2:], b.shape[-1]), tuple(map(_line, b.stride()[-2:]))
    batches = (a.stride(0) if a.dim() > 2 else 0, b.stride(0) if b.dim() > 2 else 0)
    return _run(a, b, sizes, a.stride()[-2:], steps, None, bias, tasks, summed, batches)


def _run(
    a: Tensor,
    b: Tensor,
    sizes: tuple[int, int, int],
    a_steps: tuple[int, ...],
    b_lines: tuple[_Line, ...],
    out_lines: tuple[_Line, ...] | None = None,
    bias: Tensor | None = None,
    tasks: int = 1,
    summed: int = 1,
    batches: tuple[int, int] = (0, 0),
) -> Tensor:
    """As `_product`, of sizes M, K, N, where the lines say elements lie; (tasks, M, N) by default."""
    M, K, N = sizes
    out_lines = out_lines or (_line(N), _line(1))
    if bias is not None:
        bias = bias.contiguous()
    runs = (b_lines[0].run, b_lines[1].run, out_lines[1].run)

    def launch(tiles: tuning.Tiles) -> Tensor:
        down, across = triton.cdiv(M, tiles.rows), triton.cdiv(N, tiles.columns)
        depth = triton.cdiv(K, tiles.depth)
        programs = max(1, tasks * down * across)
        run = triton.cdiv(summed * depth, max(1, min(PROGRAMS // programs, summed * depth // _STEPS)))
        splits = max(1, triton.cdiv(summed * depth, max(1, run)))
        parts = new_parts(a, splits, (tasks, M, N))
        _multiply[splits * tasks * down * across,](
            *(a, b, bias, parts, tasks, M, N, K, down, across, depth, run, summed * depth),
            *(*batches, *a_steps, *b_lines[0][1:], *b_lines[1][1:], out_lines[0].outer, *out_lines[1][1:]),
            N if bias is not None and bias.dim() > 1 else 0,
            K_RUN=runs[0],
            N_RUN=runs[1],
            OUT_RUN=runs[2],
            M_TILE=tiles.rows,
            N_TILE=tiles.columns,
            K_TILE=tiles.depth,
            OPERAND=operand_type(a.dtype),
            ACC=sum_type(a.dtype),
            PRECISION=products(a.dtype),
            num_warps=tiles.warps,
            num_stages=tiles.stages,
        )
        return sum_parts(parts, a.dtype)

    precision = products(a.dtype)

    def describe() -> str:
        along = tuple(step == 1 for step in (a_steps[1], b_lines[1].outer))
        shared = tuple(step == 0 for step in batches)
        return tuning.key("product", (tasks, summed, M, N, K), a, precision, along, shared, runs)

    tiles = tuning.candidates(M, N, K, precision == "tf32" or a.element_size() == 2)
    return tuning.run(describe, tiles, launch)


@triton.jit
def _place(element, outer, inner, RUN: tl.constexpr):
    """As `_Line` has it."""
    return (element // RUN).to(tl.int64) * outer + (element % RUN).to(tl.int64) * inner


@triton.jit
def _multiply(
    a, b, bias, parts, tasks, M, N, K, down, across, depth, run, steps,
    a_step, b_step, a_row, a_column, b_row, b_row_inner, b_column, b_column_inner,
    out_row, out_column, out_column_inner, bias_step,
    K_RUN: tl.constexpr, N_RUN: tl.constexpr, OUT_RUN: tl.constexpr,
    M_TILE: tl.constexpr, N_TILE: tl.constexpr, K_TILE: tl.constexpr,
    OPERAND: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The steps of a sum are its tasks' blocks of K_TILE columns of a; a program takes ``run`` of them."""
    number = tl.program_id(0)
    n = number % across * N_TILE + tl.arange(0, N_TILE)
    m = (number // across % down * M_TILE + tl.arange(0, M_TILE)).to(tl.int64)
    number //= across * down
    task = (number % tasks).to(tl.int64)
    split = number // tasks
    columns = _place(n, b_column, b_column_inner, N_RUN)
    total = tl.zeros([M_TILE, N_TILE], ACC)
    for step in range(split * run, min((split + 1) * run, steps)):
        k = step % depth * K_TILE + tl.arange(0, K_TILE)
        summand = task + step // depth
        left = tl.load(
            a + summand * a_step + m[:, None] * a_row + k[None, :].to(tl.int64) * a_column,
            mask=(m < M)[:, None] & (k < K)[None, :],
            other=0.0,
        )
        right = tl.load(
            b + summand * b_step + _place(k, b_row, b_row_inner, K_RUN)[:, None] + columns[None, :],
            mask=(k < K)[:, None] & (n < N)[None, :],
            other=0.0,
        )
        total = tl.dot(left.to(OPERAND), right.to(OPERAND), total, input_precision=PRECISION, out_dtype=ACC)
    if bias is not None and split == 0:
        total += tl.load(bias + task * bias_step + n, mask=n < N, other=0.0).to(ACC)[None, :]
    first = (split * tl.cast(tasks, tl.int64) + task) * M * N
    out = parts + first + m[:, None] * out_row + _place(n, out_column, out_column_inner, OUT_RUN)[None, :]
    tl.store(out, total.to(parts.dtype.element_ty), mask=(m < M)[:, None] & (n < N)[None, :])
