"""Whole MSR runs: one training or several seeds, and their evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from rotfast.recipes.msr import (
    FREE_ON_RESUME,
    load_learner,
    make_fabric,
    train,
    versions,
)
from rotfast.recipes.msr_config import MsrConfig, config_from_dict, config_to_dict
from rotfast.recipes.msr_score import measure, spread
from rotfast.recipes.msr_tasks import make_source
from rotfast.recipes.run import RunError, RunFolder, RunStopped

__all__ = ["evaluate", "open_run", "seed_folders", "train_seeds"]


def open_run(folder: str | Path) -> tuple[RunFolder, MsrConfig, tuple[int, ...]]:
    """A run folder, its configuration, and its seeds if it is a run over several.

    Raises:
        RunError: It is no run folder, or config.yaml is damaged.
    """
    run = RunFolder(folder)
    values = run.read_config()
    seeds = values.pop("seeds", None)
    if seeds is None:
        return run, config_from_dict(values), ()
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise RunError(f"config.yaml: seeds has the wrong value {seeds!r}")
    return run, config_from_dict({**values, "seed": seeds[0]}), tuple(seeds)


def seed_folders(run: RunFolder, seeds: Sequence[int]) -> list[Path]:
    """Where each seed of a run over several has its own run folder."""
    return [run.path / f"seed-{seed}" for seed in seeds]


def train_seeds(
    config: MsrConfig,
    folder: str | Path,
    seeds: Sequence[int],
    *,
    resume: bool = False,
    command: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Train once for every seed into FOLDER/seed-K and summarise them in FOLDER/summary.json.

    Args:
        config: The configuration; its own seed does not count.
        folder: The run folder, new or empty unless `resume`.
        seeds: The seeds.
        resume: Go on with the run in the folder: finished seeds stay, a stopped one continues.
        command: The command line, for summary.json.
        console: Where progress goes; None is standard output.

    Returns:
        What summary.json holds: of the final test figures mean, standard deviation and half of Student's 95 %
        interval.

    Raises:
        RunError: As `train`; also a seed given twice.
        RunStopped: Ctrl-C.
    """
    if len(set(seeds)) != len(seeds):
        raise RunError(f"seeds must differ from each other, got {' '.join(map(str, seeds))}")
    try:
        configs = [replace(config, seed=seed) for seed in seeds]
    except ValueError as error:
        raise RunError(str(error)) from error
    console = Console() if console is None else console
    run = RunFolder(folder)
    shared = {**config_to_dict(config), "seeds": list(seeds)}
    del shared["seed"]
    if resume:
        run.check_config(shared, FREE_ON_RESUME)
    else:
        run.create(shared)
    summaries = []
    for seeded, path in zip(configs, seed_folders(run, seeds), strict=True):
        console.print(f"seed {seeded.seed}: {path}", highlight=False, soft_wrap=True)
        began = (path / "config.yaml").exists()
        try:
            summaries.append(train(seeded, path, resume=began, command=command, console=console))
        except RunStopped as stopped:
            raise RunStopped(f"{stopped} (this seed alone), or all seeds: --resume {run.path}") from stopped
    summary = {
        **{name: summaries[0][name] for name in ("recipe", "problem", "model", "routed", "preset", "steps")},
        "seeds": list(seeds),
        "test": _spread_of([summary["test"] for summary in summaries]),
        "seconds": round(sum(summary["seconds"] for summary in summaries), 3),
        "command": command,
        "versions": versions(),
    }
    with run.writing():
        run.write_json("summary.json", summary)
    return summary


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
    run, config, seeds = open_run(folder)
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
