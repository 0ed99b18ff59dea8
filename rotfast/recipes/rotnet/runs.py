"""Whole RotNet runs: several seeds, and the evaluation of what they trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rotfast.recipes.environment import make_fabric
from rotfast.recipes.rotnet.config import RotnetConfig
from rotfast.recipes.rotnet.images import Pipeline, load_images
from rotfast.recipes.rotnet.score import judge_classes
from rotfast.recipes.rotnet.stages import new_classifier
from rotfast.recipes.rotnet.training import train
from rotfast.recipes.run import RunError, RunFolder
from rotfast.recipes.seeds import TrainSeeds, open_run, seed_folders, spread

__all__ = ["evaluate", "load_classifier", "train_seeds"]


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


def load_classifier(run: RunFolder, config: RotnetConfig) -> nn.Module:
    """The network of a run's last training on labels, on the CPU.

    Raises:
        RunError: There is none yet.
    """
    if not run.load_state().get("judged"):
        raise RunError(f"{run.path} is not finished: go on with rotfast train rotnet --resume {run.path}")
    net = new_classifier(config)
    net.load_state_dict(run.load_weights())
    return net.eval()


def evaluate(folder: str | Path) -> dict[str, Any]:
    """Judge the last classifier of a run, or of each of its seeds, by the test split; write evaluation.json.

    Returns:
        What evaluation.json holds: accuracy, confusion, recall and precision of every class; of several
        seeds the spread of each, and the sum of the confusions.

    Raises:
        RunError: No run folder, not finished, or no data.
    """
    run, config, seeds = open_run(RotnetConfig, folder)
    if seeds:
        results = [evaluate(path) for path in seed_folders(run, seeds)]
        confusion = torch.tensor([result["confusion"] for result in results]).sum(0)
        accuracy = spread([result["accuracy"] for result in results])
        result = {"seeds": list(seeds), "accuracy": accuracy, **_per_class(confusion)}
    else:
        net = make_fabric(config).setup_module(load_classifier(run, config))
        test = load_images(config, "test").first(config.test_images)
        judged = judge_classes(net, test, Pipeline(config).plain)
        result = {"images": len(test.y), **judged, **_per_class(torch.tensor(judged["confusion"]))}
    with run.writing():
        run.write_json("evaluation.json", result)
    return result


def _per_class(confusion: Tensor) -> dict[str, Any]:
    """Recall and precision; None for a class without images, or never predicted."""
    right, true, predicted = confusion.diag(), confusion.sum(1), confusion.sum(0)

    def shares(counts: Tensor) -> list[float | None]:
        pairs = zip(right.tolist(), counts.tolist(), strict=True)
        return [hits / count if count else None for hits, count in pairs]

    return {"confusion": confusion.tolist(), "recall": shares(true), "precision": shares(predicted)}


train_seeds = TrainSeeds(train, _summarise)
