"""affine: autograd, vmap and fake kernels over torch.ops.rotfast.affine and its derivatives.

With S_ab the resampling whose interpolation kernel is differentiated a times along columns and b times along
rows, three operators are closed under differentiation: S_ab itself, its adjoint in the image, and its
gradient in the matrix, which is made of S_(a+1)b and S_a(b+1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rotfast import backend, reference
from rotfast.ops.autograd import Operator, call, needed, recorded

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
PADDING_MODES = ("constant", "border", "reflection")
_DEGREES = (0, 1, 3)


@dataclass(frozen=True)
class Sampling:
    """What a resampling needs besides tensors: codes, sizes, and how often its kernel is differentiated."""

    interpolation: int
    padding: int
    size: tuple[int, int]
    order: tuple[int, int] = (0, 0)

    def differentiated(self, axis: int) -> "Sampling":
        """Once more along columns (0) or rows (1)."""
        a, b = self.order
        return replace(self, order=(a + 1, b) if axis == 0 else (a, b + 1))

    @property
    def vanishes(self) -> bool:
        """Whether the kernel's polynomials have no such derivative."""
        return max(self.order) > _DEGREES[self.interpolation]


if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::affine")
    def _fake(
        x: Tensor,
        matrix: Tensor,
        fill: Tensor | None,
        mean: Tensor | None,
        std: Tensor | None,
        size: list[int],
        *_: Any,
    ) -> Tensor:
        dtype = torch.float32 if x.dtype == torch.uint8 and (mean is not None or std is not None) else x.dtype
        N, C = x.shape[:2]
        K = matrix.shape[1]
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            return x.new_empty((N, K, *size, C), dtype=dtype).movedim(-1, 2)
        return x.new_empty((N, K, C, *size), dtype=dtype)

    @torch.library.register_fake("rotfast::affine_image_grad")
    def _fake_image_grad(g: Tensor, matrix: Tensor, in_size: list[int], *_: Any) -> Tensor:
        return g.new_empty((g.shape[0], g.shape[2], *in_size))

    @torch.library.register_fake("rotfast::affine_matrix_grad")
    def _fake_matrix_grad(g: Tensor, x: Tensor, matrix: Tensor, *_: Any) -> Tensor:
        return matrix.new_empty(matrix.shape)


