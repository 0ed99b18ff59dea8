"""rotation_matrix: autograd, vmap and fake kernel over torch.ops.rotfast.rotation_matrix.

The derivative of a rotation by an angle is the rotation by 90 degrees more, so the operator is closed under
differentiation.
"""

import math
from typing import Any

import torch
from torch import Tensor

from rotfast import backend, reference
from rotfast.ops.autograd import Operator, call

Point = tuple[float, float]
_ORIGIN = (0.0, 0.0)

if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::rotation_matrix")
    def _fake(angle: Tensor, u: float, v: float, x: float, y: float) -> Tensor:
        return angle.new_empty((*angle.shape, 2, 3))


class RotationMatrix(Operator):
    """(..., 2, 3) for angles (...) in degrees."""

    @staticmethod
    def forward(angle: Tensor, source: Point, target: Point) -> Tensor:
        return torch.ops.rotfast.rotation_matrix(angle, *source, *target)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Point, Point], output: Tensor) -> None:
        angle, _, ctx.target = inputs
        ctx.save_for_backward(angle)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (angle,) = ctx.saved_tensors
        slope = call(RotationMatrix, angle + 90, _ORIGIN, ctx.target)
        return (g * slope).sum((-2, -1)) * (math.pi / 180), None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None, None], angle: Tensor, source: Point, target: Point
    ) -> tuple[Tensor, int]:
        return RotationMatrix.apply(angle.movedim(in_dims[0], 0), source, target), 0


def rotation_matrix(angle: Tensor, source: Point, target: Point) -> Tensor:
    """(..., 2, 3) for float64 angles (...): the turned image's point ``target`` comes from ``source``."""
    if (reason := backend.why_no_kernel("rotation_matrix", angle)) is not None:
        backend.explain("rotation_matrix", "reference", reason)
        return reference.rotation_matrix(angle, source, target)
    backend.explain("rotation_matrix", angle.device.type, "compiled kernel")
    return call(RotationMatrix, angle, source, target)


def cos_sin(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of float64 degrees, exact at multiples of 90."""
    matrix = rotation_matrix(angle, _ORIGIN, _ORIGIN)
    return matrix[..., 0, 0], matrix[..., 1, 0]
