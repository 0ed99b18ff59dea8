"""What a run trains, one after the other: the pretext, then a classifier for every trial."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotfast.data import draw_few_labels
from rotfast.models import DigitCNN, ProfileMLP, RotNet
from rotfast.recipes.rotnet.config import RotnetConfig
from rotfast.recipes.rotnet.images import CHANNELS, CLASSES, SIZE, Images, Pipeline
from rotfast.recipes.rotnet.score import pretext_loss
from rotfast.recipes.run import RunError

__all__ = [
    "Labels",
    "Pretext",
    "Stage",
    "Trial",
    "make_trials",
    "new_classifier",
    "new_rotnet",
    "unlabelled_images",
]

Start = Literal["scratch", "pretext"]

_COPIES_HELD_OUT = 0.2


@dataclass(frozen=True)
class Trial:
    """One training on labels.

    Attributes:
        draw: Which draw of labelled images.
        labels_per_class: How many of a class.
        augment: Their augmentation.
        start: Whether the network starts from the pretext or from scratch, the control.
        pseudo: Whether it learns from unlabelled images too, under pseudo-labels.
    """

    draw: int
    labels_per_class: int
    augment: str
    start: Start
    pseudo: bool

    @property
    def arm(self) -> str:
        """What distinguishes it from others on the same images."""
        return f"{self.start}+pseudo-labels" if self.pseudo else self.start

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.labels_per_class}/class, draw {self.draw}, augment {self.augment}, {self.arm}"

    def record(self) -> dict[str, Any]:
        """As a line of metrics.jsonl has it."""
        return {
            "draw": self.draw,
            "labels_per_class": self.labels_per_class,
            "augment": self.augment,
            "arm": self.arm,
        }


def make_trials(config: RotnetConfig) -> list[Trial]:
    """All trainings on labels, one with pseudo-labels after the one that they come from.

    The last is the one with most labels, from the pretext.
    """
    starts: tuple[Start, ...] = ("scratch", "pretext") if config.model == "rotnet" else ("scratch",)
    ways = (False, True) if config.pseudo_labels else (False,)
    order = product(range(config.draws), sorted(config.labels_per_class), config.augment, starts, ways)
    return [Trial(*each) for each in order]


def new_rotnet(config: RotnetConfig) -> RotNet:
    """The network for the pretext, freshly initialised."""
    return RotNet(
        config.trunk,
        config.turns or 2,
        in_channels=CHANNELS[config.data],
        image_size=SIZE[config.data],
        width=config.width,
    )


def new_classifier(config: RotnetConfig) -> nn.Module:
    """The network for the classes, freshly initialised."""
    if config.model == "mlpc":
        return ProfileMLP(CLASSES, 4 * SIZE[config.data])
    if config.model == "cnn":
        return DigitCNN(CLASSES, CHANNELS[config.data], SIZE[config.data])
    return new_rotnet(config).new_head(CLASSES)


def unlabelled_images(config: RotnetConfig, train: Images) -> Images:
    """The training images whose labels are not looked at.

    Raises:
        RunError: There are fewer than asked.
    """
    if config.unlabelled is None:
        return train
    if config.unlabelled > len(train.y):
        raise RunError(
            f"unlabelled must be at most the {len(train.y)} training images, got {config.unlabelled}"
        )
    generator = torch.Generator().manual_seed(stage_seed(config, "unlabelled"))
    return train.at(torch.randperm(len(train.y), generator=generator)[: config.unlabelled])


def stage_seed(config: RotnetConfig, *key: object) -> int:
    """A seed of its own for everything that draws."""
    return int.from_bytes(hashlib.sha256(repr((config.seed, *key)).encode()).digest()[:4], "little")


class _Shuffle:
    """Batches of indices, in an order that only the seed and the number of the batch decide."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.per_epoch = -(-count // batch)
        self._epoch = -1
        self._batches: tuple[Tensor, ...] = ()

    def __call__(self, number: int) -> Tensor:
        epoch, position = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            # Batches differ by one image at most: a batch norm must not see a rest of one.
            self._batches = torch.randperm(self.count, generator=generator).tensor_split(self.per_epoch)
            self._epoch = epoch
        return self._batches[position]


class Stage:
    """A training: its network, how many steps, and the loss of each.

    Attributes:
        name: For people.
        steps: Number of steps.
        seed: Set before the network is made.
        lr: Largest learning rate.
    """

    name: str
    steps: int
    seed: int
    lr: float

    def make_net(self) -> nn.Module:
        """The network as training starts with it."""
        raise NotImplementedError

    def loss(self, net: nn.Module, step: int) -> Tensor:
        """Loss of step 0, 1, ..."""
        raise NotImplementedError


