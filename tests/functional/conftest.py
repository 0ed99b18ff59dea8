"""The definition of resampling, pixel by pixel in Python's numbers."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor


def place(index: int, size: int, padding_mode: str) -> int | None:
    """The pixel that stands at any integer index; None is outside."""
    if padding_mode == "border":
        return min(max(index, 0), size - 1)
    if padding_mode == "reflection":
        while not 0 <= index < size:
            index = (-index if index < 0 else 2 * (size - 1) - index) if size > 1 else 0
    return index if 0 <= index < size else None


def weight(t: float, interpolation: str) -> float:
    t = abs(t)
    if interpolation == "bilinear":
        return max(0.0, 1 - t)
    if t <= 1:
        return 1.25 * t**3 - 2.25 * t**2 + 1
    return -0.75 * t**3 + 3.75 * t**2 - 6 * t + 3 if t < 2 else 0.0


def taps(position: float, interpolation: str) -> list[tuple[int, float]]:
    if interpolation == "nearest":
        return [(round(position), 1.0)]
    around = range(math.floor(position) - 1, math.floor(position) + 3)
    return [(index, weight(position - index, interpolation)) for index in around]


@pytest.fixture
def by_definition() -> Callable[..., Tensor]:
    """Resamples an image (H, W), where ``source`` says which (u, v) the pixel (x, y) of the result shows."""

    def resample(
        image: Tensor,
        source: Callable[[int, int], tuple[float, float]],
        size: tuple[int, int],
        interpolation: str = "bilinear",
        padding_mode: str = "constant",
        fill: float = 0.0,
    ) -> Tensor:
        H, W = image.shape
        result = torch.zeros(size, dtype=torch.float64)
        for y in range(size[0]):
            for x in range(size[1]):
                u, v = source(x, y)
                for j, down in taps(v, interpolation):
                    for i, across in taps(u, interpolation):
                        row, column = place(j, H, padding_mode), place(i, W, padding_mode)
                        outside = row is None or column is None
                        result[y, x] += down * across * (fill if outside else image[row, column].item())
        return result

    return resample
