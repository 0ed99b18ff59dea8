"""RandomRotation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rotfast.functional import _matrices, rotate
from rotfast.transforms._base import RandomTransform
from rotfast.transforms._checks import check_bool, check_center, check_degrees
from rotfast.transforms._points import Size, middle

__all__ = ["RandomRotation", "RotationParams"]


class RotationParams(NamedTuple):
    """What ``RandomRotation`` drew.

    Attributes:
        applied: (N,) bool, which images are rotated.
        angle: (N,) float32 in degrees, counter-clockwise; 0 where not applied.
    """

    applied: Tensor
    angle: Tensor


class RandomRotation(RandomTransform):
    """Rotate every image of a batch by an angle of its own, uniform over a range.

    Arguments and defaults are those of ``torchvision.transforms.v2.RandomRotation``; docs/transforms.md lists
    what differs.

    Args:
        degrees: (low, high), or d for (-d, d); positive turns counter-clockwise as displayed.
        interpolation: "nearest", "bilinear" or "bicubic", or an enumeration's member with such a value.
        expand: enlarge the canvas to hold every image of the batch, each in its middle. The canvas depends on
            the angles, so it differs from batch to batch, and the call does not compile into one graph.
        center: (x, y) in pixels, with pixel centres at integers; None is the middle.
        fill: what comes from outside, in input units: a number or one per channel.
        padding_mode: "constant" (``fill``), "border" or "reflection".
        p: probability that an image is rotated; others come back bit for bit, or with ``expand`` in the
            middle of the new canvas.
        same_on_batch: one draw for the whole batch.
        generator: source of randomness, drawn from on its device; None is torch's global one on that of x.
        mean, std: per channel, to normalise in the same pass; uint8 counts as 0..1 and becomes float32.

    Shape:
        uint8 or floating point, (N, C, H, W) or (C, H, W) -> the same, or with ``expand`` a larger H and W.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an argument out of range; ``center`` with ``expand``.

    Example:
        >>> import torch
        >>> from rotfast.transforms import RandomRotation
        >>> x, augment = torch.rand(8, 3, 32, 32), RandomRotation(30, interpolation="bilinear")
        >>> params = augment.sample(x)
        >>> torch.equal(augment(x, params=params), augment(x, params=params))
        True
        >>> y, masks, boxes, keypoints = augment(x, keypoints=torch.rand(8, 5, 2) * 32)
        >>> y.shape, keypoints.shape
        (torch.Size([8, 3, 32, 32]), torch.Size([8, 5, 2]))
    """

    params_type = RotationParams

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: object = "nearest",
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: float | Sequence[float] = 0,
        *,
        padding_mode: str = "constant",
        p: float = 1.0,
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
        self.degrees = check_degrees("degrees", degrees)
        self.expand = check_bool("expand", expand)
        self.center = check_center(center)
        if self.expand and self.center is not None:
            raise ValueError(f"center must be None with expand=True, got {center!r}")

    def sample(self, x: Tensor) -> RotationParams:
        """Draw an angle for every image of x, (N, C, H, W) or (C, H, W)."""
        applied, values = self._draw(x, (*self.degrees, 0.0))
        return RotationParams(applied, values[:, 0])

    def _warp(self, x: Tensor, params: RotationParams, inverse: bool, options: dict[str, Any]) -> Tensor:
        angle = -params.angle if inverse else params.angle
        return rotate(x, angle, center=self.center, expand=self.expand and not inverse, **options)

    def _matrix(self, params: RotationParams, before: Size, after: Size, inverse: bool) -> Tensor:
        angle = params.angle.double()
        linear = _matrices.inverse_rotation(angle if inverse else -angle)
        source, target = self.center or middle(before), self.center or middle(after)
        return _matrices.source_matrix(linear, target, source, angle.device)