class Pretext(Stage):
    """Tell how far images were turned."""

    name = "pretext"

    def __init__(
        self, config: RotnetConfig, images: Images, pipeline: Pipeline, device: torch.device
    ) -> None:
        self.config, self.pipeline, self.device = config, pipeline, device
        self.x = images.x
        self.seed, self.lr = stage_seed(config, "pretext"), config.pretext_lr
        self.held_out: Tensor | None = None
        count, batch = len(self.x), config.pretext_batch
        self._copies: Tensor | None = None
        if config.pretext_split == "copies":
            generator = torch.Generator().manual_seed(stage_seed(config, "copies"))
            copies = torch.randperm(4 * count, generator=generator)
            held_out = max(1, round(_COPIES_HELD_OUT * len(copies)))
            self.held_out, self._copies = copies[:held_out], copies[held_out:]
            count, batch = len(self._copies), 4 * batch
        self._shuffle = _Shuffle(count, batch, self.seed)
        self.steps_per_epoch = self._shuffle.per_epoch
        self.steps = config.pretext_epochs * self.steps_per_epoch

    def make_net(self) -> nn.Module:
        """The network, with a head for the turns."""
        return new_rotnet(self.config)

    def loss(self, net: nn.Module, step: int) -> Tensor:
        """Loss of a batch of turned images."""
        index = self._shuffle(step)
        x, target = (
            self.pipeline.turned(self.x[index.to(self.device)])
            if self._copies is None
            else self._turned_copies(self._copies[index])
        )
        return pretext_loss(net(x), target)

    def held_out_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The copies held out, of images that also are in training."""
        assert self.held_out is not None
        for copies in self.held_out.split(500):
            yield self._turned_copies(copies)

    def _turned_copies(self, copies: Tensor) -> tuple[Tensor, Tensor]:
        image, turn = copies.to(self.device) // 4, copies.to(self.device) % 4
        return self.pipeline.quarter_turns(self.x[image], turn), turn


class Labels(Stage):
    """Learn classes from few labelled images, and from unlabelled ones where the trial says so."""

    def __init__(
        self,
        config: RotnetConfig,
        trial: Trial,
        train: Images,
        unlabelled: Images,
        pipeline: Pipeline,
        device: torch.device,
        pretext: Callable[[], RotNet],
        pseudo_labels: Callable[[], Tensor],
    ) -> None:
        self.config, self.trial, self.pipeline, self.device = config, trial, pipeline, device
        self.name, self.lr = trial.name, config.lr
        # The same for all arms: they differ by what is compared alone.
        self.seed = stage_seed(config, trial.draw, trial.labels_per_class, trial.augment)
        self._pretext, self._pseudo_labels = pretext, pseudo_labels
        held_back = config.held_back(trial.labels_per_class)
        try:
            few = draw_few_labels(
                train.y,
                trial.labels_per_class - held_back,
                validation_per_class=held_back,
                seed=stage_seed(config, "labels", trial.draw),
            )
        except ValueError as error:
            raise RunError(f"labels_per_class {trial.labels_per_class}: {error}") from error
        self.labelled, self.validation = train.at(few.train), train.at(few.validation)
        self._copies = config.copies if trial.augment == "copies" else 1
        self._unlabelled = unlabelled.x if trial.pseudo else unlabelled.x[:0]
        count = self._copies * len(few.train) + len(self._unlabelled)
        self._shuffle = _Shuffle(count, config.batch, self.seed)
        self.steps = config.steps or config.epochs * self._shuffle.per_epoch
        if trial.pseudo:
            self.steps = config.pseudo_steps

    def make_net(self) -> nn.Module:
        """The network with a head for the classes; draws the fixed copies too."""
        labelled = self.labelled.to(self.device)
        self._x, self._y = labelled.x, labelled.y
        if self.trial.augment == "copies":
            self._x = torch.cat([self.pipeline.augmented(self._x) for _ in range(self._copies)])
            self._y = self._y.repeat(self._copies)
        if self.trial.pseudo:
            self._x = torch.cat([self._x, self._unlabelled])
            self._y = torch.cat([self._y, self._pseudo_labels().to(self.device)])
        net = new_classifier(self.config)
        if isinstance(net, RotNet) and self.trial.start == "pretext":
            net.load_features(self._pretext()).freeze(self.config.freeze)
        return net

    def loss(self, net: nn.Module, step: int) -> Tensor:
        """Loss of a batch of images with labels."""
        index = self._shuffle(step).to(self.device)
        x, y = self._x[index], self._y[index]
        if self.trial.augment != "copies":
            x = self.pipeline.plain(x) if self.trial.augment == "none" else self.pipeline.augmented(x)
        return F.cross_entropy(net(x), y, label_smoothing=self.config.label_smoothing)
