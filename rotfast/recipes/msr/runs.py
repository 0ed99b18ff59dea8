"""Whole MSR runs: one training or several seeds, and their evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rotfast.recipes.environment import make_fabric
from rotfast.recipes.msr.config import MsrConfig
from rotfast.recipes.msr.score import measure
from rotfast.recipes.msr.tasks import make_source
from rotfast.recipes.msr.training import load_learner, train
from rotfast.recipes.seeds import TrainSeeds, open_run, seed_folders, spread

__all__ = ["evaluate", "train_seeds"]


def _summarise(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the final test figures mean, standard deviation and half of Student's 95 % interval."""
    same = {name: summaries[0][name] for name in ("problem", "model", "routed", "preset", "steps")}
    return {**same, "test": _spread_of([summary["test"] for summary in summaries])}


def evaluate(folder: str | Path, tasks: int = 1000) -> dict[str, Any]:
    """Judge the checkpoint of a run, or of each of its seeds, on many test tasks and write evaluation.json.

    Args:
        folder: A run folder.
        tasks: Number of tasks, others than those of the tests during training. Tasks of one angle are rounded
            up to whole rounds over the angles; of mixed angles there are at most as many as the test split
            has images for.

    Returns:
        What evaluation.json holds.

    Raises:
        RunError: No run folder, no checkpoint, or no data.
    """
    run, config, seeds = open_run(MsrConfig, folder)
    result: dict[str, Any]
    if seeds:
        results = [evaluate(path, tasks) for path in seed_folders(run, seeds)]
        result = {"seeds": list(seeds), "tasks": results[0]["tasks"], "test": _spread_of(results)}
    else:
        fabric = make_fabric(config)
        learner, step = load_learner(run, config)
        wrapped = fabric.setup_module(learner)
        wrapped.mark_forward_method("query")
        score = measure(wrapped, make_source(config).evaluation(tasks), fabric.device)
        result = {"step": step, "tasks": len(score.losses), **score.record()}
    with run.writing():
        run.write_json("evaluation.json", result)
    return result


def _spread_of(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name in ("loss", "accuracy") if name in records[0]]
    return {name: spread([record[name] for record in records]) for name in names}


train_seeds = TrainSeeds(train, _summarise)
