"""Images of the one-shot recipe: what is seen and unseen, the batches of a step, and their augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import rotfast
from rotfast.data import load_cifar10, load_digits, load_mnist, load_omniglot
from rotfast.recipes.one_shot.config import CLASSES, OneShotConfig
from rotfast.recipes.run import RunError
from rotfast.transforms import RandomAffine

__all__ = ["CHANNELS", "SIZE", "Batch", "Batches", "Images", "Pipeline", "Split", "load_split"]

SIZE = {"digits": 28, "mnist": 28, "omniglot": 28, "cifar10": 32}
CHANNELS = {"digits": 1, "mnist": 1, "omniglot": 1, "cifar10": 3}
_MEAN = {1: (0.1307,), 3: (0.4914, 0.4822, 0.4465)}
_STD = {1: (0.3081,), 3: (0.2470, 0.2435, 0.2616)}
# How much the further views of a test image are changed, beside the images of training.
_STRENGTH_OF_VIEWS = 0.5


@dataclass(frozen=True)
class Images:
    """Images uint8 (N, C, H, W) with their labels (N,), and the names of classes by label, or none."""

    x: Tensor
    y: Tensor
    names: tuple[str, ...]

    def of(self, classes: list[int]) -> Images:
        """Those of some classes."""
        chosen = torch.isin(self.y, torch.tensor(classes))
        return Images(self.x[chosen], self.y[chosen], self.names)

    def at_most(self, per_class: int | None) -> Images:
        """The first so many of every class, or all."""
        if per_class is None:
            return self
        rows = [(self.y == label).nonzero().flatten()[:per_class] for label in self.y.unique()]
        chosen = torch.cat(rows).sort().values
        return Images(self.x[chosen], self.y[chosen], self.names)


@dataclass(frozen=True)
class Split:
    """What a run learns from and is judged by.

    Attributes:
        train: Images of the seen classes, labels as in the data.
        seen: Further images of these classes; None for Omniglot, whose drawings all are in `train`.
        unseen: Images of classes that training never sees.
    """

    train: Images
    seen: Images | None
    unseen: Images


def load_split(config: OneShotConfig) -> Split:
    """The images that a configuration asks for.

    Raises:
        RunError: A file is damaged, or cannot be found, read or downloaded.
    """
    try:
        if config.data == "omniglot":
            # Characters have no names, and their alphabets' are no names of classes.
            background, evaluation = (
                _images(*load_omniglot(config.data_dir, split)[:2], ())
                for split in ("background", "evaluation")
            )
            return Split(background, None, evaluation.at_most(config.test_images))
        if config.data == "cifar10":
            train = _images(*load_cifar10(config.data_dir, "train", config.train_batches))
            test = _images(*load_cifar10(config.data_dir, "test"))
        else:
            names = tuple(map(str, range(CLASSES[config.data])))
            train, test = (_images(*_digits(config, split), names) for split in ("train", "test"))
    except (ImportError, OSError, ValueError) as error:
        hint = "--data-dir or ROTFAST_DATA may name a folder that has the files"
        raise RunError(f"data {config.data}: {error} ({hint})") from error
    held_out = [*config.held_out]
    seen = [label for label in range(CLASSES[config.data]) if label not in held_out]
    test = test.at_most(config.test_images)
    return Split(train.of(seen), test.of(seen), test.of(held_out))


def _digits(config: OneShotConfig, split: str) -> tuple[Tensor, Tensor]:
    return load_digits(split) if config.data == "digits" else load_mnist(config.data_dir, split)


def _images(x: Tensor, y: Tensor, names: tuple[str, ...]) -> Images:
    return Images(x if x.dim() == 4 else x.unsqueeze(1), y, names)


class Pipeline:
    """From uint8 images to what the network reads; randomness is torch's global one, on their device."""

    def __init__(self, config: OneShotConfig) -> None:
        channels = CHANNELS[config.data]
        self._values: dict[str, Any] = {"mean": _MEAN[channels], "std": _STD[channels]}
        self._flip = config.flip
        self._augment, self._view = (
            _random_affine(config, strength, self._values) for strength in (1.0, _STRENGTH_OF_VIEWS)
        )

    def plain(self, x: Tensor) -> Tensor:
        """Images as they are."""
        return rotfast.affine(x, **self._values)

    def augmented(self, x: Tensor) -> Tensor:
        """Images, each changed by the augmentation."""
        return self._mirrored(self._augment(x))

    def view(self, x: Tensor) -> Tensor:
        """Images, each changed half as much."""
        return self._mirrored(self._view(x))

    def _mirrored(self, x: Tensor) -> Tensor:
        return mirror(x, torch.rand(len(x), device=x.device) < 0.5) if self._flip else x


