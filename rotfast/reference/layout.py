"""Memory order of results."""

from torch import Tensor


def ordered_like(y: Tensor, x: Tensor) -> Tensor:
    """Results (..., C, H, W), with channels last in memory where the images x (N, C, H, W) have them so."""
    if x.stride(1) == 1 and not x.is_contiguous():
        return y.movedim(-3, -1).contiguous().movedim(-1, -3)
    return y
