"""What the page needs of a model, and how the library's autoencoders give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["Dimension", "Explorer"]


@dataclass(frozen=True)
class Dimension:
    """One number of a code and its slider.

    Attributes:
        name: what the slider is called.
        low: smallest value.
        high: largest value.
        step: distance of neighbouring values.
        unit: what follows the value, such as "°".
    """

    name: str
    low: float = -3.0
    high: float = 3.0
    step: float = 0.05
    unit: str = ""


class Explorer(Protocol):
    """A model to explore: what its code consists of, and the way there and back.

    Attributes:
        dimensions: of the code, in order.
        image_size: height and width of the images, S.
    """

    @property
    def dimensions(self) -> Sequence[Dimension]: ...  # noqa: D102

    @property
    def image_size(self) -> int: ...  # noqa: D102

    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, D) of images (N, 1, S, S) in [0, 1]."""

    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, 1, S, S) in [0, 1] of codes (N, D)."""
