"""Whole RotNet runs: several seeds, and the evaluation of what they trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from rotfast.recipes import seeds as recipe_seeds
from rotfast.recipes.rotnet.config import RotnetConfig
from rotfast.recipes.rotnet.training import train
from rotfast.recipes.seeds import spread

__all__ = ["train_seeds"]


def train_seeds(
    config: RotnetConfig,
    folder: str | Path,
    seeds: Sequence[int],
    *,
    resume: bool = False,
    command: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Train once for every seed; `rotfast.recipes.seeds.train_seeds` says how."""
    return recipe_seeds.train_seeds(
        train, _summarise, config, folder, seeds, resume=resume, command=command, console=console
    )


def _summarise(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Spread over all draws of all seeds."""
    result = {name: summaries[0][name] for name in ("data", "model", "preset", "steps", "parameters")}
    if "pretext" in summaries[0]:
        result["pretext"] = {
            split: {
                name: spread([summary["pretext"][split][name] for summary in summaries]) for name in values
            }
            for split, values in summaries[0]["pretext"].items()
        }
    trials = [dict(trial) for trial in summaries[0]["trials"]]
    for number, trial in enumerate(trials):
        values = [value for summary in summaries for value in summary["trials"][number]["accuracy"]["values"]]
        trial["accuracy"] = spread(values)
    return {**result, "trials": trials}
