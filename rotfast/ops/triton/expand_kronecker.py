"""Triton kernels of W[o,i,k] = Σ A[o,p] B[i,q] C[k,l] w[p,q,l] where B ⊗ C is small enough for one tile.

With D = B ⊗ C, held in registers and never written out, W = A (w Dᵀ): two matrix products in one launch.
"""

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from rotfast.ops.triton.common import new_parts, products, sum_parts, sum_type

_RANKS = (3, 2, 2, 2)
_P_TILE = 16


def expand_kronecker(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """W = (A ⊗ B ⊗ C) weight."""
    factors = [t.contiguous() for t in (weight, A, B, C)]
    tasks = [t.shape[0] for t, rank in zip(factors, _RANKS, strict=True) if t.dim() > rank][:1]
    W = weight.new_empty((*tasks, A.shape[-2], B.shape[-2], C.shape[-2]))
    blocks = triton.cdiv(A.shape[-2], _P_TILE)
    _expand[blocks * (tasks[0] if tasks else 1),](
        *(*factors, W, blocks, *_sizes(*factors), *_steps(*factors)), **_options(*factors)
    )
    return W


def expand_kronecker_backward(
    g: Tensor, weight: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradient of ⟨g, W⟩ with respect to weight, A, B and C, summed over tasks where they are shared."""
    g = g.contiguous()
    factors = [t.contiguous() for t in (weight, A, B, C)]
    tasks = g.shape[0] if g.dim() > 3 else 1
    shapes = [
        (tasks if t.dim() > rank else 1, *t.shape[-rank:]) for t, rank in zip(factors, _RANKS, strict=True)
    ]
    parts = [new_parts(t, tasks if s[0] == 1 else 1, s) for t, s in zip(factors, shapes, strict=True)]
    _backward[tasks,](
        *(g, *factors, *parts, *_sizes(*factors), *_steps(*factors)),
        **_options(*factors),
        I_TILE=triton.next_power_of_2(B.shape[-2]),
        K_TILE=triton.next_power_of_2(C.shape[-2]),
    )
    gw, gA, gB, gC = (sum_parts(p, g.dtype).reshape(t.shape) for p, t in zip(parts, factors, strict=True))
    return gw, gA, gB, gC


def _sizes(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[int, ...]:
    return *weight.shape[-3:], A.shape[-2], B.shape[-2], C.shape[-2]


def _steps(*factors: Tensor) -> tuple[int, ...]:
    """Elements between the tasks of each factor; 0 where tasks share it."""
    pairs = zip(factors, _RANKS, strict=True)
    return tuple(math.prod(t.shape[1:]) if t.dim() > rank else 0 for t, rank in pairs)


def _options(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> dict[str, Any]:
    columns = max(16, triton.next_power_of_2(weight.shape[-2] * weight.shape[-1]))
    rows = max(16, triton.next_power_of_2(B.shape[-2] * C.shape[-2]))
    return {
        "P_TILE": _P_TILE,
        "QL_TILE": columns,
        "IK_TILE": rows,
        "ACC": sum_type(weight.dtype),
        "PRECISION": products(weight.dtype),
        "num_warps": 2 if rows == columns == 16 else 8,  # of 1 to 8 those that spill no registers
    }


@triton.jit
def _matrix(x, row, rows, column, columns, ACC: tl.constexpr):
    """x[row, column] of a matrix with so many rows and columns; 0 outside."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    return tl.load(x + row[:, None] * columns + column[None, :], mask=inside, other=0.0).to(ACC)


@triton.jit
def _entries(x, ql, ik, first, second, columns, size, other, ACC: tl.constexpr):
    """x[first(ik), second(ql)] laid out like (B ⊗ C)ᵀ, which has ``size`` rows and ``other`` columns."""
    inside = (ql < size)[:, None] & (ik < other)[None, :]
    return tl.load(x + first[None, :] * columns + second[:, None], mask=inside, other=0.0).to(ACC)


@triton.jit
def _expand(
    w, A, B, C, W, blocks, P, Q, L, O, I, K, w_step, A_step, B_step, C_step,  # noqa: E741
    P_TILE: tl.constexpr, QL_TILE: tl.constexpr, IK_TILE: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    task = (tl.program_id(0) // blocks).to(tl.int64)
    o = tl.program_id(0) % blocks * P_TILE + tl.arange(0, P_TILE)
    ql, ik = tl.arange(0, QL_TILE), tl.arange(0, IK_TILE)
    D = _entries(B + task * B_step, ql, ik, ik // K, ql // L, Q, Q * L, I * K, ACC)
    D *= _entries(C + task * C_step, ql, ik, ik % K, ql % L, L, Q * L, I * K, ACC)
    total = tl.zeros([P_TILE, IK_TILE], ACC)
    for first in range(0, P, P_TILE):
        p = first + tl.arange(0, P_TILE)
        weight = _matrix(w + task * w_step, p, P, ql, Q * L, ACC)
        inner = tl.dot(weight, D, input_precision=PRECISION, out_dtype=ACC)
        warp = _matrix(A + task * A_step, o, O, p, P, ACC)
        total = tl.dot(warp, inner, total, input_precision=PRECISION, out_dtype=ACC)
    inside = (o < O)[:, None] & (ik < I * K)[None, :]
    out = W + task * O * I * K + o[:, None] * (I * K) + ik[None, :]
    tl.store(out, total.to(W.dtype.element_ty), mask=inside)


@triton.jit
def _backward(
    g, w, A, B, C, gw, gA, gB, gC, P, Q, L, O, I, K, w_step, A_step, B_step, C_step,  # noqa: E741
    P_TILE: tl.constexpr, QL_TILE: tl.constexpr, IK_TILE: tl.constexpr,
    I_TILE: tl.constexpr, K_TILE: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One task: gA = g Mᵀ with M = w Dᵀ, and with G = Aᵀ g: gw = G D, gDᵀ = wᵀ G, then gD taken apart."""
    task = tl.program_id(0).to(tl.int64)
    ql, ik = tl.arange(0, QL_TILE), tl.arange(0, IK_TILE)
    from_B = _entries(B + task * B_step, ql, ik, ik // K, ql // L, Q, Q * L, I * K, ACC)
    from_C = _entries(C + task * C_step, ql, ik, ik % K, ql % L, L, Q * L, I * K, ACC)
    D = from_B * from_C
    gD = tl.zeros([QL_TILE, IK_TILE], ACC)
    for first in range(0, P, P_TILE):
        p = first + tl.arange(0, P_TILE)
        weight = _matrix(w + task * w_step, p, P, ql, Q * L, ACC)
        inner = tl.dot(weight, D, input_precision=PRECISION, out_dtype=ACC)
        g_inner = tl.zeros([P_TILE, IK_TILE], ACC)
        for start in range(0, O, P_TILE):
            o = start + tl.arange(0, P_TILE)
            grad = _matrix(g + task * O * I * K, o, O, ik, I * K, ACC)
            warp = _matrix(A + task * A_step, o, O, p, P, ACC)
            g_inner = tl.dot(tl.trans(warp), grad, g_inner, input_precision=PRECISION, out_dtype=ACC)
            g_warp = tl.dot(grad, tl.trans(inner), input_precision=PRECISION, out_dtype=ACC)
            inside = (o < O)[:, None] & (p < P)[None, :]
            out = gA + task * O * P + o[:, None] * P + p[None, :]
            tl.store(out, g_warp.to(gA.dtype.element_ty), mask=inside)
        g_weight = tl.dot(g_inner, tl.trans(D), input_precision=PRECISION, out_dtype=ACC)
        inside = (p < P)[:, None] & (ql < Q * L)[None, :]
        out = gw + task * P * Q * L + p[:, None] * (Q * L) + ql[None, :]
        tl.store(out, g_weight.to(gw.dtype.element_ty), mask=inside)
        gD = tl.dot(tl.trans(weight), g_inner, gD, input_precision=PRECISION, out_dtype=ACC)
    i = tl.arange(0, I_TILE)
    for q in range(Q):
        by_ik = tl.sum(tl.where((ql // L == q)[:, None], gD * from_C, 0.0), 0)
        by_i = tl.sum(tl.where((ik // K)[None, :] == i[:, None], by_ik[None, :], 0.0), 1)
        tl.store(gB + task * I * Q + i * Q + q, by_i.to(gB.dtype.element_ty), mask=i < I)
    k = tl.arange(0, K_TILE)
    for l in range(L):  # noqa: E741
        by_ik = tl.sum(tl.where((ql % L == l)[:, None], gD * from_B, 0.0), 0)
        by_k = tl.sum(tl.where((ik % K)[None, :] == k[:, None], by_ik[None, :], 0.0), 1)
        tl.store(gC + task * K * L + k * L + l, by_k.to(gC.dtype.element_ty), mask=k < K)
