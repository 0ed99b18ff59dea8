"""The generation of weights alone: expand_kronecker and expand_dense."""

from functools import partial

import torch

import rotfast
from benchmarks.case import PLAIN, ROTFAST, Call, Case, differentiable, parametrize
from benchmarks.plain import expand_einsum, expand_kron, expand_matmul

# Kernels (out, in, taps) and dense sharings (weights, latent size) of the studies' layers.
KRONECKER = [(32, 1, 9), (24, 1, 9), (48, 1, 9), (100, 3, 9), (32, 32, 9), (64, 64, 9)]
DENSE = [(4760, 3), (4760, 6), (4760, 30), (216320, 3), (1081600, 3)]
SMOKE = [KRONECKER[0], DENSE[0]]
KRONECKER_WAYS = {
    ROTFAST: rotfast.expand_kronecker,
    PLAIN: expand_einsum,
    "matmul": expand_matmul,
    "kron": expand_kron,
}
DENSE_WAYS = {ROTFAST: rotfast.expand_dense, PLAIN: torch.matmul}


def build_kronecker(shape: tuple[int, int, int], backward: bool, dtype: torch.dtype) -> dict[str, Call]:
    inputs = [torch.randn(shape, dtype=dtype), *(torch.randn(n, n, dtype=dtype) for n in shape)]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    return {
        name: differentiable(partial(expand, *inputs), inputs, backward)
        for name, expand in KRONECKER_WAYS.items()
    }


def build_dense(shape: tuple[int, int], backward: bool, dtype: torch.dtype) -> dict[str, Call]:
    inputs = [torch.randn(size, dtype=dtype, requires_grad=True) for size in (shape, shape[1:])]
    return {
        name: differentiable(partial(expand, *inputs), inputs, backward)
        for name, expand in DENSE_WAYS.items()
    }


def kronecker(suite: str, *, backward: bool) -> list[Case]:
    return [
        Case(
            suite=suite,
            shape="×".join(map(str, shape)),
            names=tuple(KRONECKER_WAYS),
            build=partial(build_kronecker, shape, backward),
            smoke=shape in SMOKE,
        )
        for shape in KRONECKER
    ]


def dense(suite: str, *, backward: bool) -> list[Case]:
    return [
        Case(
            suite=suite,
            shape=f"{shape[0]}, L={shape[1]}",
            names=tuple(DENSE_WAYS),
            build=partial(build_dense, shape, backward),
            smoke=shape in SMOKE,
        )
        for shape in DENSE
    ]


@parametrize(
    [
        *kronecker("expand_kronecker, forward", backward=False),
        *dense("expand_dense, forward", backward=False),
    ]
)
def test_forward(case, contestant, compare):
    compare(case, contestant)


@parametrize(
    [
        *kronecker("expand_kronecker, forward and backward", backward=True),
        *dense("expand_dense, forward and backward", backward=True),
    ]
)
def test_forward_and_backward(case, contestant, compare):
    compare(case, contestant)
