"""expand_kronecker: autograd, vmap and fake kernels over torch.ops.rotfast.expand_kronecker.

W is linear in each of (weight, A, B, C), so with the cotangent g the form F(g, weight, A, B, C) = ⟨g, W⟩ is
linear in five arguments: the derivative of its gradient is the same gradient with one argument replaced.
"""

from typing import Any, cast

import torch
from torch import Tensor

from rotfast import backend, reference
from rotfast.ops import triton
from rotfast.ops.autograd import Operator, batch_as_tasks, call, in_float32, recorded
from rotfast.reference.precision import own_dtype

_RANKS = (3, 2, 2, 2)
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# Multiply-adds up to which one fused call beats three library matrix products (one core, AVX-512).
_FUSED_LIMIT = 50_000
# Rows and columns of B ⊗ C up to which writing it out saves time.
_WRITTEN_OUT = 64
# On a GPU: rows and columns of B ⊗ C that fit a tile in registers, and channels that one program of backward
# walks through; not measured.
_TILE = 32
_CHANNELS = 256

if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::expand_kronecker")
    def _fake(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        shape = [A.shape[-2], B.shape[-2], C.shape[-2]]
        tasks = [t.shape[0] for t, rank in zip((weight, A, B, C), _RANKS, strict=True) if t.dim() > rank]
        return weight.new_empty(tasks[:1] + shape)

    @torch.library.register_fake("rotfast::expand_kronecker_backward")
    def _fake_backward(
        g: Tensor, weight: Tensor, A: Tensor, B: Tensor, C: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (
            weight.new_empty(weight.shape),
            A.new_empty(A.shape),
            B.new_empty(B.shape),
            C.new_empty(C.shape),
        )


class ExpandKronecker(Operator):
    """W = (A ⊗ B ⊗ C) weight."""

    @staticmethod
    def forward(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        return torch.ops.rotfast.expand_kronecker(weight, A, B, C)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        return call(ExpandKroneckerBackward, g, *ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Tensor, int]:
        run = ExpandKronecker.apply
        return batch_as_tasks(info.batch_size, in_dims, tensors, _RANKS, run), 0


class ExpandKroneckerBackward(Operator):
    """The gradient of ⟨g, W⟩ with respect to weight, A, B and C."""

    @staticmethod
    def forward(g: Tensor, weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
        return torch.ops.rotfast.expand_kronecker_backward(g, weight, A, B, C)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *directions: Tensor) -> tuple[Tensor, ...]:
        g, *factors = ctx.saved_tensors
        g_total: Tensor | None = None
        totals: list[Tensor | None] = [None] * 4
        for position, direction in enumerate(directions):
            replaced = [*factors[:position], direction, *factors[position + 1 :]]
            change = call(ExpandKronecker, *replaced)
            if change.dim() < g.dim():
                change = change.expand_as(g)
            g_total = change if g_total is None else g_total + change
            for other, gradient in enumerate(call(ExpandKroneckerBackward, g, *replaced)):
                if other != position:
                    total = totals[other]
                    totals[other] = gradient if total is None else total + gradient
        return cast(tuple[Tensor, ...], (g_total, *totals))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Any, tuple[int, ...]]:
        run = ExpandKroneckerBackward.apply
        outputs = batch_as_tasks(info.batch_size, in_dims, tensors, (3, *_RANKS), run, expand=range(5))
        return outputs, (0, 0, 0, 0)


def why_not_fused(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> str | None:
    """Why the fused kernel does not serve these arguments, or None."""
    if (reason := backend.why_not_compiled()) is not None:
        return reason
    if not weight.is_cpu and (reason := triton.why_not(weight)) is not None:
        return reason
    if weight.dtype not in _DTYPES:
        return f"no compiled kernel for {weight.dtype}"
    P, Q, L = weight.shape[-3:]
    O, I, K = A.shape[-2], B.shape[-2], C.shape[-2]  # noqa: E741
    if not weight.is_cpu:
        fits = max(I * K, Q * L) <= _TILE and max(O, P) <= _CHANNELS
        return None if fits else f"B ⊗ C above {_TILE} or A above {_CHANNELS}"
    multiply_adds = P * Q * K * L + P * I * Q * K + O * P * I * K
    if multiply_adds > _FUSED_LIMIT:
        return "large enough for library matrix products"
    return None


def expand_kronecker(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """W[o,i,k] = Σ A[o,p] B[i,q] C[k,l] weight[p,q,l] by the best backend; arguments are checked already."""
    reason = why_not_fused(weight, A, B, C)
    if reason is None and recorded(weight, A, B, C):
        reason = "recording a Function costs more than torch's products"
    if reason is not None and backend.why_not_compiled() is not None:
        backend.explain("expand_kronecker", "reference", reason)
        return reference.expand_kronecker(weight, A, B, C)
    if reason is None and not weight.is_cpu:
        backend.explain("expand_kronecker", "Triton", "fused kernel")
        return call(ExpandKronecker, weight, A, B, C)
    dtype = weight.dtype
    if in_float32(weight):
        weight, A, B, C = weight.float(), A.float(), B.float(), C.float()
    if reason is None:
        backend.explain("expand_kronecker", "cpu", "fused kernel")
        return call(ExpandKronecker, weight, A, B, C).to(dtype)
    backend.explain("expand_kronecker", "torch's products", reason)
    with own_dtype(weight):
        return _products(weight, A, B, C).to(dtype)


def _products(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """By two matrix products with B ⊗ C written out where it is small, or by three, small factors first."""
    I, Q, K, L = *B.shape[-2:], *C.shape[-2:]  # noqa: E741
    if I * K <= _WRITTEN_OUT and Q * L <= _WRITTEN_OUT:
        if I == Q == 1:
            BC = B * C
        elif B.dim() == 2 and C.dim() == 2:
            BC = torch.kron(B, C)
        else:
            BC = (B[..., :, None, :, None] * C[..., None, :, None, :]).flatten(-2).flatten(-3, -2)
        W = A @ (weight.flatten(-2) @ BC.mT)
        return W.view(*W.shape[:-1], I, K)  # unflatten is written in Python
    if weight.dim() == 3 and A.dim() == B.dim() == C.dim() == 2:
        # One large product each and two copies between them: less than a product for every row of weight.
        P, O = weight.shape[0], A.shape[0]  # noqa: E741
        W = (weight.reshape(-1, L) @ C.mT).view(P, Q, K).transpose(0, 1).reshape(Q, -1)
        W = (B @ W).view(I, P, K).transpose(0, 1).reshape(P, -1)
        return (A @ W).view(O, I, K)
    if B.dim() > 2:
        B = B.unsqueeze(-3)
    if C.dim() > 2:
        C = C.unsqueeze(-3)
    W = B @ (weight @ C.mT)
    return (A @ W.flatten(-2)).unflatten(-1, W.shape[-2:])
