"""rotation_matrix: the choice of backend, and the fake kernel of torch.ops.rotfast.rotation_matrix.

Derivatives and vmap are those of the reference: what is recorded or transformed goes there.
"""

import torch
from torch import Tensor

from rotfast import backend, reference
from rotfast.ops.autograd import recorded

Point = tuple[float, float]

if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::rotation_matrix")
    def _fake(angle: Tensor, u: float, v: float, x: float, y: float) -> Tensor:
        return angle.new_empty((*angle.shape, 2, 3))


def _why_not_compiled(angle: Tensor) -> str | None:
    if (reason := backend.why_no_kernel("rotation_matrix", angle)) is not None:
        return reason
    return "derivatives or transforms" if recorded(angle) else None


def rotation_matrix(angle: Tensor, source: Point, target: Point) -> Tensor:
    """(..., 2, 3) for float64 angles (...): the turned image's point ``target`` comes from ``source``."""
    reason = _why_not_compiled(angle)
    if reason is not None:
        backend.explain("rotation_matrix", "reference", reason)
        return reference.rotation_matrix(angle, source, target)
    backend.explain("rotation_matrix", angle.device.type, "compiled kernel")
    return torch.ops.rotfast.rotation_matrix(angle, *source, *target)


def cos_sin(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of float64 degrees, exact at multiples of 90."""
    if _why_not_compiled(angle) is not None:
        return reference.cos_sin(angle)
    matrix = torch.ops.rotfast.rotation_matrix(angle, 0.0, 0.0, 0.0, 0.0)
    return matrix[..., 0, 0], matrix[..., 1, 0]
