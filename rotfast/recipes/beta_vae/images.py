"""Images of the β-VAE recipe: loaded once, enlarged and rotated on the device, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

import rotfast
from rotfast.data import load_digits, load_mnist
from rotfast.recipes.beta_vae.config import BetaVaeConfig
from rotfast.recipes.run import RunError

__all__ = ["Images", "load_images"]

# Fixed, so that every run holds the same images out and is judged at the same angles.
_SPLIT_SEED, _ANGLE_SEED = 0, 1


@dataclass(frozen=True)
class Images:
    """Upright images uint8 (N, 1, H, W) with labels (N,), their wanted size, and how far they turn."""

    x: Tensor
    y: Tensor
    size: int
    span: float
    mixture: str

    def __len__(self) -> int:
        return len(self.y)

    @property
    def copies(self) -> int:
        """Images of one epoch: all rotated, and with the union all upright as well."""
        return len(self) * (2 if self.mixture == "union" else 1)

    def to(self, device: torch.device) -> Images:
        """The images on a device."""
        return Images(self.x.to(device), self.y.to(device), self.size, self.span, self.mixture)

    def first(self, count: int | None) -> Images:
        """The first so many, or all."""
        return Images(self.x[:count], self.y[:count], self.size, self.span, self.mixture)

    def drawn(self, index: Tensor) -> Tensor:
        """Copies 0 to `copies` - 1 (B, 1, size, size) in [0, 1]: the first N turned, the others upright.

        Angles are drawn anew in every call, from torch's global generator of the device.
        """
        angle = self.span * (2 * torch.rand(len(index), device=self.x.device) - 1)
        return self.turned(index % len(self), torch.where(index < len(self), angle, 0.0))

    def fixed_angles(self) -> Tensor:
        """One angle for each image, the same in every run, uniform over ±span."""
        generator = torch.Generator().manual_seed(_ANGLE_SEED)
        return (self.span * (2 * torch.rand(len(self), generator=generator) - 1)).to(self.x.device)

    def turned(self, index: Tensor, angle: Tensor) -> Tensor:
        """Images at some indices, enlarged, then turned by angles (B,) or (B, K)."""
        x = self.x[index].to(torch.float32) / 255
        if self.size != x.shape[-1]:
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return rotfast.rotate(x, angle)


def load_images(config: BetaVaeConfig, split: str) -> Images:
    """The images of a configuration: "train", "validation" (held out of the training split) or "test".

    Raises:
        RunError: A file is damaged, or cannot be found, read or downloaded; more images are held out than
            there are.
    """
    source = "test" if split == "test" else "train"
    try:
        x, y = load_mnist(config.data_dir, source) if config.data == "mnist" else load_digits(source)
    except (ImportError, OSError, ValueError) as error:
        hint = "--data-dir or ROTFAST_DATA may name a folder that has the files"
        raise RunError(f"data {config.data}: {error} ({hint})") from error
    chosen = torch.arange(len(y))
    if split != "test":
        held = config.validation_images
        if held >= len(y):
            raise RunError(f"validation_images must be below the {len(y)} training images, got {held}")
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(_SPLIT_SEED))
        chosen = order[:held] if split == "validation" else order[held:][: config.images]
    return Images(x[chosen].unsqueeze(1), y[chosen], config.image_size, config.span, config.mixture)
