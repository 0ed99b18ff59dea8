"""RandomPerspective."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rotfast.functional import _matrices, affine, perspective
from rotfast.transforms._base import RandomTransform
from rotfast.transforms._checks import check_fraction
from rotfast.transforms._points import Size, quadrilateral

__all__ = ["PerspectiveParams", "RandomPerspective"]


class PerspectiveParams(NamedTuple):
    """What ``RandomPerspective`` drew.

    Attributes:
        applied: (N,) bool, which images are transformed.
        inward: (N, 4, 2) float32, how far the top left, top right, bottom right and bottom left corner pixels
            move towards the middle in x and in y, as fractions of W - 1 and H - 1; 0 where not applied.
    """

    applied: Tensor
    inward: Tensor


class RandomPerspective(RandomTransform):
    """Show every image of a batch in a perspective of its own.

    Each corner pixel moves inwards, in x uniformly by 0 to distortion_scale · (W - 1) / 2 and in y likewise.
    Arguments and defaults are those of ``torchvision.transforms.v2.RandomPerspective``; docs/transforms.md
    lists what differs.

    Args:
        distortion_scale: from 0, no distortion, to 1. Above 2/3 a corner can pass the line between its
            neighbours, and the image folds over.
        p: probability that an image is transformed; others come back bit for bit.
        interpolation, fill, padding_mode, same_on_batch, generator, mean, std: as in ``RandomRotation``.

    Shape:
        uint8 or floating point, (N, C, H, W) or (C, H, W) -> the same.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an argument out of range.

    Example:
        >>> import torch
        >>> from rotfast.transforms import RandomPerspective
        >>> augment = RandomPerspective(0.3, p=1.0)
        >>> augment(torch.rand(8, 3, 32, 32)).shape
        torch.Size([8, 3, 32, 32])
    """

    params_type = PerspectiveParams

    def __init__(
        self,
        distortion_scale: float = 0.5,
        p: float = 0.5,
        interpolation: object = "bilinear",
        fill: float | Sequence[float] = 0,
        *,
        padding_mode: str = "constant",
        same_on_batch: bool = False,
        generator: torch.Generator | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            interpolation,
            fill,
            padding_mode=padding_mode,
            p=p,
            same_on_batch=same_on_batch,
            generator=generator,
            mean=mean,
            std=std,
        )
        self.distortion_scale = check_fraction("distortion_scale", distortion_scale)

    def sample(self, x: Tensor) -> PerspectiveParams:
        """Draw the corners for every image of x, (N, C, H, W) or (C, H, W)."""
        applied, values = self._draw(x, *[(0.0, self.distortion_scale / 2, 0.0)] * 8)
        return PerspectiveParams(applied, values.unflatten(1, (4, 2)))

    def _warp(self, x: Tensor, params: PerspectiveParams, inverse: bool, options: dict[str, Any]) -> Tensor:
        size = (x.shape[-2], x.shape[-1])
        moved = perspective(x, self._matrix(params, size, size, inverse), **options)
        still = affine(x, **options)
        return torch.where(params.applied[:, None, None, None], moved, still)

    def _matrix(self, params: PerspectiveParams, before: Size, after: Size, inverse: bool) -> Tensor:
        extent = params.inward.new_tensor([max(before[1] - 1, 1), max(before[0] - 1, 1)], dtype=torch.float64)
        corners = extent.new_tensor([[0, 0], [1, 0], [1, 1], [0, 1]])
        # Towards the middle: to the right and down from 0, to the left and up from 1.
        matrix = quadrilateral((corners + (1 - 2 * corners) * params.inward) * extent, before)
        return _matrices.adjugate(matrix) if inverse else matrix