class Affine(Operator):
    """S_ab of images x (N,C,H,W) under matrices (N,K,2,3): (N,K,C,OH,OW)."""

    @staticmethod
    def forward(x: Tensor, matrix: Tensor, fill: Tensor | None, how: Sampling) -> Tensor:
        return torch.ops.rotfast.affine(
            x, matrix, fill, None, None, how.size, how.interpolation, how.padding, how.order
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, matrix, fill, ctx.how = inputs
        ctx.save_for_backward(x, matrix, fill)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, matrix, fill = ctx.saved_tensors
        needs_x, needs_matrix, *_ = needed(ctx)
        return (
            image_grad(g, matrix, ctx.how, x.shape[-2:]) if needs_x else None,
            matrix_grad(g, x, matrix, fill, ctx.how) if needs_matrix else None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        x: Tensor,
        matrix: Tensor,
        fill: Tensor | None,
        how: Sampling,
    ) -> tuple[Tensor, int]:
        batch, (x_dim, matrix_dim, *_) = info.batch_size, in_dims
        if matrix_dim is None:
            y = Affine.apply(_into(x, x_dim, 1), matrix, None if fill is None else fill.repeat(batch), how)
            return y.unflatten(2, (batch, -1)), 2
        if x_dim is None:
            return Affine.apply(x, _into(matrix, matrix_dim, 1), fill, how).unflatten(1, (batch, -1)), 1
        y = Affine.apply(_into(x, x_dim, 0), _into(matrix, matrix_dim, 0), fill, how)
        return y.unflatten(0, (batch, -1)), 0


class AffineImageGrad(Operator):
    """The adjoint of S_ab: g (N,K,C,OH,OW) back to (N,C,H,W), summed over K."""

    @staticmethod
    def forward(g: Tensor, matrix: Tensor, how: Sampling, in_size: Sequence[int]) -> Tensor:
        return torch.ops.rotfast.affine_image_grad(
            g, matrix, in_size, how.interpolation, how.padding, how.order
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        g, matrix, ctx.how, _ = inputs
        ctx.save_for_backward(g, matrix)

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        g, matrix = ctx.saved_tensors
        needs_g, needs_matrix, *_ = needed(ctx)
        return (
            resampled(direction, matrix, None, ctx.how) if needs_g else None,
            matrix_grad(g, direction, matrix, None, ctx.how) if needs_matrix else None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], g: Tensor, matrix: Tensor, how: Sampling, in_size: Sequence[int]
    ) -> tuple[Tensor, int]:
        batch, (g_dim, matrix_dim, *_) = info.batch_size, in_dims
        if matrix_dim is None:
            gx = AffineImageGrad.apply(_into(g, g_dim, 2), matrix, how, in_size)
            return gx.unflatten(1, (batch, -1)), 1
        gx = AffineImageGrad.apply(_all(g, g_dim, batch), _into(matrix, matrix_dim, 0), how, in_size)
        return gx.unflatten(0, (batch, -1)), 0


class AffineMatrixGrad(Operator):
    """The gradient of ⟨g, S_ab x⟩ in the matrix, (N,K,2,3), from g (N,K,C,OH,OW) and x (N,C,H,W)."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, matrix: Tensor, fill: Tensor | None, how: Sampling) -> Tensor:
        return torch.ops.rotfast.affine_matrix_grad(
            g, x, matrix, fill, how.interpolation, how.padding, how.order
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        g, x, matrix, fill, ctx.how = inputs
        ctx.save_for_backward(g, x, matrix, fill)

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        g, x, matrix, fill = ctx.saved_tensors
        needs_g, needs_x, needs_matrix, *_ = needed(ctx)
        terms = []
        for axis, speed in enumerate(reference.positions(direction, ctx.how.size)):
            how = ctx.how.differentiated(axis)
            speed = speed.to(g.dtype).unsqueeze(2)
            terms.append(
                (
                    speed * resampled(x, matrix, fill, how) if needs_g else None,
                    image_grad(g * speed, matrix, how, x.shape[-2:]) if needs_x else None,
                    matrix_grad(g * speed, x, matrix, fill, how) if needs_matrix else None,
                )
            )
        sums = (None if a is None or b is None else a + b for a, b in zip(*terms, strict=True))
        return (*sums, None, None)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        g: Tensor,
        x: Tensor,
        matrix: Tensor,
        fill: Tensor | None,
        how: Sampling,
    ) -> tuple[Tensor, int]:
        batch, (g_dim, x_dim, matrix_dim, *_) = info.batch_size, in_dims
        fold, at = (_all, 0) if x_dim is not None else (_repeated, 1)
        if x_dim is not None:
            x = _into(x, x_dim, 0)
        gm = AffineMatrixGrad.apply(fold(g, g_dim, batch), x, fold(matrix, matrix_dim, batch), fill, how)
        return gm.unflatten(at, (batch, -1)), at


def _into(tensor: Tensor, dim: int, at: int) -> Tensor:
    """The vmapped dimension merged into dimension ``at`` of the rest, in front of it."""
    return tensor.movedim(dim, at).flatten(at, at + 1)


def _all(tensor: Tensor, dim: int | None, batch: int) -> Tensor:
    """The vmapped dimension, or repetitions where there is none, merged into the images."""
    return tensor.expand(batch, *tensor.shape).flatten(0, 1) if dim is None else _into(tensor, dim, 0)


def _repeated(tensor: Tensor, dim: int | None, batch: int) -> Tensor:
    """The same, merged into the K resamplings of every image."""
    if dim is None:
        return tensor.unsqueeze(1).expand(-1, batch, *tensor.shape[1:]).flatten(1, 2)
    return _into(tensor, dim, 1)


def resampled(x: Tensor, matrix: Tensor, fill: Tensor | None, how: Sampling) -> Tensor:
    """S_ab of x."""
    if how.vanishes:
        return x.new_zeros((x.shape[0], matrix.shape[1], x.shape[1], *how.size))
    return call(Affine, x, matrix, fill, how)


def image_grad(g: Tensor, matrix: Tensor, how: Sampling, in_size: Sequence[int]) -> Tensor:
    """The adjoint of S_ab at g."""
    if how.vanishes:
        return g.new_zeros((g.shape[0], g.shape[2], *in_size))
    return call(AffineImageGrad, g, matrix, how, tuple(in_size))


def matrix_grad(g: Tensor, x: Tensor, matrix: Tensor, fill: Tensor | None, how: Sampling) -> Tensor:
    """The gradient of ⟨g, S_ab x⟩ in the matrix."""
    if how.differentiated(0).vanishes and how.differentiated(1).vanishes:
        return torch.zeros_like(matrix)
    return call(AffineMatrixGrad, g, x, matrix, fill, how)


def affine(
    x: Tensor,
    matrix: Tensor,
    fill: Tensor | None = None,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    *,
    size: tuple[int, int],
    interpolation: str,
    padding_mode: str,
) -> Tensor:
    """out[n,k,c,Y,X] = x[n,c] at matrix[n,k] (X, Y, 1)ᵀ; arguments are checked already.

    x is (N, C, H, W), matrix (N, K, 2, 3) in float64; fill, mean and std are (C,).
    """
    if (reason := backend.why_no_kernel("affine", x)) is not None:
        backend.explain("affine", "reference", reason)
        return reference.affine(
            x, matrix, fill, mean, std, size=size, interpolation=interpolation, padding_mode=padding_mode
        )
    backend.explain("affine", x.device.type, "resampling kernel")
    code, padding = INTERPOLATIONS.index(interpolation), PADDING_MODES.index(padding_mode)
    if not recorded(x, matrix):
        return torch.ops.rotfast.affine(x, matrix, fill, mean, std, size, code, padding, (0, 0))
    how = Sampling(code, padding, size)
    if mean is None and std is None:
        return Affine.apply(x, matrix, fill, how)
    image, outside = reference.normalize(x, fill, mean, std)
    y = Affine.apply(image, matrix, outside, how)
    return y if x.dtype == torch.uint8 else y.to(x.dtype)
