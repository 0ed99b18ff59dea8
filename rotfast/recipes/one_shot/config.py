"""Configuration of the one-shot recipe and its presets."""

from __future__ import annotations

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

__all__ = ["CLASSES", "OneShotConfig", "preset_config"]

Data = Literal["digits", "mnist", "omniglot", "cifar10"]
Model = Literal["embedder", "convnet", "cnn", "dense", "siamese"]
Loss = Literal["cross-entropy", "contrastive", "supervised-contrastive", "batch-hard"]

CLASSES = {"digits": 10, "mnist": 10, "cifar10": 10}
CLASSIFIERS = ("convnet", "cnn", "dense")
_AT_LEAST_ONE = (
    *("embedding_size", "width", "depth", "steps", "batch", "images_per_class"),
    *("log_every", "test_every", "checkpoint_every"),
)


@dataclass(frozen=True)
class OneShotConfig(RecipeConfig):
    """Learn an embedding on some classes, judge it on classes it never saw.

    The defaults come from a preset (`preset_config`).

    Example:
        >>> OneShotConfig(model="siamese", loss="cross-entropy")
        Traceback (most recent call last):
        ...
        ValueError: loss must be cross-entropy for convnet, cnn and dense and another for the rest, got \
'cross-entropy' for siamese
    """

    recipe: ClassVar[str] = "one-shot"

    data: Data = "digits"
    """Images: scikit-learn's digits, MNIST, Omniglot or CIFAR-10."""
    model: Model = "embedder"
    """embedder is made for unseen classes; convnet, cnn, dense and siamese are the study's networks."""
    preset: Preset = "recommended"
    """as-in-deck repeats the study with its flaws, recommended is what one should do."""
    seed: int = 0
    """Seed of initial weights, batches and augmentation."""
    held_out: tuple[int, ...] = (5, 6, 7, 8, 9)
    """Classes that training never sees. Of Omniglot these are the characters of the evaluation split, and
    nothing else can be said here."""
    train_batches: tuple[int, ...] = (1, 2, 3, 4, 5)
    """cifar10: training batches to learn from, of 10,000 images each."""

    embedding_size: int = 64
    """Coordinates of a point; convnet always has 600."""
    width: int = 32
    """embedder: channels of its first block."""
    depth: int = 1
    """embedder: convolutions of a block."""

    loss: Loss = "supervised-contrastive"
    """cross-entropy of the classes; contrastive, on pairs; supervised-contrastive or batch-hard, on several
    images of every class in a batch."""
    margin: float = 1.0
    """contrastive, batch-hard: distance from which a point of another class is far enough."""
    temperature: float = 0.1
    """supervised-contrastive: how sharply it looks at near points."""
    rotation_classes: bool = True
    """Every class turned by 0°, 90°, 180° and 270° is four classes."""
    mirror_classes: bool = False
    """Every class and its mirror image are two classes."""
    rotation_weight: float = 0.0
    """embedder with rotation_classes: weight of a second task, to tell how far the image was turned."""

    steps: int = 1000
    """Steps of training."""
    batch: int = 128
    """Images of a step; of contrastive, pairs, half of them of one class."""
    images_per_class: int = 4
    """supervised-contrastive, batch-hard: images of a class in a batch."""
    lr: float = 2e-3
    """Learning rate of Adam."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How lr changes: not at all, or down to zero along half a cosine."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of all parameters."""
    l2: float = 0.0
    """Penalty: so much times the sum of squares of the parameters named in l2_on."""
    l2_on: tuple[str, ...] = ()
    """Names of parameters, as in the model's state dict, that the penalty l2 is on."""

    degrees: float = 20.0
    """Augmentation: largest rotation to either side."""
    translate: float = 0.1
    """Augmentation: largest shift, as a share of the image's size."""
    scale: tuple[float, float] = (0.8, 1.2)
    """Augmentation: smallest and largest zoom."""
    shear: float = 15.0
    """Augmentation: largest shear in degrees, along x and along y."""
    padding_mode: Literal["constant", "border", "reflection"] = "constant"
    """Augmentation: what lies outside of the image."""
    flip: bool = False
    """Augmentation: every other image is mirrored."""

    metric: Literal["euclidean", "cosine"] = "cosine"
    """How points are compared in tests."""
    views: int = 0
    """Tests: a point is the mean over the image and so many versions of it, changed half as much as in
    training; 0 takes the image alone."""
    test_images: int | None = None
    """Images of every class to judge by; None is all of the test split."""
    draws: int = 100
    """Draws of one shared reference per unseen class."""
    episodes: int = 1000
    """Episodes of every kind in the last test; tests in between have a tenth of them."""
    threshold: float = 0.5
    """Pairs nearer than this count as the same class."""
    test_every: int = 250
    """Steps between tests."""
    log_every: int = 10
    """Steps between lines about the training loss in metrics.jsonl."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    device: Device = "auto"
    """Where to compute; auto takes an accelerator that is there."""
    precision: Precision = "32-true"
    """Number format of parameters and arithmetic."""
    data_dir: str | None = None
    """Folder with the data's files; otherwise ROTFAST_DATA names it, or they are downloaded."""

    def __post_init__(self) -> None:
        for name, kind in (("data", Data), ("model", Model), ("preset", Preset), ("loss", Loss)):
            check_choice(name, getattr(self, name), typing.get_args(kind))
        if (self.loss == "cross-entropy") != (self.model in CLASSIFIERS):
            raise ValueError(
                "loss must be cross-entropy for convnet, cnn and dense and another for the rest, "
                f"got {self.loss!r} for {self.model}"
            )
        self._check_classes()
        for name in _AT_LEAST_ONE:
            check_at_least(name, getattr(self, name), 1)
        if self.test_images is not None:
            check_at_least("test_images", self.test_images, 2)
        for name in ("draws", "episodes"):
            check_at_least(name, getattr(self, name), 2)
        for name in ("seed", "views"):
            check_at_least(name, getattr(self, name), 0)
        for name in (
            "lr",
            "weight_decay",
            "l2",
            "degrees",
            "shear",
            "margin",
            "rotation_weight",
            "threshold",
        ):
            check_finite_not_negative(name, getattr(self, name))
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if not 0 <= self.translate <= 1:
            raise ValueError(f"translate must be from 0 to 1, got {self.translate}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < float("inf"):
            raise ValueError(f"scale must be two positive numbers, the smaller first, got {self.scale}")
        if self.rotation_weight and not (self.rotation_classes and self.model == "embedder"):
            raise ValueError("rotation_weight needs model embedder with rotation_classes")
        if self.loss in ("supervised-contrastive", "batch-hard") and (
            self.images_per_class < 2 or self.batch < 2 * self.images_per_class
        ):
            raise ValueError(
                "images_per_class must be at least 2 and batch at least twice that, "
                f"got {self.images_per_class} and {self.batch}"
            )

    def _check_classes(self) -> None:
        if self.data == "omniglot":
            if self.held_out:
                raise ValueError(f"held_out must be empty for omniglot, got {self.held_out}")
            return
        classes = CLASSES[self.data]
        held_out = set(self.held_out)
        if len(held_out) != len(self.held_out) or not held_out <= set(range(classes)):
            raise ValueError(
                f"held_out must be different classes from 0 to {classes - 1}, got {self.held_out}"
            )
        if not 2 <= len(held_out) <= classes - 2:
            raise ValueError(
                f"held_out must leave at least 2 of {classes} classes on both sides, got {self.held_out}"
            )

    @property
    def kinds(self) -> int:
        """How many classes each class becomes by turning and mirroring."""
        return (4 if self.rotation_classes else 1) * (2 if self.mirror_classes else 1)


_PLAIN: dict[str, Any] = {
    "rotation_classes": False,
    "degrees": 0.0,
    "translate": 0.0,
    "scale": (1.0, 1.0),
    "shear": 0.0,
    "schedule": "constant",
    "weight_decay": 0.0,
    "metric": "euclidean",
}
_CLASSIFIER: dict[str, Any] = {"loss": "cross-entropy", "embedding_size": 2, "batch": 128, "lr": 1e-3}
_AS_IN_DECK: dict[str, dict[str, Any]] = {
    "convnet": {
        "loss": "cross-entropy",
        "embedding_size": 600,
        "batch": 32,
        "lr": 1e-4,
        "l2": 1e-4,
        "l2_on": ("body.conv3.weight", "body.conv4.weight", "body.conv5.weight", "body.dense.weight"),
        "degrees": 2.0,
        "translate": 0.15,
        "scale": (0.9, 1.1),
        "shear": 0.1,
        "padding_mode": "border",
        "flip": True,
        "test_images": 700,
        "steps": 20_000,
        "test_every": 1000,
    },
    "cnn": {**_CLASSIFIER, "steps": 3000},
    "dense": {**_CLASSIFIER, "steps": 3000},
    "siamese": {"loss": "contrastive", "embedding_size": 2, "batch": 128, "lr": 1e-3, "steps": 3000},
}
_RECOMMENDED: dict[str, Any] = {"views": 8}
_DATA: dict[tuple[str, str], dict[str, Any]] = {
    ("digits", "as-in-deck"): {"steps": 400, "test_every": 100},
    # They vary little, and 744 images of five classes are few: mirror images make more.
    ("digits", "recommended"): {
        "steps": 200,
        "test_every": 50,
        "width": 16,
        "mirror_classes": True,
        "degrees": 10.0,
        "translate": 0.05,
        "scale": (0.9, 1.1),
        "shear": 5.0,
        "episodes": 300,
    },
    ("mnist", "recommended"): {"steps": 2000, "batch": 160, "images_per_class": 8},
    ("omniglot", "recommended"): {"steps": 3000, "batch": 256, "degrees": 15.0},
    ("cifar10", "recommended"): {
        "steps": 6000,
        "depth": 2,
        "batch": 256,
        "images_per_class": 8,
        "padding_mode": "reflection",
        "degrees": 10.0,
        "shear": 5.0,
        "flip": True,
        "test_images": 700,
    },
}


def preset_config(
    data: str = "digits", preset: str = "recommended", model: str | None = None
) -> OneShotConfig:
    """The defaults for a data set, preset and model.

    Args:
        data: "digits", "mnist", "omniglot" or "cifar10".
        preset: "as-in-deck" or "recommended".
        model: "embedder", "convnet", "cnn", "dense" or "siamese"; None is embedder, and as in the deck
            convnet for cifar10 and siamese for the rest.

    Raises:
        ValueError: An unknown name, or embedder as in the deck, which had none.

    Example:
        >>> preset_config("cifar10", "as-in-deck").l2
        0.0001
    """
    check_choice("data", data, typing.get_args(Data))
    check_choice("preset", preset, typing.get_args(Preset))
    deck = preset == "as-in-deck"
    if model is None:
        model = "embedder" if not deck else "convnet" if data == "cifar10" else "siamese"
    check_choice("model", model, tuple(_AS_IN_DECK) if deck else typing.get_args(Model))
    values: dict[str, Any] = {"data": data, "preset": preset, "model": model}
    values["held_out"] = {"omniglot": (), "cifar10": (6, 7, 8, 9)}.get(data, (5, 6, 7, 8, 9))
    values |= {**_PLAIN, **_AS_IN_DECK[model]} if deck else _RECOMMENDED
    values |= _DATA.get((data, preset), {})
    if not deck and model in CLASSIFIERS:
        values["loss"] = "cross-entropy"
    return replace(OneShotConfig(), **values)
