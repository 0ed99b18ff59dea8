"""The commands that belong to a recipe: which one's they are, its name or its run folder tells.

A recipe's package has a module `commands` with `train` and `evaluate`, and a module `plots` with `plot_run`.
Where its networks can judge an image file, `commands` has `predict` too.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import tyro
from tyro.conf import Positional

from rotfast.recipes.run import RunError
from rotfast.recipes.seeds import recipe_of

__all__ = ["evaluate", "plot", "predict", "train"]

_PACKAGES = {
    "beta-vae": "rotfast.recipes.beta_vae",
    "msr": "rotfast.recipes.msr",
    "one-shot": "rotfast.recipes.one_shot",
    "rotnet": "rotfast.recipes.rotnet",
}


@dataclass(frozen=True)
class Plot:
    """Draw a run's figures into RUN/figures."""

    run: Positional[Path]
    """Run folder, of one seed or of several."""


def train(arguments: Sequence[str]) -> None:
    """rotfast train RECIPE."""
    if not arguments or arguments[0] not in _PACKAGES:
        got = arguments[0] if arguments else "nothing"
        raise RunError(f"the recipe to train must be one of {', '.join(_PACKAGES)}, got {got}")
    _module(arguments[0], "commands").train(arguments[1:])


def evaluate(arguments: Sequence[str]) -> None:
    """rotfast evaluate RUN."""
    if not arguments or arguments[0].startswith("-"):
        raise RunError("which run folder? rotfast evaluate RUN, and options after it")
    _module(recipe_of(arguments[0]), "commands").evaluate(arguments)


def plot(arguments: Sequence[str]) -> None:
    """rotfast plot RUN."""
    options = tyro.cli(Plot, args=arguments, prog="rotfast plot")
    for path in _module(recipe_of(options.run), "plots").plot_run(options.run):
        print(path)


def predict(arguments: Sequence[str]) -> None:
    """rotfast predict RUN FILE."""
    if not arguments or arguments[0].startswith("-"):
        raise RunError("which run folder? rotfast predict RUN FILE, and options after it")
    recipe = recipe_of(arguments[0])
    commands = _module(recipe, "commands")
    if not hasattr(commands, "predict"):
        raise RunError(f"runs of {recipe} do not judge image files")
    commands.predict(arguments)


def _module(recipe: str, name: str) -> ModuleType:
    if recipe not in _PACKAGES:
        raise RunError(f"config.yaml: recipe must be one of {', '.join(_PACKAGES)}, got {recipe}")
    return importlib.import_module(f"{_PACKAGES[recipe]}.{name}")
