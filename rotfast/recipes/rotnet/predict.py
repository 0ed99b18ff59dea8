"""What a run's networks say of an image file: its class, and how to turn it upright."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

import rotfast
from rotfast.data import binarise
from rotfast.models import RotNet
from rotfast.recipes.rotnet.config import RotnetConfig
from rotfast.recipes.rotnet.images import CHANNELS, SIZE, Pipeline
from rotfast.recipes.rotnet.runs import load_classifier
from rotfast.recipes.run import RunError, RunFolder
from rotfast.recipes.seeds import open_run

__all__ = ["Prediction", "predict", "predict_turn"]


@dataclass(frozen=True)
class Prediction:
    """What is seen in an image.

    Attributes:
        label: The most probable class.
        chance: Its probability.
        size: Height and width of the image in the file, which the network saw at its own size.
    """

    label: int
    chance: float
    size: int


def predict(folder: str | Path, file: str | Path, *, invert: bool = False) -> Prediction:
    """The class of an image file, by a run's last classifier.

    Args:
        folder: Run folder of one seed.
        file: A square image of any size; it is resized to what the network reads.
        invert: Exchange light and dark: digits are light on dark in the data.

    Raises:
        RunError: No finished run of one seed, or no square image.
    """
    run, config = _open(folder)
    image = _read(Path(file), _mode(config), invert)
    with torch.no_grad():
        logits = load_classifier(run, config)(Pipeline(config).plain(_fitted(image, config)))
    chance, label = logits.softmax(1)[0].max(0)
    return Prediction(int(label), chance.item(), image.shape[-1])


def predict_turn(
    folder: str | Path, file: str | Path, upright: str | Path | None = None, *, invert: bool = False
) -> float:
    """By how many degrees an image file is turned, counter-clockwise, by what a run's pretext has learned.

    Args:
        folder: Run folder of one seed.
        file: A square image of any size.
        upright: Where to write the image turned back, in its own size and colours; quarter turns are exact.
        invert: Exchange light and dark for the network; the file written keeps them.

    Raises:
        RunError: The run has no pretext, the file holds no square image, or cannot be written.
    """
    run, config = _open(folder)
    path = Path(config.pretext_from or run.path)
    try:
        net = RotNet.from_run(path).eval()
    except (FileNotFoundError, ValueError) as error:
        raise RunError(f"{path} has no pretext that could tell a turn: {error}") from error
    image = _read(Path(file), _mode(config), invert)
    with torch.no_grad():
        output = net(Pipeline(config).plain(_fitted(image, config)))[0]
    if config.turns:
        angle = 360.0 / config.turns * int(output.argmax())
    else:
        angle = float(torch.atan2(output[1], output[0]).rad2deg()) % 360
    if upright is not None:
        _write(_turned_back(_read(Path(file), "RGB", False), angle), Path(upright))
    return angle


def _open(folder: str | Path) -> tuple[RunFolder, RotnetConfig]:
    run, config, seeds = open_run(RotnetConfig, folder)
    if seeds:
        raise RunError(f"{run.path} is a run over several seeds: take one, {run.path / f'seed-{seeds[0]}'}")
    return run, config


def _mode(config: RotnetConfig) -> str:
    return "RGB" if CHANNELS[config.data] == 3 else "L"


def _read(file: Path, mode: str, invert: bool) -> Tensor:
    """A square image as uint8 (1, C, H, H)."""
    try:
        with Image.open(file) as image:
            pixels = np.array(image.convert(mode))
    except UnidentifiedImageError as error:
        raise RunError(f"{file} is no image that can be read") from error
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    x = torch.from_numpy(pixels)
    x = x.unsqueeze(0) if x.dim() == 2 else x.permute(2, 0, 1)
    height, width = x.shape[-2:]
    if height != width:
        raise RunError(f"{file} must be square, got {height} × {width} pixels: crop it first")
    return (255 - x if invert else x).unsqueeze(0)


def _fitted(image: Tensor, config: RotnetConfig) -> Tensor:
    """The image at the network's size, black and white where the network was trained so."""
    size = SIZE[config.data]
    if image.shape[-1] != size:
        scaled = F.interpolate(image.float(), (size, size), mode="bilinear", antialias=True)
        image = scaled.round().clamp(0, 255).to(torch.uint8)
    return binarise(image).mul(255).to(torch.uint8) if config.binarise else image


def _turned_back(image: Tensor, angle: float) -> Tensor:
    quarters = angle / 90
    if quarters == round(quarters):
        return rotfast.rotate90(image, -round(quarters))
    return rotfast.rotate(image, -angle, padding_mode="border")


def _write(image: Tensor, file: Path) -> None:
    try:
        Image.fromarray(image[0].permute(1, 2, 0).contiguous().numpy()).save(file)
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be written: {error}") from error
