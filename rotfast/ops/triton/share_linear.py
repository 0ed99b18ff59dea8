"""Triton kernel of the trilinear form ⟨g, x Wᵀ⟩: its three derivatives are one matrix product, with tasks.

A long sum over few tiles, as in a classifier's head, is split among programs and added up in order.
"""

import triton
import triton.language as tl
from torch import Tensor

from rotfast.ops.triton import tuning
from rotfast.ops.triton.common import PROGRAMS, new_parts, operand_type, products, sum_parts, sum_type

# Steps of a sum that are worth a program of their own.
_STEPS = 8


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


def _product(a: Tensor, b: Tensor, bias: Tensor | None, tasks: int, summed: int) -> Tensor:
    """a b + bias for ``tasks`` tasks, each the sum of ``summed`` products; a (M, K), b (K, N), bias (N,)."""
    M, K, N = *a.shape[-2:], b.shape[-1]
    steps = (a.stride(0) if a.dim() > 2 else 0, b.stride(0) if b.dim() > 2 else 0)
    if bias is not None:
        bias = bias.contiguous()

    def launch(tiles: tuning.Tiles) -> Tensor:
        down, across = triton.cdiv(M, tiles.rows), triton.cdiv(N, tiles.columns)
        depth = triton.cdiv(K, tiles.depth)
        programs = max(1, tasks * down * across)
        run = triton.cdiv(summed * depth, max(1, min(PROGRAMS // programs, summed * depth // _STEPS)))
        splits = max(1, triton.cdiv(summed * depth, max(1, run)))
        parts = new_parts(a, splits, (tasks, M, N))
        _multiply[splits * tasks * down * across,](
            *(a, b, bias, parts, tasks, M, N, K, down, across, depth, run, summed * depth),
            *(*steps, *a.stride()[-2:], *b.stride()[-2:], N if bias is not None and bias.dim() > 1 else 0),
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
        along = tuple(stride == 1 for stride in (a.stride(-1), b.stride(-1)))
        shared = tuple(step == 0 for step in steps)
        return tuning.key("product", (tasks, summed, M, N, K), a, precision, along, shared)

    tiles = tuning.candidates(M, N, K, precision == "tf32" or a.element_size() == 2)
    return tuning.run(describe, tiles, launch)


@triton.jit
def _multiply(
    a, b, bias, parts, tasks, M, N, K, down, across, depth, run, steps,
    a_step, b_step, a_row, a_column, b_row, b_column, bias_step,
    M_TILE: tl.constexpr, N_TILE: tl.constexpr, K_TILE: tl.constexpr,
    OPERAND: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The steps of a sum are its tasks' blocks of K_TILE columns of a; a program takes ``run`` of them."""
    number = tl.program_id(0)
    n = (number % across * N_TILE + tl.arange(0, N_TILE)).to(tl.int64)
    m = (number // across % down * M_TILE + tl.arange(0, M_TILE)).to(tl.int64)
    number //= across * down
    task = (number % tasks).to(tl.int64)
    split = number // tasks
    total = tl.zeros([M_TILE, N_TILE], ACC)
    for step in range(split * run, min((split + 1) * run, steps)):
        k = (step % depth * K_TILE + tl.arange(0, K_TILE)).to(tl.int64)
        summand = task + step // depth
        left = tl.load(
            a + summand * a_step + m[:, None] * a_row + k[None, :] * a_column,
            mask=(m < M)[:, None] & (k < K)[None, :],
            other=0.0,
        )
        right = tl.load(
            b + summand * b_step + k[:, None] * b_row + n[None, :] * b_column,
            mask=(k < K)[:, None] & (n < N)[None, :],
            other=0.0,
        )
        total = tl.dot(left.to(OPERAND), right.to(OPERAND), total, input_precision=PRECISION, out_dtype=ACC)
    if bias is not None and split == 0:
        total += tl.load(bias + task * bias_step + n, mask=n < N, other=0.0).to(ACC)[None, :]
    out = parts + ((split * tl.cast(tasks, tl.int64) + task) * M + m[:, None]) * N + n[None, :]
    tl.store(out, total.to(parts.dtype.element_ty), mask=(m < M)[:, None] & (n < N)[None, :])
