"""RandomAffine."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rotfast.functional import _matrices, affine
from rotfast.transforms._base import RandomTransform
from rotfast.transforms._checks import Range, check_center, check_degrees, check_numbers, check_range
from rotfast.transforms._points import Size, inverted, middle

__all__ = ["AffineParams", "RandomAffine"]


class AffineParams(NamedTuple):
    """What ``RandomAffine`` drew; where not applied, the values that change nothing.

    Attributes:
        applied: (N,) bool, which images are transformed.
        angle: (N,) float32 in degrees, counter-clockwise.
        translate: (N, 2) float32, to the right and down, as fractions of width and height.
        scale: (N,) float32.
        shear: (N, 2) float32 in degrees, along x and along y.
    """

    applied: Tensor
    angle: Tensor
    translate: Tensor
    scale: Tensor
    shear: Tensor


class RandomAffine(RandomTransform):
    """Rotate, translate, scale and shear every image of a batch by values of its own, uniform over ranges.

    Arguments and defaults are those of ``torchvision.transforms.v2.RandomAffine``; docs/transforms.md lists
    what differs, above all the sign of the angle. An image is sheared along x, then along y, scaled and
    rotated about the centre, then translated, all in one resampling.

    Args:
        degrees: (low, high), or d for (-d, d); positive turns counter-clockwise as displayed.
        translate: (a, b) in [0, 1]: shifts within a·W to either side and b·H up or down. None is no shift.
        scale: (low, high), both positive. None is 1.
        shear: degrees along x: s for (-s, s), or (low, high); two more numbers are the range along y.
        interpolation, fill, center, padding_mode, p, same_on_batch, generator, mean, std: as in
            ``RandomRotation``.

    Shape:
        uint8 or floating point, (N, C, H, W) or (C, H, W) -> the same.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an argument out of range.

    Example:
        >>> import torch
        >>> from rotfast.transforms import RandomAffine
        >>> augment = RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1), mean=(0.13,), std=(0.31,))
        >>> images = torch.randint(256, (8, 1, 28, 28), dtype=torch.uint8)
        >>> augment(images).dtype
        torch.float32
    """

    params_type = AffineParams

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: object = "nearest",
        fill: float | Sequence[float] = 0,
        center: Sequence[float] | None = None,
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
        self.translate = None if translate is None else _check_translate(translate)
        self.scale = None if scale is None else _check_scale(scale)
        self.shear = None if shear is None else _check_shear(shear)
        self.center = check_center(center)

    def sample(self, x: Tensor) -> AffineParams:
        """Draw the parameters for every image of x, (N, C, H, W) or (C, H, W)."""
        right, down = self.translate or (0.0, 0.0)
        x_low, x_high, y_low, y_high = (*(self.shear or (0.0, 0.0)), 0.0, 0.0)[:4]
        applied, values = self._draw(
            x,
            (*self.degrees, 0.0),
            (-right, right, 0.0),
            (-down, down, 0.0),
            (*(self.scale or (1.0, 1.0)), 1.0),
            (x_low, x_high, 0.0),
            (y_low, y_high, 0.0),
        )
        return AffineParams(applied, values[:, 0], values[:, 1:3], values[:, 3], values[:, 4:])

    def _warp(self, x: Tensor, params: AffineParams, inverse: bool, options: dict[str, Any]) -> Tensor:
        size = (x.shape[-2], x.shape[-1])
        if inverse:
            return affine(x, matrix=self._matrix(params, size, size, inverse), **options)
        return affine(
            x,
            angle=params.angle,
            translate=_pixels(params.translate, size),
            scale=params.scale,
            shear=params.shear,
            center=self.center,
            **options,
        )

    def _matrix(self, params: AffineParams, before: Size, after: Size, inverse: bool) -> Tensor:
        angle, scale = params.angle.double(), params.scale.double()
        right, down = _pixels(params.translate, before).unbind(1)
        shear_x, shear_y = params.shear.double().unbind(1)
        x, y = self.center or middle(before)
        linear = _matrices.inverse_affine(angle, scale, (shear_x, shear_y))
        back = _matrices.source_matrix(linear, (x, y), (x + right, y + down), angle.device)
        return back if inverse else inverted(back)


def _pixels(fractions: Tensor, size: Size) -> Tensor:
    right, down = fractions.double().unbind(1)
    return torch.stack([right * size[1], down * size[0]], 1)


def _check_translate(translate: object) -> Range:
    form = "two numbers from 0 to 1"
    right, down = check_numbers("translate", translate, (2,), form)
    if not (0 <= right <= 1 and 0 <= down <= 1):
        raise ValueError(f"translate must be {form}, got {translate!r}")
    return right, down


def _check_scale(scale: object) -> Range:
    form = "two positive numbers (low, high)"
    low, high = check_range("scale", scale, form)
    if low <= 0:
        raise ValueError(f"scale must be {form}, got {scale!r}")
    return low, high


def _check_shear(shear: object) -> tuple[float, ...]:
    if not isinstance(shear, Sequence) or len(shear) != 4:
        return check_degrees("shear", shear, "a number from 0 up, (low, high), or four numbers")
    form = "four numbers (low, high, low, high)"
    numbers = check_numbers("shear", shear, (4,), form)
    if numbers[0] > numbers[1] or numbers[2] > numbers[3]:
        raise ValueError(f"shear must be {form}, got {shear!r}")
    return numbers
