"""Configuration of the MSR recipe and its presets."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from rotfast.recipes.config import (
    Device,
    Precision,
    Preset,
    RecipeConfig,
    check_at_least,
    check_choice,
    check_finite_not_negative,
)

__all__ = ["PROBLEMS", "ROTATED", "MsrConfig", "preset_config"]

Problem = Literal[
    "rank1", "rank2", "rank5", "rot8", "rot8-flip", "rotated-digits", "rotated-mnist", "omniglot"
]
Model = Literal["share", "conv", "fc", "lc", "single", "dedicated", "prototypes"]

PROBLEMS: tuple[str, ...] = typing.get_args(Problem)
ROTATED = ("rotated-digits", "rotated-mnist")
_MODELS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("rank1", "rank2", "rank5"), ("share", "conv", "fc", "lc")),
    **dict.fromkeys(("rot8", "rot8-flip"), ("share", "conv")),
    **dict.fromkeys(ROTATED, ("single", "dedicated")),
    "omniglot": ("share", "conv", "prototypes"),
}
_AT_LEAST_ONE = (
    *("steps", "tasks", "k_spt", "k_qry", "latent_size", "width"),
    *("test_tasks", "test_every", "log_every", "checkpoint_every"),
)


@dataclass(frozen=True)
class MsrConfig(RecipeConfig):
    """Meta-learning symmetries by reparameterisation (Zhou, Knowles, Finn 2020, arXiv 2007.02933).

    The defaults of a problem come from its preset (`preset_config`); the values here are those of the study's
    synthetic problems.

    Example:
        >>> MsrConfig(problem="rot8", model="fc")
        Traceback (most recent call last):
        ...
        ValueError: model must be one of share, conv for problem rot8, got 'fc'
    """

    recipe: ClassVar[str] = "msr"

    problem: Problem = "rank1"
    """What is learned: synthetic linear maps with a hidden symmetry, rotated images of digits, or to tell
    unknown characters from one example each."""
    model: Model = "share"
    """share, conv, fc (fully connected) and lc (locally connected) for the synthetic problems, single and
    dedicated (one circuit per angle) for the rotated ones; for omniglot share (MSR), conv (MAML) and
    prototypes, which has no inner loop."""
    preset: Preset = "recommended"
    """as-in-deck repeats the study with its flaws, recommended is what one should do."""
    routed: bool = False
    """dedicated: only the circuit of an image's angle is active, instead of all circuits for every image."""
    latent_size: int = 3
    """single, dedicated: numbers that the head adapts, W = U v with v of this size."""
    seed: int = 0
    """Seed of the initial weights, of the training tasks and of a synthetic problem's hidden symmetry."""
    steps: int = 1000
    """Outer steps."""
    tasks: int = 32
    """Tasks of one outer step."""
    k_spt: int = 1
    """Support examples of a task, of omniglot those of each class: the inner loop learns from these."""
    k_qry: int = 19
    """Query examples of a task, of omniglot those of each class: the outer loop learns from these."""
    fresh: bool = True
    """New tasks at every step, those of the rotated problems of one angle each. Otherwise, as in the study, a
    limited supply of synthetic tasks, or the same few tasks of mixed angles at every step."""
    angles: tuple[float, ...] = (0.0, 9.0, 18.0, 27.0, 36.0)
    """rotated problems: angles in degrees, counter-clockwise."""
    ways: int = 5
    """omniglot: classes of a task."""
    width: int = 32
    """omniglot: channels of every convolution, a multiple of 4."""
    degrees: float = 180.0
    """omniglot: query images are turned by up to so many degrees to either side; support images stay."""
    flip: bool = True
    """omniglot: every other query image is mirrored."""
    scale: tuple[float, float] = (0.8, 1.2)
    """omniglot: smallest and largest zoom of the query images."""
    test_tasks: int = 300
    """Tasks of a test during training, the same at every test and for every seed."""
    test_every: int = 100
    """Steps between tests; there is one after the first step too."""
    inner_lr: float = 0.1
    """Initial inner learning rate."""
    lr_mode: Literal["per_layer", "per_param", "fixed"] = "per_layer"
    """Whether a rate is learned for each adapted tensor, for each of its elements, or not at all."""
    inner_optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimiser of the inner loop."""
    inner_steps: int = 1
    """Inner steps."""
    first_order: bool = False
    """Leave the second derivatives out."""
    outer_lr: float = 1e-3
    """Learning rate of the outer loop's Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How outer_lr changes: not at all, or down to zero along half a cosine."""
    task_chunk: int | None = None
    """Most tasks held in memory at once; less memory, more time."""
    log_every: int = 10
    """Steps between lines about the training tasks in metrics.jsonl."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    device: Device = "auto"
    """Where to compute; auto takes an accelerator that is there."""
    precision: Precision = "32-true"
    """Number format of parameters and arithmetic."""
    data_dir: str | None = None
    """Folder with MNIST's files; otherwise ROTFAST_DATA names it, or MNIST is downloaded."""

    def __post_init__(self) -> None:
        check_choice("problem", self.problem, PROBLEMS)
        models = _MODELS[self.problem]
        if self.model not in models:
            raise ValueError(
                f"model must be one of {', '.join(models)} for problem {self.problem}, got {self.model!r}"
            )
        if self.routed and self.model != "dedicated":
            raise ValueError(f"routed needs model dedicated, got {self.model!r}")
        for name in _AT_LEAST_ONE:
            check_at_least(name, getattr(self, name), 1)
        if self.task_chunk is not None:
            check_at_least("task_chunk", self.task_chunk, 1)
        for name in ("seed", "inner_steps"):
            check_at_least(name, getattr(self, name), 0)
        check_at_least("ways", self.ways, 2)
        if self.width % 4:
            raise ValueError(f"width must be a multiple of 4, got {self.width}")
        for name in ("inner_lr", "outer_lr", "degrees"):
            check_finite_not_negative(name, getattr(self, name))
        if not self.angles or not all(map(math.isfinite, self.angles)):
            raise ValueError(f"angles must be at least one finite number of degrees, got {self.angles}")
        if len(set(self.angles)) != len(self.angles):
            raise ValueError(f"angles must differ from each other, got {self.angles}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < float("inf"):
            raise ValueError(f"scale must be two positive numbers, the smaller first, got {self.scale}")
        check_choice("preset", self.preset, typing.get_args(Preset))
        if self.problem == "omniglot" and (self.preset != "recommended" or not self.fresh):
            raise ValueError(
                "omniglot needs preset recommended and fresh tasks, for the study had no such problem, "
                f"got preset {self.preset} and fresh {self.fresh}"
            )

    @property
    def rotated(self) -> bool:
        """Whether this is one of the rotated digit problems, a classification."""
        return self.problem in ROTATED

    @property
    def classifies(self) -> bool:
        """Whether the targets are classes."""
        return self.rotated or self.problem == "omniglot"


# What differs from the fields' defaults, which are the study's own for the synthetic problems.
_SYNTHETIC_AS_IN_DECK: dict[str, Any] = {"fresh": False}
# One inner step cannot do better than about .17 on rank1, because one example's gradient does not point
# straight at the solution; a second step and a larger outer rate can.
_SYNTHETIC_RECOMMENDED: dict[str, Any] = {"inner_steps": 2, "outer_lr": 0.01, "schedule": "cosine"}
_ROTATED_AS_IN_DECK: dict[str, Any] = {
    "model": "single",
    "fresh": False,
    "tasks": 5,
    "test_tasks": 5,
    "inner_lr": 0.01,
    "outer_lr": 1e-4,
}
# From one support image the inner loop learns to do nothing; ten tell the angle.
_ROTATED_RECOMMENDED: dict[str, Any] = {
    "model": "single",
    "tasks": 5,
    "test_tasks": 50,
    "k_spt": 10,
    "k_qry": 128,
    "inner_lr": 0.01,
    "outer_lr": 3e-3,
    "schedule": "cosine",
    "steps": 2000,
    "test_every": 250,
}
_OMNIGLOT: dict[str, Any] = {
    "tasks": 16,
    "k_qry": 5,
    "inner_lr": 0.4,
    "outer_lr": 3e-3,
    "schedule": "cosine",
    "steps": 1000,
    "test_tasks": 100,
    "test_every": 250,
}
_PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    **{(problem, "as-in-deck"): _SYNTHETIC_AS_IN_DECK for problem in PROBLEMS},
    **{(problem, "recommended"): _SYNTHETIC_RECOMMENDED for problem in PROBLEMS},
    **{(problem, "as-in-deck"): _ROTATED_AS_IN_DECK for problem in ROTATED},
    ("rotated-mnist", "recommended"): _ROTATED_RECOMMENDED,
    ("rotated-digits", "recommended"): {**_ROTATED_RECOMMENDED, "steps": 300, "test_every": 50},
    ("omniglot", "recommended"): _OMNIGLOT,
}


def preset_config(problem: str = "rotated-digits", preset: str = "recommended") -> MsrConfig:
    """The defaults of a problem.

    Args:
        problem: One of PROBLEMS.
        preset: "as-in-deck" or "recommended".

    Raises:
        ValueError: Unknown problem or preset, or omniglot as in the deck, which did not have it.

    Example:
        >>> preset_config("rotated-mnist", "as-in-deck").inner_lr
        0.01
    """
    base = MsrConfig(
        problem=typing.cast(Problem, problem),
        preset=typing.cast(Preset, preset),
        model="single" if problem in ROTATED else "share",
    )
    return replace(base, **_PRESETS[problem, preset])
