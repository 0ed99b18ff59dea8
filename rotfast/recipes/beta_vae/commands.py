"""Command line of the β-VAE recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from rotfast.recipes.beta_vae import runs
from rotfast.recipes.beta_vae.config import BetaVaeConfig, preset_config
from rotfast.recipes.beta_vae.score import headline
from rotfast.recipes.run import RunError
from rotfast.recipes.train_command import TrainCommand

__all__ = ["evaluate", "train"]


@dataclass(frozen=True)
class Evaluate:
    """Judge what a run's code knows of rotation and digit, on test images; write evaluation.json."""

    run: Positional[Path]
    """Run folder, of one seed or of several, of one β or of several."""
    images: int | None = None
    """Number of test images, each at one angle; None is all."""


def _folder_name(config: BetaVaeConfig) -> str:
    return f"beta-vae-{config.data}-{config.architecture}-{config.preset}"


train = TrainCommand(
    BetaVaeConfig,
    "Train a β-VAE on upright and rotated digits. --architecture, --data and --preset choose the defaults of "
    "the other options.",
    choices={"architecture": "spatial", "data": "digits", "preset": "recommended"},
    preset=preset_config,
    train=runs.train,
    train_seeds=runs.train_seeds,
    folder_name=_folder_name,
)


def evaluate(arguments: Sequence[str]) -> None:
    """rotfast evaluate RUN."""
    options = tyro.cli(Evaluate, args=arguments, prog="rotfast evaluate")
    if options.images is not None and options.images < 20:
        raise RunError(f"images must be at least 20, got {options.images}")
    result = runs.evaluate(options.run, options.images)
    table = Table("", "value", "95 % interval", title=str(options.run), title_justify="left")
    for row in _rows(result):
        table.add_row(*row)
    Console().print(table)


def _rows(result: dict[str, Any], heading: str = "") -> Iterator[tuple[str, str, str]]:
    if "betas" in result:
        for beta, each in result["betas"].items():
            yield from _rows(each, f"β {beta}: ")
    elif "test" in result:
        for name, spread in result["test"].items():
            half = "" if spread["ci95"] is None else f"± {spread['ci95']:.4f}"
            yield f"{heading}{name}", f"{spread['mean']:.4f}", half
    else:
        for name, value in headline(result).items():
            yield f"{heading}{name}", f"{value:.4f}", ""
