"""What the command line asks for, one dataclass a command; tyro turns each into options."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from rotfast.memory import keep_freed_memory
from rotfast.recipes import msr_runs
from rotfast.recipes.msr import train
from rotfast.recipes.msr_config import MsrConfig, preset_config
from rotfast.recipes.msr_plots import plot_run
from rotfast.recipes.run import RunError

__all__ = ["evaluate", "plot", "train_msr"]


@dataclass(frozen=True)
class TrainMsr:
    """Meta-learn symmetries by reparameterisation (MSR).

    --problem and --preset choose the defaults of the other options.
    """

    config: OmitArgPrefixes[MsrConfig]
    run: Path | None = None
    """Run folder to make; otherwise one under runs/ that does not exist yet."""
    resume: Path | None = None
    """Run folder to continue, with the configuration it has."""
    seeds: tuple[int, ...] = ()
    """Train once for each of these seeds, into RUN/seed-K, instead of once for --seed."""


@dataclass(frozen=True)
class Evaluate:
    """Judge a run's checkpoint on many tasks of the test split and write evaluation.json."""

    run: Positional[Path]
    """Run folder, of one seed or of several."""
    tasks: int = 1000
    """Number of tasks."""


@dataclass(frozen=True)
class Plot:
    """Draw a run's figures into RUN/figures."""

    run: Positional[Path]
    """Run folder, of one seed or of several."""


def train_msr(arguments: Sequence[str]) -> None:
    """rotfast train msr."""
    options = _parse_train_msr(arguments)
    if options.run is not None and options.resume is not None:
        raise RunError("give --run for a new run or --resume for an old one, not both")
    folder = options.resume or options.run or _unused_folder(options.config)
    console = Console()
    keep_freed_memory()
    more: dict[str, Any] = {
        "resume": options.resume is not None,
        "command": shlex.join(["rotfast", "train", "msr", *arguments]),
        "console": console,
    }
    if options.seeds:
        summary = msr_runs.train_seeds(options.config, folder, options.seeds, **more)
    else:
        summary = train(options.config, folder, **more)
    console.print(f"done in {summary['seconds']:.0f} s: {folder}", highlight=False, soft_wrap=True)


def evaluate(arguments: Sequence[str]) -> None:
    """rotfast evaluate."""
    options = tyro.cli(Evaluate, args=arguments, prog="rotfast evaluate")
    if options.tasks < 1:
        raise RunError(f"tasks must be at least 1, got {options.tasks}")
    result = msr_runs.evaluate(options.run, options.tasks)
    Console().print(_table(str(options.run), result))


def plot(arguments: Sequence[str]) -> None:
    """rotfast plot."""
    options = tyro.cli(Plot, args=arguments, prog="rotfast plot")
    for path in plot_run(options.run):
        print(path)


def _parse_train_msr(arguments: Sequence[str]) -> TrainMsr:
    # tyro's defaults depend on these three options, so they are read ahead of it.
    ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    ahead.add_argument("--problem", default="rotated-digits")
    ahead.add_argument("--preset", default="recommended")
    ahead.add_argument("--resume", type=Path)
    try:
        chosen = ahead.parse_known_args(arguments)[0]
        if chosen.resume is None:
            default = TrainMsr(preset_config(chosen.problem, chosen.preset))
        else:
            _, config, seeds = msr_runs.open_run(chosen.resume)
            default = TrainMsr(config, seeds=seeds)
        return tyro.cli(TrainMsr, args=arguments, prog="rotfast train msr", default=default)
    except (ValueError, argparse.ArgumentError) as error:
        raise RunError(str(error)) from error


def _unused_folder(config: MsrConfig) -> Path:
    model = f"{config.model}-routed" if config.routed else config.model
    first = Path("runs", f"msr-{config.problem}-{model}-{config.preset}")
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


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
        table.add_row("accuracy", f"{result['accuracy']:.4f}", "")
        for angle, images in result["images_per_angle"].items():
            errors = result["errors_per_angle"][angle]
            table.add_row(f"errors at {angle}°", f"{errors / images:.4f}", f"{errors} of {images}")
    return table
