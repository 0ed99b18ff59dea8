"""Configuration of the RotNet recipe and its presets."""

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

__all__ = ["RotnetConfig", "preset_config"]

Data = Literal["digits", "mnist", "cifar10"]
Model = Literal["mlpc", "cnn", "rotnet"]
Augment = Literal["none", "copies", "fresh"]

_AT_LEAST_ONE = ("pretext_epochs", "pretext_batch", "epochs", "batch", "copies", "draws", "checkpoint_every")


@dataclass(frozen=True)
class RotnetConfig(RecipeConfig):
    """Rotation prediction without labels, then classes from few (Gidaris et al. 2018, arXiv 1803.07728).

    The defaults come from a preset (`preset_config`).

    Example:
        >>> RotnetConfig(model="mlpc", data="cifar10")
        Traceback (most recent call last):
        ...
        ValueError: model must be cnn or rotnet for data cifar10, whose images have colours, got 'mlpc'
    """

    recipe: ClassVar[str] = "rotnet"

    data: Data = "digits"
    """Images: scikit-learn's digits, MNIST or CIFAR-10."""
    model: Model = "rotnet"
    """rotnet has a pretext; mlpc (on projections and profiles) and cnn are the baselines without."""
    preset: Preset = "recommended"
    """as-in-deck repeats the study with its flaws, recommended is what one should do."""
    seed: int = 0
    """Seed of initial weights, shuffles, augmentation and label draws."""

    trunk: Literal["deck", "small", "nin"] = "small"
    """rotnet: its convolutions, as rotfast.models.RotNet names them."""
    width: int | None = None
    """rotnet: channels of the first convolution; None is the trunk's own."""
    binarise: bool = False
    """Black and white images, instead of normalised grey or coloured ones."""

    turns: int = 4
    """Pretext: into how many directions every image is turned; 0 asks for the angle itself, any of 360°."""
    pretext_augment: bool = True
    """Pretext: jitter every turned image, the upright one too, by the augmentation's ranges, in the same
    resampling. Otherwise exact quarter turns."""
    pretext_split: Literal["images", "copies"] = "images"
    """copies, the study's flaw: turned copies are split into training and validation, so both have turns of
    the same image. images: the pretext is judged on images of the test split."""
    unlabelled: int | None = None
    """Training images the pretext and the pseudo-labels may use, without their labels; None is all."""
    pretext_epochs: int = 10
    """Passes of the pretext over its images."""
    pretext_batch: int = 64
    """Images of a pretext step; each comes in all its turns."""
    pretext_lr: float = 1e-3
    """Learning rate of the pretext."""
    pretext_from: str | None = None
    """Run folder, of one seed, whose pretext is taken over instead of training one."""

    labels_per_class: tuple[int, ...] = (10,)
    """Labelled images of each class, one or several budgets."""
    validation: float = 0.0
    """Share of the labelled images held back for validation."""
    draws: int = 1
    """Label draws: each trains anew from other labelled images; all share the pretext."""
    augment: tuple[Augment, ...] = ("fresh",)
    """Augmentation of the labelled images: none, so many fixed copies, or fresh draws for every batch. With
    several, one training for each."""
    copies: int = 10
    """Number of fixed copies of an image."""
    freeze: Literal["none", "convs", "all"] = "none"
    """rotnet: what stays as the pretext left it; all leaves the head to train. The control without pretext
    trains everything."""
    epochs: int = 20
    """Passes over the labelled images (and their copies)."""
    steps: int | None = None
    """Steps of every training on labels, instead of epochs: the same for few labels and many."""
    batch: int = 80
    """Labelled images of a step, or all where there are fewer."""
    lr: float = 1e-3
    """Learning rate on labels."""
    label_smoothing: float = 0.0
    """Share of a label that all classes divide."""
    weight_decay: float = 0.0
    """Decoupled weight decay, of the pretext too."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How learning rates change: not at all, or down to zero along half a cosine."""
    ema: float = 0.0
    """Decay of the running mean of the weights that is judged and kept; 0 takes the weights themselves."""
    pseudo_labels: bool = False
    """After each training on labels, spread the labels to the unlabelled images, along a graph of neighbours
    in the features of the pretext and of the network just trained, and train once more on all of them (Iscen
    et al. 2019, arXiv 1904.04717). Reported apart."""
    pseudo_steps: int = 800
    """Steps of a training on pseudo-labels."""

    degrees: float = 20.0
    """Augmentation: largest rotation to either side."""
    translate: float = 0.1
    """Augmentation: largest shift, as a share of the image's size."""
    scale: tuple[float, float] = (0.9, 1.1)
    """Augmentation: smallest and largest zoom."""
    shear: float = 0.0
    """Augmentation: largest shear in degrees."""
    perspective: float = 0.0
    """Augmentation: distortion of a perspective that every other image goes through, from 0 to 1."""

    cifar_batches: tuple[int, ...] = (1, 2, 3, 4, 5)
    """cifar10: which of the five training batches of 10,000 images to read."""
    test_images: int | None = None
    """Images of the test split to judge by; None is all."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    device: Device = "auto"
    """Where to compute; auto takes an accelerator that is there."""
    precision: Precision = "32-true"
    """Number format of parameters and arithmetic."""
    data_dir: str | None = None
    """Folder with the data's files; otherwise ROTFAST_DATA names it, or they are downloaded."""

    def __post_init__(self) -> None:
        for name in ("data", "model", "preset"):
            check_choice(name, getattr(self, name), _choices(name))
        if self.model == "mlpc" and self.data == "cifar10":
            raise ValueError(
                "model must be cnn or rotnet for data cifar10, whose images have colours, got 'mlpc'"
            )
        for name in _AT_LEAST_ONE:
            check_at_least(name, getattr(self, name), 1)
        for name in ("unlabelled", "steps", "test_images", "width"):
            if getattr(self, name) is not None:
                check_at_least(name, getattr(self, name), 1)
        check_at_least("pseudo_steps", self.pseudo_steps, 1)
        check_at_least("seed", self.seed, 0)
        for name in ("pretext_lr", "lr", "weight_decay", "degrees", "shear"):
            check_finite_not_negative(name, getattr(self, name))
        self._check_pretext()
        self._check_labels()
        for name in ("validation", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        for name in ("translate", "perspective"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(f"scale must be two positive numbers, the smaller first, got {self.scale}")

    def _check_pretext(self) -> None:
        if self.turns < 0 or self.turns == 1:
            raise ValueError(f"turns must be 0 or at least 2, got {self.turns}")
        if self.turns != 4 and not self.pretext_augment:
            raise ValueError(
                f"turns must be 4 without pretext_augment: exact quarter turns, got {self.turns}"
            )
        if self.pretext_split == "copies" and self.pretext_augment:
            raise ValueError("pretext_split copies needs exact quarter turns, no pretext_augment")
        if self.model != "rotnet":
            if self.pseudo_labels:
                raise ValueError(f"pseudo_labels needs model rotnet, got {self.model!r}")
            if self.pretext_from is not None:
                raise ValueError(f"pretext_from needs model rotnet, got {self.model!r}")

    def _check_labels(self) -> None:
        if not self.cifar_batches or not set(self.cifar_batches) <= {1, 2, 3, 4, 5}:
            raise ValueError(f"cifar_batches must be from 1 to 5, got {self.cifar_batches}")
        for name in ("labels_per_class", "augment", "cifar_batches"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must be one value or several that differ, got {values}")
        for budget in self.labels_per_class:
            if not 1 <= budget <= 1000:
                raise ValueError(f"labels_per_class must be from 1 to 1000, got {budget}")
        for kind in self.augment:
            check_choice("augment", kind, typing.get_args(Augment))
        if self.pseudo_labels and "copies" in self.augment:
            raise ValueError(f"augment must be none or fresh with pseudo_labels, got {self.augment}")

    def held_back(self, budget: int) -> int:
        """How many of a class's labelled images are held back for validation."""
        return int(budget * self.validation)


def _choices(name: str) -> tuple[str, ...]:
    return typing.get_args({"data": Data, "model": Model, "preset": Preset}[name])


_AS_IN_DECK: dict[str, Any] = {
    "trunk": "deck",
    "binarise": True,
    "pretext_augment": False,
    "pretext_split": "copies",
    "pretext_epochs": 2,
    "pretext_batch": 32,
    "validation": 0.2,
    "augment": ("none", "copies"),
    "freeze": "convs",
    "perspective": 0.5,
}
_RECOMMENDED: dict[str, Any] = {
    "width": 16,
    "degrees": 15.0,
    "scale": (0.8, 1.2),
    "shear": 15.0,
    "perspective": 0.3,
    "turns": 8,
    "unlabelled": 20_000,
    "pretext_epochs": 3,
    "steps": 400,
    "batch": 100,
    "lr": 3e-3,
    "label_smoothing": 0.1,
    "pretext_lr": 3e-3,
    "ema": 0.99,
}
_CIFAR_RECOMMENDED: dict[str, Any] = {
    "trunk": "nin",
    "width": None,
    "degrees": 10.0,
    "shear": 0.0,
    "perspective": 0.0,
    "turns": 4,
    "unlabelled": None,
    "pretext_epochs": 30,
    "steps": 2000,
}
_PRESETS: dict[str, dict[str, Any]] = {"as-in-deck": _AS_IN_DECK, "recommended": _RECOMMENDED}
_DATA: dict[tuple[str, str], dict[str, Any]] = {
    ("digits", "as-in-deck"): {"pretext_epochs": 20, "pretext_batch": 64},
    ("digits", "recommended"): {"unlabelled": None, "pretext_epochs": 15, "steps": 200},
    ("cifar10", "as-in-deck"): {"binarise": False},
    ("cifar10", "recommended"): _CIFAR_RECOMMENDED,
}


def preset_config(data: str = "digits", preset: str = "recommended", model: str = "rotnet") -> RotnetConfig:
    """The defaults for a data set, preset and model.

    Args:
        data: "digits", "mnist" or "cifar10".
        preset: "as-in-deck" or "recommended".
        model: "mlpc", "cnn" or "rotnet".

    Raises:
        ValueError: An unknown name.

    Example:
        >>> preset_config("mnist", "as-in-deck").trunk
        'deck'
    """
    base = RotnetConfig(
        data=typing.cast(Data, data),
        preset=typing.cast(Preset, preset),
        model=typing.cast(Model, model),
    )
    values = {**_PRESETS[preset], **_DATA.get((data, preset), {})}
    if (preset, model) == ("as-in-deck", "mlpc"):
        values["lr"] = 3e-3  # at which the networks with convolutions sometimes stay at chance
    if (preset, model) == ("as-in-deck", "rotnet"):
        # A rate that falls makes a better pretext, whose convolutions serve the classes less.
        values |= {"schedule": "constant", "batch": 32}
    return replace(base, **values)
