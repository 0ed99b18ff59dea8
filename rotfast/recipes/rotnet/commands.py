"""Command line of the RotNet recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from rotfast.recipes.rotnet import predict as prediction
from rotfast.recipes.rotnet import runs
from rotfast.recipes.rotnet.config import RotnetConfig, preset_config
from rotfast.recipes.rotnet.training import train as train_one
from rotfast.recipes.train_command import TrainCommand

__all__ = ["evaluate", "predict", "train"]


@dataclass(frozen=True)
class Evaluate:
    """Judge a run's last classifier by the test split and write evaluation.json."""

    run: Positional[Path]
    """Run folder, of one seed or of several."""


@dataclass(frozen=True)
class Predict:
    """Say which class an image file shows."""

    run: Positional[Path]
    """Run folder, of one seed."""
    image: Positional[Path]
    """A square image of any size; the network sees it resized."""
    upright: Path | None = None
    """Say by what the image is turned too, write it turned back to this file, and judge that one's class."""
    invert: bool = False
    """For dark digits on light paper: in the data they are light on dark."""


def _folder_name(config: RotnetConfig) -> str:
    return f"rotnet-{config.data}-{config.model}-{config.preset}"


train = TrainCommand(
    RotnetConfig,
    "Learn from rotations of unlabelled images, then classes from few labels, beside the same network "
    "without that pretext. --data, --preset and --model choose the defaults of the other options.",
    choices={"data": "digits", "preset": "recommended", "model": "rotnet"},
    preset=preset_config,
    train=train_one,
    train_seeds=runs.train_seeds,
    folder_name=_folder_name,
)


def evaluate(arguments: Sequence[str]) -> None:
    """rotfast evaluate RUN."""
    options = tyro.cli(Evaluate, args=arguments, prog="rotfast evaluate")
    Console().print(_table(str(options.run), runs.evaluate(options.run)))


def predict(arguments: Sequence[str]) -> None:
    """rotfast predict RUN FILE."""
    options = tyro.cli(Predict, args=arguments, prog="rotfast predict")
    image = options.image
    if options.upright is not None:
        angle = prediction.predict_turn(options.run, image, options.upright, invert=options.invert)
        print(f"turned by {angle:g}°, upright: {options.upright}")
        image = options.upright
    seen = prediction.predict(options.run, image, invert=options.invert)
    print(f"class {seen.label} with probability {seen.chance:.3f}")


def _table(title: str, result: dict[str, Any]) -> Table:
    accuracy = result["accuracy"]
    several = isinstance(accuracy, dict)
    mean = accuracy["mean"] if several else accuracy
    over = f", mean of {len(result['seeds'])} seeds" if several else ""
    table = Table("class", "recall", "precision", title=f"{title}: accuracy {mean:.4f}{over}")
    for label, shares in enumerate(zip(result["recall"], result["precision"], strict=True)):
        table.add_row(str(label), *("–" if share is None else f"{share:.4f}" for share in shares))
    return table
