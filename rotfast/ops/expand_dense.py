"""expand_dense: autograd, vmap and fake kernels over torch.ops.rotfast.expand_dense and its derivatives.

F(g, U, v) = Σ g[m] U[m,l] v[l] is linear in three arguments, so its three derivatives are closed under
differentiation: each one's backward is the other two.
"""

from typing import Any

import torch
from torch import Tensor

from rotfast import backend, reference
from rotfast.ops import triton
from rotfast.ops.autograd import (
    Operator,
    all_the_same,
    batch_as_tasks,
    call,
    in_float32,
    match_tasks,
    needed,
    transformed,
)
from rotfast.reference.precision import autocast_is_on, own_dtype

# Beyond this latent size transposing rows costs more than it saves over a library product (one core).
LATENT_LIMIT = 8
# Up to this latent size a tile of whole rows fits the registers of a GPU; not measured.
_CUDA_LATENT_LIMIT = 32
# Up to this size of U the call itself dominates, and torch's own matrix product has less overhead than a
# Function, above all inside torch.func transforms.
_SMALL = 1 << 16

if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::expand_dense")
    def _fake(U: Tensor, v: Tensor) -> Tensor:
        tasks = [U.shape[0]] if U.dim() > 2 else [v.shape[0]] if v.dim() > 1 else []
        return U.new_empty([*tasks, U.shape[-2]])

    @torch.library.register_fake("rotfast::expand_dense_latent_grad")
    def _fake_latent_grad(U: Tensor, g: Tensor, per_task: bool) -> Tensor:
        tasks = [U.shape[0] if U.dim() > 2 else g.shape[0]] if per_task else []
        return U.new_empty([*tasks, U.shape[-1]])

    @torch.library.register_fake("rotfast::expand_dense_sharing_grad")
    def _fake_sharing_grad(g: Tensor, v: Tensor, per_task: bool) -> Tensor:
        tasks = [g.shape[0] if g.dim() > 1 else v.shape[0]] if per_task else []
        return g.new_empty([*tasks, g.shape[-1], v.shape[-1]])


class ExpandDense(Operator):
    """W[m] = Σ U[m,l] v[l]."""

    @staticmethod
    def forward(U: Tensor, v: Tensor) -> Tensor:
        if U.dim() == 2 and all_the_same(v, 1):
            return torch.ops.rotfast.expand_dense(U, v[0]).expand(v.shape[0], -1)
        return torch.ops.rotfast.expand_dense(U, v)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        U, v = ctx.saved_tensors
        needs_U, needs_v = needed(ctx)
        return (
            sharing_grad(g, v, like=U) if needs_U else None,
            latent_grad(U, g, like=v) if needs_v else None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], U: Tensor, v: Tensor) -> tuple[Tensor, int]:
        return batch_as_tasks(info.batch_size, in_dims, (U, v), (2, 1), ExpandDense.apply), 0


class LatentGrad(Operator):
    """gv[l] = Σ_m U[m,l] g[m], summed over tasks unless ``per_task``."""

    @staticmethod
    def forward(U: Tensor, g: Tensor, per_task: bool) -> Tensor:
        return torch.ops.rotfast.expand_dense_latent_grad(U, g, per_task)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        U, g = ctx.saved_tensors
        needs_U, needs_g, _ = needed(ctx)
        return (
            sharing_grad(g, direction, like=U) if needs_U else None,
            match_tasks(call(ExpandDense, U, direction), g) if needs_g else None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], U: Tensor, g: Tensor, per_task: bool) -> tuple[Tensor, int]:
        nested = U.dim() - (in_dims[0] is not None) > 2 or g.dim() - (in_dims[1] is not None) > 1

        def run(U: Tensor, g: Tensor) -> Tensor:
            return LatentGrad.apply(U, g, per_task if nested else True)

        return batch_as_tasks(info.batch_size, in_dims[:2], (U, g), (2, 1), run), 0


class SharingGrad(Operator):
    """gU[m,l] = g[m] v[l], summed over tasks unless ``per_task``."""

    @staticmethod
    def forward(g: Tensor, v: Tensor, per_task: bool) -> Tensor:
        return torch.ops.rotfast.expand_dense_sharing_grad(g, v, per_task)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        g, v = ctx.saved_tensors
        needs_g, needs_v, _ = needed(ctx)
        return (
            match_tasks(call(ExpandDense, direction, v), g) if needs_g else None,
            latent_grad(direction, g, like=v) if needs_v else None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], g: Tensor, v: Tensor, per_task: bool) -> tuple[Tensor, int]:
        nested = g.dim() - (in_dims[0] is not None) > 1 or v.dim() - (in_dims[1] is not None) > 1

        def run(g: Tensor, v: Tensor) -> Tensor:
            return SharingGrad.apply(g, v, per_task if nested else True)

        return batch_as_tasks(info.batch_size, in_dims[:2], (g, v), (1, 1), run), 0


def latent_grad(U: Tensor, g: Tensor, like: Tensor) -> Tensor:
    """The gradient of ⟨g, U v⟩ with respect to v, with the task dimension of ``like``."""
    per_task = like.dim() > 1 and (U.dim() > 2 or g.dim() > 1)
    return match_tasks(call(LatentGrad, U, g, per_task), like)


def sharing_grad(g: Tensor, v: Tensor, like: Tensor) -> Tensor:
    """The gradient of ⟨g, U v⟩ with respect to U, with the task dimension of ``like``."""
    per_task = like.dim() > 2 and (g.dim() > 1 or v.dim() > 1)
    return match_tasks(call(SharingGrad, g, v, per_task), like)


def is_small(U: Tensor) -> bool:
    """Whether a call's overhead costs more than its arithmetic."""
    return U.shape[-2] * U.shape[-1] <= _SMALL


def why_not_compiled(U: Tensor) -> str | None:
    """Why the compiled kernels do not serve this U, or None."""
    if (reason := backend.why_not_compiled()) is not None:
        return reason
    if is_small(U):
        return "small: torch's matrix product has less overhead"
    if not U.is_cpu and (reason := triton.why_not(U)) is not None:
        return reason
    if U.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        return f"no compiled kernel for {U.dtype}"
    limit = LATENT_LIMIT if U.is_cpu else _CUDA_LATENT_LIMIT
    if U.shape[-1] > limit:
        return f"latent size above {limit}"
    return None


def expand_dense(U: Tensor, v: Tensor) -> Tensor:
    """W[m] = Σ U[m,l] v[l] by the best backend; arguments are checked already."""
    reason = why_not_compiled(U)
    if reason is not None and (U.dim() > 2 or backend.why_not_compiled() is not None):
        backend.explain("expand_dense", "reference", reason)
        return reference.expand_dense(U, v)
    if reason is not None:
        backend.explain("expand_dense", "torch's product", reason)
        if not autocast_is_on(U):
            return _product(U, v)
        with own_dtype(U):
            return _product(U, v)
    if not U.is_cpu:
        backend.explain("expand_dense", "Triton", "compiled kernel")
        return call(ExpandDense, U, v)
    backend.explain("expand_dense", "cpu", "compiled kernel")
    if in_float32(U):
        return call(ExpandDense, U.float(), v.float()).to(U.dtype)
    return call(ExpandDense, U, v)


def _product(U: Tensor, v: Tensor) -> Tensor:
    rows = U.mT
    if U.shape[-1] <= LATENT_LIMIT and (v.dim() > 1 or transformed()):
        # With tasks, the library's products for both gradients take several times as long on narrow columns.
        rows = rows.contiguous()
    return v @ rows  # of all spellings the one that vmap over v batches best
