"""Maps between pixel coordinates: u to the right, v downwards, angles in degrees, counter-clockwise.

Entries are Python floats where every parameter is a number, and float64 tensors otherwise.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor

from rotfast import ops
from rotfast.functional._constants import constants

Entry: TypeAlias = float | Tensor
Point: TypeAlias = tuple[Entry, Entry]
_Numbers: TypeAlias = tuple[float, float]
Linear: TypeAlias = tuple[Entry, Entry, Entry, Entry]

# What torchvision's expand=True takes for an error of rounding, in pixels.
_SLACK = 1e-4


def cos_sin(angle: Entry) -> tuple[Entry, Entry]:
    """Cosine and sine, exactly 0 and ±1 at multiples of 90, with the derivatives of cosine and sine."""
    if isinstance(angle, Tensor):
        return ops.cos_sin(angle)
    quarter = round(angle / 90)
    radians = math.radians(angle - 90 * quarter)
    c, s = math.cos(radians), math.sin(radians)
    return ((c, s), (-s, c), (-c, -s), (s, -c))[quarter % 4]


def inverse_rotation(angle: Entry) -> Linear:
    """From the turned image back to the image."""
    cos, sin = cos_sin(angle)
    return cos, -sin, sin, cos


def rotation(angle: Entry, source: Point, target: Point, device: torch.device) -> Tensor:
    """From the turned image back to the image: the point ``target`` comes from the point ``source``."""
    if isinstance(angle, Tensor) and not any(isinstance(entry, Tensor) for entry in (*source, *target)):
        return ops.rotation_matrix(angle, cast(_Numbers, source), cast(_Numbers, target))
    return source_matrix(inverse_rotation(angle), source, target, device)


def inverse_affine(angle: Entry, scale: Entry, shear: Point) -> Linear:
    """The inverse of rotation · scale · shear in y · shear in x, torchvision's order."""
    cos, sin = cos_sin(angle)
    linear: Linear = (cos, -sin, sin, cos)
    if not all(_is_number(degrees, 0) for degrees in shear):
        x, y = (_tan(degrees) for degrees in shear)
        down, across = sin + y * cos, cos - y * sin
        linear = (cos + x * down, x * across - sin, down, across)
    if _is_number(scale, 1):
        return linear
    a, b, c, d = linear
    return a / scale, b / scale, c / scale, d / scale


def _is_number(entry: Entry, number: float) -> bool:
    """Whether nothing is to be computed with an entry."""
    return not isinstance(entry, Tensor) and entry == number


def _tan(degrees: Entry) -> Entry:
    return degrees.deg2rad().tan() if isinstance(degrees, Tensor) else math.tan(math.radians(degrees))


def inverse_linear(matrix: Tensor) -> Linear:
    """The inverse of the linear part of (..., 2, 3)."""
    (a, b, _), (c, d, _) = (row.unbind(-1) for row in matrix.unbind(-2))
    determinant = a * d - b * c
    return d / determinant, -b / determinant, -c / determinant, a / determinant


def singular(matrix: Tensor, epsilon: float) -> Tensor:
    """Which of the matrices (..., 2, 3) have a determinant that is 0 within rounding."""
    (a, b, _), (c, d, _) = (row.unbind(-1) for row in matrix.unbind(-2))
    return (a * d - b * c).abs() <= 4 * epsilon * ((a * d).abs() + (b * c).abs())


def adjugate(matrix: Tensor) -> Tensor:
    """The inverse of (..., 3, 3) up to a factor, which a homography does not see."""
    x, y, z = matrix.unbind(-2)
    columns = (torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y))
    return torch.stack(columns, -1)


def singular_homography(matrix: Tensor, epsilon: float) -> Tensor:
    """Which of the matrices (..., 3, 3) have a determinant that is 0 within rounding."""
    x, y, z = matrix.unbind(-2)
    p, q = y.roll(-1, -1) * z.roll(-2, -1), y.roll(-2, -1) * z.roll(-1, -1)
    return (x * (p - q)).sum(-1).abs() <= 4 * epsilon * (x * (p.abs() + q.abs())).abs().sum(-1)


def source_matrix(linear: Linear, source: Point, target: Point, device: torch.device) -> Tensor:
    """(..., 2, 3) with the given linear part that takes the point ``target`` to the point ``source``."""
    a, b, c, d = linear
    (u, v), (x, y) = source, target
    entries = (a, b, u - a * x - b * y, c, d, v - c * x - d * y)
    first = next((entry for entry in entries if isinstance(entry, Tensor)), None)
    if first is not None:
        tensors = [e if isinstance(e, Tensor) else first.new_full((), e) for e in entries]
        rows: Tensor = torch.stack(torch.broadcast_tensors(*tensors), -1).unflatten(-1, (2, 3))
        return rows
    return constants(cast(Sequence[float], entries), device).view(2, 3)


def canvas(linear: Linear, height: int, width: int) -> tuple[int, int]:
    """Height and width that hold the image under every one of the maps, as torchvision counts them."""
    a, b, c, d = linear
    determinant = _size(a * d - b * c)
    down = (_size(c) * width + _size(a) * height) / determinant
    across = (_size(d) * width + _size(b) * height) / determinant
    return _pixels(down, height), _pixels(across, width)


def _size(entry: Entry) -> Entry:
    return entry.abs() if isinstance(entry, Tensor) else abs(entry)


def _pixels(extent: Entry, size: int) -> int:
    """Whole pixels that the largest extent touches when its middle is that of ``size`` pixels."""
    if isinstance(extent, Tensor):
        try:
            extents = set(extent.flatten().tolist())
        except RuntimeError as error:
            raise ValueError("expand must be False where the map is vmapped, got True") from error
        return max((_pixels(one, size) for one in extents), default=size)
    if extent == round(extent):
        # Torchvision keeps the grid of the source, on which a quarter turn of 4 × 7 pixels touches 8 × 5.
        return round(extent)
    low, high = (size - extent) / 2, (size + extent) / 2
    return math.ceil(math.trunc(high / _SLACK) * _SLACK) - math.floor(math.trunc(low / _SLACK) * _SLACK)
