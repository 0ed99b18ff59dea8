"""One training for each of several seeds, in one run folder, and the spread of what comes out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from rich.console import Console

from rotfast.plots.losses import student_t_975
from rotfast.recipes.config import RecipeConfig, config_from_dict, config_to_dict
from rotfast.recipes.environment import versions
from rotfast.recipes.run import RunError, RunFolder, RunStopped

__all__ = ["Train", "TrainSeeds", "open_run", "recipe_of", "seed_folders", "spread"]

Config = TypeVar("Config", bound=RecipeConfig)
Contravariant = TypeVar("Contravariant", bound=RecipeConfig, contravariant=True)


class Train(Protocol[Contravariant]):
    """A recipe's training of one seed; returns what summary.json holds, with its "seconds"."""

    def __call__(  # noqa: D102
        self,
        config: Contravariant,
        folder: str | Path,
        *,
        resume: bool = False,
        command: str = "",
        console: Console | None = None,
    ) -> dict[str, Any]: ...


def recipe_of(folder: str | Path) -> str:
    """The name of the recipe whose run a folder holds.

    Raises:
        RunError: It is no run folder.
    """
    run = RunFolder(folder)
    recipe = run.read_config().get("recipe")
    if not isinstance(recipe, str):
        raise RunError(f"{run.path / 'config.yaml'} does not say which recipe the run is of")
    return recipe


def open_run(kind: type[Config], folder: str | Path) -> tuple[RunFolder, Config, tuple[int, ...]]:
    """A run folder, its configuration, and its seeds if it is a run over several.

    Args:
        kind: The recipe's configuration class.
        folder: The run folder.

    Raises:
        RunError: It is no run folder, another recipe's, or config.yaml is damaged.
    """
    run = RunFolder(folder)
    values = run.read_config()
    seeds = values.pop("seeds", None)
    if seeds is None:
        return run, config_from_dict(kind, values), ()
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise RunError(f"config.yaml: seeds has the wrong value {seeds!r}")
    return run, config_from_dict(kind, {**values, "seed": seeds[0]}), tuple(seeds)


def seed_folders(run: RunFolder, seeds: Sequence[int]) -> list[Path]:
    """Where each seed of a run over several has its own run folder."""
    return [run.path / f"seed-{seed}" for seed in seeds]


@dataclass(frozen=True)
class TrainSeeds(Generic[Config]):
    """Trains a recipe once for every seed into FOLDER/seed-K and summarises them in FOLDER/summary.json.

    Attributes:
        train: Trains one seed.
        summarise: What summary.json says of all seeds' summaries, besides seeds, seconds, command, versions.
    """

    train: Train[Config]
    summarise: Callable[[list[dict[str, Any]]], dict[str, Any]]

    def __call__(
        self,
        config: Config,
        folder: str | Path,
        seeds: Sequence[int],
        *,
        resume: bool = False,
        command: str = "",
        console: Console | None = None,
    ) -> dict[str, Any]:
        """Train.

        Args:
            config: The configuration; its own seed does not count.
            folder: The run folder, new or empty unless `resume`.
            seeds: The seeds.
            resume: Go on with the run in the folder: finished seeds stay, a stopped one continues.
            command: The command line, for summary.json.
            console: Where progress goes; None is standard output.

        Returns:
            What summary.json holds.

        Raises:
            RunError: As `train`; also a seed given twice.
            RunStopped: Ctrl-C.
        """
        if len(set(seeds)) != len(seeds):
            raise RunError(f"seeds must differ from each other, got {' '.join(map(str, seeds))}")
        try:
            configs = [cast(Config, replace(cast(Any, config), seed=seed)) for seed in seeds]
        except ValueError as error:
            raise RunError(str(error)) from error
        console = Console() if console is None else console
        run = RunFolder(folder)
        shared = {**config_to_dict(config), "seeds": list(seeds)}
        del shared["seed"]
        if resume:
            run.check_config(shared, config.free_on_resume)
        else:
            run.create(shared)
        summaries = []
        for seeded, path in zip(configs, seed_folders(run, seeds), strict=True):
            console.print(f"seed {seeded.seed}: {path}", highlight=False, soft_wrap=True)
            began = (path / "config.yaml").exists()
            try:
                summaries.append(self.train(seeded, path, resume=began, command=command, console=console))
            except RunStopped as stopped:
                raise RunStopped(
                    f"{stopped} (this seed alone), or all seeds: --resume {run.path}"
                ) from stopped
        summary = {
            "recipe": config.recipe,
            **self.summarise(summaries),
            "seeds": list(seeds),
            "seconds": round(sum(summary["seconds"] for summary in summaries), 3),
            "command": command,
            "versions": versions(),
        }
        with run.writing():
            run.write_json("summary.json", summary)
        return summary


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean of independent runs; from two runs on, standard deviation and half of Student's 95 % interval.

    Example:
        >>> spread([1.0, 3.0])["mean"], spread([1.0])["ci95"]
        (2.0, None)
    """
    result: dict[str, Any] = {
        "mean": statistics.fmean(values),
        "std": None,
        "ci95": None,
        "values": [*values],
    }
    if len(values) > 1:
        result["std"] = statistics.stdev(values)
        result["ci95"] = student_t_975(len(values) - 1) * result["std"] / math.sqrt(len(values))
    return result
