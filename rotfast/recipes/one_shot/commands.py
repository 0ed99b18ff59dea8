"""Command line of the one-shot recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from rotfast.recipes.one_shot import runs
from rotfast.recipes.one_shot.config import OneShotConfig, preset_config
from rotfast.recipes.one_shot.training import train as train_one
from rotfast.recipes.run import RunError
from rotfast.recipes.train_command import TrainCommand

__all__ = ["evaluate", "train"]


@dataclass(frozen=True)
class Evaluate:
    """Judge a run's checkpoint in many episodes of unseen classes and write evaluation.json."""

    run: Positional[Path]
    """Run folder, of one seed or of several."""
    episodes: int = 10_000
    """Number of episodes of every kind."""


def _preset(data: str, preset: str, model: str) -> OneShotConfig:
    return preset_config(data, preset, model or None)


def _folder_name(config: OneShotConfig) -> str:
    return f"one-shot-{config.data}-{config.model}-{config.preset}"


train = TrainCommand(
    OneShotConfig,
    "Learn an embedding on some classes and judge it on others from one image each. --data, --preset and "
    "--model choose the defaults of the other options.",
    choices={"data": "digits", "preset": "recommended", "model": ""},
    preset=_preset,
    train=train_one,
    train_seeds=runs.train_seeds,
    folder_name=_folder_name,
)


def evaluate(arguments: Sequence[str]) -> None:
    """rotfast evaluate RUN."""
    options = tyro.cli(Evaluate, args=arguments, prog="rotfast evaluate")
    if options.episodes < 2:
        raise RunError(f"episodes must be at least 2, got {options.episodes}")
    Console().print(_table(str(options.run), runs.evaluate(options.run, options.episodes)["test"]))


def _table(title: str, test: dict[str, Any]) -> Table:
    """An evaluation; of several seeds, means with the interval over the seeds."""
    table = Table("", "value", "95 % interval", title=f"{title}, unseen classes", title_justify="left")

    def add(name: str, value: Any, half: float | None = None) -> None:
        if isinstance(value, dict):
            value, half = value["mean"], value["ci95"]
        table.add_row(name, f"{value:.4f}", "" if half is None else f"± {half:.4f}")

    add("shared references, nearest", test["references"]["accuracy"], test["references"].get("ci95"))
    for row in test["episodes"]:
        views = f", {row['views']} views" if row["views"] else ""
        seeing = " (transductive)" if row["transductive"] else ""
        name = f"{row['way']}-way {row['shots']}-shot, {row['method']}{seeing}{views}"
        add(name, row["accuracy"], row.get("ci95"))
    add("pairs, accuracy", test["pairs"]["accuracy"])
    add("pairs, AUROC", test["pairs"]["auroc"])
    if "rejection" in test:
        add("rejection of unseen classes, AUROC", test["rejection"]["auroc"])
    if "seen_accuracy" in test:
        add("seen classes, accuracy", test["seen_accuracy"])
    return table