def mirror(x: Tensor, chosen: Tensor) -> Tensor:
    """Images with the chosen (N,) among them mirrored left to right."""
    return torch.where(chosen[:, None, None, None], x.flip(-1), x)


def _random_affine(config: OneShotConfig, strength: float, values: dict[str, Any]) -> RandomAffine:
    """The augmentation, its ranges multiplied by a factor."""
    low, high = (1 + (bound - 1) * strength for bound in config.scale)
    shift, shear = config.translate * strength, config.shear * strength
    return RandomAffine(
        config.degrees * strength,
        (shift, shift),
        (low, high),
        (-shear, shear, -shear, shear),
        interpolation="bilinear",
        padding_mode=config.padding_mode,
        **values,
    )


@dataclass(frozen=True)
class Batch:
    """One step's images: rows of the training images, how they are turned and mirrored, and their classes.

    Attributes:
        index: (N,) rows.
        turn: (N,) quarter turns.
        mirrored: (N,) bool.
        label: (N,) classes, numbered from 0 over all seen classes in all their kinds.
    """

    index: Tensor
    turn: Tensor
    mirrored: Tensor
    label: Tensor

    def images(self, x: Tensor) -> Tensor:
        """The images, turned and mirrored, out of the training images."""
        device = x.device
        chosen = x[self.index.to(device)]
        if self.turn.any():
            chosen = rotfast.rotate90(chosen, self.turn.to(device))
        return mirror(chosen, self.mirrored.to(device)) if self.mirrored.any() else chosen


class Batches:
    """Draws the batches of a training; `state_dict` is all that its continuation needs.

    A class's kinds (turns, mirror images) count as classes of their own: kind k of seen class c is the class
    c + k · (number of seen classes).

    Args:
        config: The configuration.
        labels: (N,) labels of the training images.
    """

    def __init__(self, config: OneShotConfig, labels: Tensor) -> None:
        self.config = config
        self.generator = torch.Generator().manual_seed(config.seed)
        classes, self._place = labels.unique(return_inverse=True)
        self._rows = [(self._place == place).nonzero().flatten() for place in range(len(classes))]
        self.classes = len(classes) * config.kinds

    def draw(self) -> Batch:
        """The next batch; of contrastive pairs, the first half of the rows belongs to the second, in order.

        The first half of these pairs is of one class each, the second half of two.
        """
        config = self.config
        if config.loss == "cross-entropy":
            index = torch.randint(len(self._place), (config.batch,), generator=self.generator)
            kind = torch.randint(config.kinds, (config.batch,), generator=self.generator)
            return self._batch(index, kind, self._place[index] + kind * len(self._rows))
        if config.loss == "contrastive":
            first = torch.randint(self.classes, (config.batch,), generator=self.generator)
            step = torch.randint(1, self.classes, (config.batch,), generator=self.generator)
            step[: (config.batch + 1) // 2] = 0
            return self._of_classes(torch.cat([first, (first + step) % self.classes]), 1)
        count = min(self.classes, config.batch // config.images_per_class)
        chosen = torch.randperm(self.classes, generator=self.generator)[:count]
        return self._of_classes(chosen, config.images_per_class)

    def state_dict(self) -> dict[str, Any]:
        """All that the next batch depends on."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.generator.set_state(state["generator"])

    def _of_classes(self, chosen: Tensor, each: int) -> Batch:
        """So many images of each of the chosen classes, different ones where the class has as many."""
        kind, place = chosen // len(self._rows), chosen % len(self._rows)
        rows = []
        for one in place.tolist():
            members = self._rows[one]
            if len(members) > 50 * each:  # a repetition is rare, and a permutation of so many is slow
                drawn = torch.randint(len(members), (each,), generator=self.generator)
            else:
                drawn = torch.randperm(len(members), generator=self.generator).repeat(each)[:each]
            rows.append(members[drawn])
        return self._batch(torch.cat(rows), kind.repeat_interleave(each), chosen.repeat_interleave(each))

    def _batch(self, index: Tensor, kind: Tensor, label: Tensor) -> Batch:
        turns = 4 if self.config.rotation_classes else 1
        return Batch(index, kind % turns, kind // turns == 1, label)
