"""Whole one-shot runs: several seeds, and the evaluation of what they trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rotfast.recipes.environment import make_fabric
from rotfast.recipes.one_shot.config import OneShotConfig
from rotfast.recipes.one_shot.images import Pipeline, load_split
from rotfast.recipes.one_shot.score import judge
from rotfast.recipes.one_shot.training import load_net, train
from rotfast.recipes.seeds import TrainSeeds, open_run, seed_folders, spread

__all__ = ["evaluate", "train_seeds"]


def evaluate(folder: str | Path, episodes: int = 10_000) -> dict[str, Any]:
    """Judge the checkpoint of a run, or of each of its seeds, in many episodes and write evaluation.json.

    Args:
        folder: A run folder.
        episodes: Number of episodes of every kind.

    Returns:
        What evaluation.json holds.

    Raises:
        RunError: No run folder, no checkpoint, or no data.
    """
    run, config, seeds = open_run(OneShotConfig, folder)
    result: dict[str, Any]
    if seeds:
        results = [evaluate(path, episodes) for path in seed_folders(run, seeds)]
        result = {"seeds": list(seeds), "test": _spread_of([each["test"] for each in results])}
    else:
        split = load_split(config)
        net, step = load_net(run, config, split)
        wrapped = make_fabric(config).setup_module(net)
        wrapped.mark_forward_method("embed")
        test = judge(wrapped, split, Pipeline(config), replace(config, episodes=episodes))
        result = {"step": step, "test": test}
    with run.writing():
        run.write_json("evaluation.json", result)
    return result


def _summarise(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    same = ("data", "model", "preset", "steps", "parameters", "train_images", "unseen_images")
    return {
        **{name: summaries[0][name] for name in same},
        "test": _spread_of([summary["test"] for summary in summaries]),
    }


def _spread_of(tests: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation and half of Student's 95 % interval of every figure, over the seeds."""
    first = tests[0]
    result: dict[str, Any] = {
        "references": {"accuracy": spread([test["references"]["accuracy"] for test in tests])}
    }
    names = ("way", "shots", "method", "transductive", "views")
    result["episodes"] = [
        {
            **{name: row[name] for name in names},
            "accuracy": spread([test["episodes"][number]["accuracy"] for test in tests]),
        }
        for number, row in enumerate(first["episodes"])
    ]
    for part in ("pairs", "rejection"):
        if part in first:
            result[part] = {name: spread([test[part][name] for test in tests]) for name in first[part]}
    if "seen_accuracy" in first:
        result["seen_accuracy"] = spread([test["seen_accuracy"] for test in tests])
    return result


train_seeds = TrainSeeds(train, _summarise)
