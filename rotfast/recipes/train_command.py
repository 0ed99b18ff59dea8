"""`rotfast train RECIPE`, the same for all recipes: a preset's defaults, new and old runs, several seeds."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro
from rich.console import Console
from tyro.conf import OmitArgPrefixes

from rotfast.memory import keep_freed_memory
from rotfast.recipes.config import RecipeConfig
from rotfast.recipes.run import RunError
from rotfast.recipes.seeds import open_run

__all__ = ["TrainCommand", "TrainOptions"]

Config = TypeVar("Config", bound=RecipeConfig)


@dataclass(frozen=True)
class TrainOptions(Generic[Config]):
    """What can be said to `rotfast train RECIPE`."""

    config: OmitArgPrefixes[Config]
    run: Path | None = None
    """Run folder to make; otherwise one under runs/ that does not exist yet."""
    resume: Path | None = None
    """Run folder to continue, with the configuration it has."""
    seeds: tuple[int, ...] = ()
    """Train once for each of these seeds, into RUN/seed-K, instead of once for --seed."""


@dataclass(frozen=True)
class TrainCommand(Generic[Config]):
    """`rotfast train RECIPE` of one recipe.

    Attributes:
        kind: The recipe's configuration class.
        description: What --help says first.
        choices: Options on which the defaults of the others depend, with their own defaults.
        preset: The defaults, called with a keyword argument for each of `choices`.
        train: Trains one seed.
        train_seeds: Trains several.
        folder_name: The name of the run folder under runs/ when none is given.
    """

    kind: type[Config]
    description: str
    choices: Mapping[str, str]
    preset: Callable[..., Config]
    train: Callable[..., dict[str, Any]]
    train_seeds: Callable[..., dict[str, Any]]
    folder_name: Callable[[Config], str]

    def __call__(self, arguments: Sequence[str]) -> None:
        """Train as the arguments after `rotfast train RECIPE` say.

        Raises:
            RunError: Something about the arguments or the run that the user can mend.
            RunStopped: Ctrl-C.
        """
        options = self.parse(arguments)
        if options.run is not None and options.resume is not None:
            raise RunError("give --run for a new run or --resume for an old one, not both")
        folder = options.resume or options.run or _unused_folder(self.folder_name(options.config))
        console = Console()
        keep_freed_memory()
        more: dict[str, Any] = {
            "resume": options.resume is not None,
            "command": shlex.join(["rotfast", "train", self.kind.recipe, *arguments]),
            "console": console,
        }
        if options.seeds:
            summary = self.train_seeds(options.config, folder, options.seeds, **more)
        else:
            summary = self.train(options.config, folder, **more)
        console.print(f"done in {summary['seconds']:.0f} s: {folder}", highlight=False, soft_wrap=True)

    def parse(self, arguments: Sequence[str]) -> TrainOptions[Config]:
        """The options that the arguments give.

        Raises:
            RunError: They are wrong.
        """
        # tyro's defaults depend on the choices, so they are read ahead of it.
        ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        for name, default in self.choices.items():
            ahead.add_argument(f"--{name}", default=default)
        ahead.add_argument("--resume", type=Path)
        try:
            chosen = vars(ahead.parse_known_args(arguments)[0])
            resume = chosen.pop("resume")
            if resume is None:
                defaults = TrainOptions(self.preset(**chosen))
            else:
                _, config, seeds = open_run(self.kind, resume)
                defaults = TrainOptions(config, seeds=seeds)
            return tyro.cli(
                TrainOptions[self.kind],  # type: ignore[name-defined]
                args=arguments,
                prog=f"rotfast train {self.kind.recipe}",
                description=self.description,
                default=defaults,
            )
        except (ValueError, argparse.ArgumentError) as error:
            raise RunError(str(error)) from error


def _unused_folder(name: str) -> Path:
    folder, number = Path("runs", name), 1
    while folder.exists():
        number += 1
        folder = Path("runs", f"{name}-{number}")
    return folder
