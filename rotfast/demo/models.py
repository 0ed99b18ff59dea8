"""The library's autoencoders as explorers: the code of an image is the mean of its posterior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rotfast.demo.explorer import Dimension
from rotfast.models import BetaVAE, SpatialVAE

__all__ = ["GaussianExplorer", "SpatialExplorer"]


def _numbers(count: int) -> list[Dimension]:
    return [Dimension(f"z{number}") for number in range(1, count + 1)]


class GaussianExplorer:
    """A β-VAE: every number of its code is Gaussian, and none is named.

    Args:
        model: the trained model.
        latent_size: numbers of its code.
    """

    def __init__(self, model: BetaVAE, latent_size: int) -> None:
        self._model = model.eval()
        self.dimensions: Sequence[Dimension] = _numbers(latent_size)
        with torch.inference_mode():
            self.image_size: int = model.decode(torch.zeros(1, latent_size)).shape[-1]

    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, D) of images (N, 1, S, S) in [0, 1]."""
        return self._model.encode(images)[0]

    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, 1, S, S) in [0, 1] of codes (N, D)."""
        return self._model.decode(codes)


class SpatialExplorer:
    """A spatial VAE: the angle comes first, then the Gaussian numbers, then the shift where there is one.

    Args:
        model: the trained model.
    """

    def __init__(self, model: SpatialVAE) -> None:
        self._model = model.eval()
        self._size = model.latent_size
        self.image_size = model.image_size
        reach = 3 * model.shift_std
        shifts = [Dimension(f"shift {way}", -reach, reach, 0.05, " px") for way in ("right", "down")]
        self.dimensions: Sequence[Dimension] = [
            Dimension("angle", -model.span, model.span, 1, "°"),
            *_numbers(model.latent_size),
            *(shifts if model.shift_std else ()),
        ]

    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, D) of images (N, 1, S, S) in [0, 1]."""
        code = self._model.encode(images)
        parts = [code.angle.unsqueeze(1), code.mu]
        return torch.cat([*parts, code.shift] if self._model.shift_std else parts, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, 1, S, S) in [0, 1] of codes (N, D)."""
        angle, z, shift = codes[:, 0], codes[:, 1 : 1 + self._size], codes[:, 1 + self._size :]
        return self._model.decode(z, angle, shift if self._model.shift_std else None)
