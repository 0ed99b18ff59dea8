"""Runs of the β-VAE recipe on the page."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from rotfast.data import load_digits
from rotfast.demo.explorer import Dimension
from rotfast.models import BetaVAE, SpatialVAE
from rotfast.recipes.beta_vae.config import BetaVaeConfig
from rotfast.recipes.beta_vae.images import load_images
from rotfast.recipes.beta_vae.networks import draw, encode
from rotfast.recipes.beta_vae.runs import beta_folders
from rotfast.recipes.beta_vae.training import load_net
from rotfast.recipes.run import RunError
from rotfast.recipes.seeds import open_run as open_folder
from rotfast.recipes.seeds import seed_folders

__all__ = ["BetaVaeExplorer", "Shown", "open_run"]


class BetaVaeExplorer:
    """A network of the recipe; the code of an image is the mean of its posterior.

    Args:
        net: the trained network.
        image_size: height and width of its images.
        latent_size: Gaussian numbers of its code.
    """

    def __init__(self, net: BetaVAE | SpatialVAE, image_size: int, latent_size: int) -> None:
        self._net = net.eval()
        self.image_size = image_size
        self.dimensions = [Dimension(f"z{number}") for number in range(1, latent_size + 1)]
        if isinstance(net, SpatialVAE):
            self.dimensions.insert(0, Dimension("angle", -net.span, net.span, 1, "°"))
            if net.shift_std:
                reach = 3 * net.shift_std
                self.dimensions += [
                    Dimension(f"shift {way}", -reach, reach, 0.05, " px") for way in ("right", "down")
                ]

    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, D) of images (N, 1, S, S) in [0, 1]."""
        return encode(self._net, images).values

    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, 1, S, S) in [0, 1] of codes (N, D)."""
        return draw(self._net, codes)


class Shown(NamedTuple):
    """What the page shows of a run.

    Attributes:
        explorer: its model.
        title: what it is.
        examples: upright test images, uint8 (N, 28, 28), and their labels (N,).
    """

    explorer: BetaVaeExplorer
    title: str
    examples: tuple[Tensor, Tensor]


def open_run(folder: str | Path) -> Shown:
    """The model of a run; of several seeds or β the first one's.

    Args:
        folder: The run folder.

    Raises:
        RunError: It is no run folder, another recipe's, or has no checkpoint.
    """
    run, config, seeds = open_folder(BetaVaeConfig, folder)
    parts = seed_folders(run, seeds) if seeds else list(beta_folders(run, config).values())
    if parts:
        return open_run(parts[0])
    net, _ = load_net(run, config)
    title = f"{config.architecture}, {config.data}, β = {config.beta:g}, seed {config.seed}: {run.path}"
    explorer = BetaVaeExplorer(net, config.image_size, config.latent_size)
    return Shown(explorer, title, _examples(config))


def _examples(config: BetaVaeConfig) -> tuple[Tensor, Tensor]:
    """Test images of the run's data, or scikit-learn's digits where the machine no longer has them."""
    try:
        test = load_images(config, "test")
    except RunError:
        return load_digits("test")
    return test.x[:, 0], test.y
