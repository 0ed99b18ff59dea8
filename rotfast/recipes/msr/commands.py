"""Command line of the MSR recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from rotfast.recipes.msr import runs
from rotfast.recipes.msr.config import MsrConfig, preset_config
from rotfast.recipes.msr.training import train as train_one
from rotfast.recipes.run import RunError
from rotfast.recipes.train_command import TrainCommand

__all__ = ["evaluate", "train"]


@dataclass(frozen=True)
class Evaluate:
    """Judge a run's checkpoint on many tasks of the test split and write evaluation.json."""

    run: Positional[Path]
    """Run folder, of one seed or of several."""
    tasks: int = 1000
    """Number of tasks."""


def _folder_name(config: MsrConfig) -> str:
    model = f"{config.model}-routed" if config.routed else config.model
    return f"msr-{config.problem}-{model}-{config.preset}"


train = TrainCommand(
    MsrConfig,
    "Meta-learn symmetries by reparameterisation (MSR). --problem and --preset choose the defaults of the "
    "other options.",
    choices={"problem": "rotated-digits", "preset": "recommended"},
    preset=preset_config,
    train=train_one,
    train_seeds=runs.train_seeds,
    folder_name=_folder_name,
)


def evaluate(arguments: Sequence[str]) -> None:
    """rotfast evaluate RUN."""
    options = tyro.cli(Evaluate, args=arguments, prog="rotfast evaluate")
    if options.tasks < 1:
        raise RunError(f"tasks must be at least 1, got {options.tasks}")
    result = runs.evaluate(options.run, options.tasks)
    Console().print(_table(str(options.run), result))


def _table(title: str, result: dict[str, Any]) -> Table:
    """An evaluation: figures with intervals, and error rates by angle where there are any."""
    table = Table(
        "", "value", "95 % interval", title=f"{title}, {result['tasks']} tasks", title_justify="left"
    )
    if "test" in result:
        for name, spread in result["test"].items():
            half = "" if spread["ci95"] is None else f"± {spread['ci95']:.4f}"
            table.add_row(f"{name}, mean of {len(result['seeds'])} seeds", f"{spread['mean']:.4f}", half)
        return table
    table.add_row("loss", f"{result['loss']:.4f}", f"± {result.get('loss_ci95', float('nan')):.4f}")
    if "accuracy" in result:
        half = result.get("accuracy_ci95", float("nan"))
        table.add_row("accuracy", f"{result['accuracy']:.4f}", f"± {half:.4f}")
        for angle, images in result.get("images_per_angle", {}).items():
            errors = result["errors_per_angle"][angle]
            table.add_row(f"errors at {angle}°", f"{errors / images:.4f}", f"{errors} of {images}")
    return table
