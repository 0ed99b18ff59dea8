"""Images of the RotNet recipe: loaded, augmented and turned on the device, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import rotfast
from rotfast.data import binarise, load_cifar10, load_digits, load_mnist, projection_features
from rotfast.recipes.rotnet.config import RotnetConfig
from rotfast.recipes.run import RunError
from rotfast.transforms import Compose, RandomAffine, RandomPerspective

__all__ = ["CHANNELS", "CLASSES", "SIZE", "Images", "Pipeline", "load_images"]

CLASSES = 10
SIZE = {"digits": 28, "mnist": 28, "cifar10": 32}
CHANNELS = {"digits": 1, "mnist": 1, "cifar10": 3}
_MEAN = {1: (0.1307,), 3: (0.4914, 0.4822, 0.4465)}
_STD = {1: (0.3081,), 3: (0.2470, 0.2435, 0.2616)}
_SHARE_IN_PERSPECTIVE = 0.5
_FREE_TURNS = 4


@dataclass(frozen=True)
class Images:
    """Images uint8 (N, C, H, W), labels (N,), and the classes' names where they are more than numbers."""

    x: Tensor
    y: Tensor
    names: tuple[str, ...] | None = None

    def first(self, count: int | None) -> Images:
        """The first so many, or all."""
        return Images(self.x[:count], self.y[:count], self.names)

    def to(self, device: torch.device) -> Images:
        """The same on a device."""
        return Images(self.x.to(device), self.y.to(device), self.names)

    def at(self, index: Tensor) -> Images:
        """Those at some indices."""
        return Images(self.x[index], self.y[index], self.names)


def load_images(config: RotnetConfig, split: str) -> Images:
    """A split of the configuration's data, black and white where it says so.

    Raises:
        RunError: A file is damaged, or cannot be found, read or downloaded.
    """
    names = None
    try:
        if config.data == "cifar10":
            x, y, names = load_cifar10(config.data_dir, split, config.cifar_batches)
        elif config.data == "mnist":
            x, y = load_mnist(config.data_dir, split)
        else:
            x, y = load_digits(split)
    except (ImportError, OSError, ValueError) as error:
        hint = "--data-dir or ROTFAST_DATA may name a folder that has the files"
        raise RunError(f"data {config.data}: {error} ({hint})") from error
    x = x if x.dim() == 4 else x.unsqueeze(1)
    return Images(binarise(x).mul(255).to(torch.uint8) if config.binarise else x, y, names)


class Pipeline:
    """From uint8 images to what the network reads: augmented, turned, normalised or black and white.

    Randomness is torch's global one, on the device of the images.
    """

    def __init__(self, config: RotnetConfig) -> None:
        self.config = config
        channels = CHANNELS[config.data]
        self._values: dict[str, Any] = {
            "mean": (0.0,) * channels if config.binarise else _MEAN[channels],
            "std": (1.0,) * channels if config.binarise else _STD[channels],
        }
        self._augment = self._transform()

    def plain(self, x: Tensor) -> Tensor:
        """Images as they are."""
        return self._finish(rotfast.affine(x, **self._values))

    def augmented(self, x: Tensor) -> Tensor:
        """Images, each changed by the augmentation."""
        return self._finish(self._augment(x))

    def quarter_turns(self, x: Tensor, turn: Tensor) -> Tensor:
        """Images, each turned exactly by its number of quarters."""
        return self._finish(rotfast.affine(rotfast.rotate90(x, turn), **self._values))

    def turned(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Every image in all its turns, and what the pretext is to say of them.

        Returns:
            K images to each one, (N·K, C, H, W). With K turns the class of each, (N·K,); with none (K = 4)
            the direction of each as (cos, sin), (N·K, 2).
        """
        config = self.config
        count, turns = len(x), config.turns or _FREE_TURNS
        if not config.pretext_augment:
            turned, turn = rotfast.rotate90_all(x)
            return self._finish(rotfast.affine(turned, **self._values)), turn
        size = x.new_tensor([x.shape[-1], x.shape[-2]], dtype=torch.float32)
        drawn = 2 * torch.rand(count, turns, 6, device=x.device) - 1
        turn = torch.arange(turns, device=x.device).expand(count, turns)
        angle = (
            180 * drawn[..., 0] if not config.turns else turn * (360 / turns) + config.degrees * drawn[..., 0]
        )
        low, high = config.scale
        images = rotfast.affine(
            x,
            angle=angle,
            translate=config.translate * size * drawn[..., 1:3],
            scale=low + (high - low) * (drawn[..., 3] + 1) / 2,
            shear=config.shear * drawn[..., 4:],
            **self._values,
        )
        radians = angle.deg2rad()
        target = torch.stack([radians.cos(), radians.sin()], -1) if not config.turns else turn
        return self._finish(images.flatten(0, 1)), target.flatten(0, 1)

    def _transform(self) -> RandomAffine | Compose:
        config = self.config
        shift, shear, bend = config.translate, config.shear, config.perspective

        def affine(**values: Any) -> RandomAffine:
            ranges = (config.degrees, (shift, shift), config.scale, (-shear, shear, -shear, shear))
            return RandomAffine(*ranges, interpolation="bilinear", **values)

        if not bend:
            return affine(**self._values)
        return Compose([affine(), RandomPerspective(bend, _SHARE_IN_PERSPECTIVE, **self._values)])

    def _finish(self, x: Any) -> Tensor:
        images: Tensor = (x > 0.5).to(x.dtype) if self.config.binarise else x
        if self.config.model == "mlpc":
            return projection_features(images)
        return images
