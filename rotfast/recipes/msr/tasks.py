"""Where the tasks come from: a source for synthetic problems, two for rotated digits, one for characters.

Every source draws training tasks from a generator of the run's own, whose state a checkpoint keeps. Its tests
come from TEST_SEED, so that all tests of all runs of a problem judge the same draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

import rotfast
from rotfast.data import (
    AngleEpisodes,
    Episode,
    RotatedDataset,
    load_digits,
    load_mnist,
    load_omniglot,
    load_rmnist_task_data,
    synthetic_problem,
)
from rotfast.recipes.msr.config import MsrConfig
from rotfast.recipes.run import RunError
from rotfast.transforms import RandomAffine

__all__ = ["TEST_SEED", "TaskSource", "Tasks", "make_source"]

TEST_SEED = 20200706
_BATCH_SIZE = 1024
_OMNIGLOT_SPLITS = {"train": "background", "test": "evaluation"}
# Bounds the memory of a test: target values that are held at once.
_VALUES_AT_ONCE = 2**24

# Characters of one test chunk's tasks, all their images.
_IMAGES_AT_ONCE = 1024

Inputs = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Tasks:
    """T tasks.

    Attributes:
        x_spt: (T, k_spt, ...), or a tuple of such tensors: the arguments of the network.
        y_spt: (T, k_spt, ...).
        x_qry: (T, k_qry, ...), or a tuple.
        y_qry: (T, k_qry, ...).
        angle: (T, k_qry), degrees, the angle of every query image; None for problems without.
    """

    x_spt: Inputs
    y_spt: Tensor
    x_qry: Inputs
    y_qry: Tensor
    angle: Tensor | None = None

    def to(self, device: torch.device) -> Tasks:
        """The same tasks on another device."""

        def move(x: Inputs) -> Inputs:
            return x.to(device) if isinstance(x, Tensor) else tuple(each.to(device) for each in x)

        return Tasks(
            move(self.x_spt),
            self.y_spt.to(device),
            move(self.x_qry),
            self.y_qry.to(device),
            self.angle,
        )


class TaskSource(Protocol):
    """Tasks of one problem."""

    def train(self) -> Tasks:
        """The tasks of the next outer step."""

    def test(self) -> Iterator[Tasks]:
        """The test tasks of a training run in chunks that fit into memory, the same at every call."""

    def evaluation(self, tasks: int) -> Iterator[Tasks]:
        """About that many test tasks, others than those of `test`, in chunks."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next call of `train` depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""


def make_source(config: MsrConfig) -> TaskSource:
    """The tasks that a configuration asks for.

    Raises:
        RunError: The data cannot be read, or has too few images for the tasks.
    """
    try:
        if config.problem == "omniglot":
            return CharacterTasks(config)
        if not config.rotated:
            return SyntheticTasks(config)
        return AngleTasks(config) if config.fresh else MixedTasks(config)
    except ValueError as error:
        raise RunError(f"problem {config.problem}: {error}") from error


def load_images(config: MsrConfig, split: str) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 28, 28) and labels (N,) of a problem with images.

    Raises:
        RunError: A file is damaged, or cannot be found, read or downloaded.
    """
    try:
        if config.problem == "rotated-digits":
            return load_digits(split)
        if config.problem == "omniglot":
            return load_omniglot(config.data_dir, _OMNIGLOT_SPLITS[split])[:2]
        return load_mnist(config.data_dir, split)
    except (ImportError, OSError, ValueError) as error:
        hint = "--data-dir or ROTFAST_DATA may name a folder that has the files"
        raise RunError(f"problem {config.problem}: {error} ({hint})") from error


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class _DrawnTasks:
    """Tasks drawn one by one from a generator; those of tests from a seed of their own, `at_once` of them."""

    at_once: int

    def __init__(self, config: MsrConfig) -> None:
        self.config = config
        self.generator = _generator(config.seed)

    def train(self) -> Tasks:
        return self._draw(self.config.tasks, "train", self.generator)

    def test(self) -> Iterator[Tasks]:
        return self._chunks(self.config.test_tasks, _generator(TEST_SEED))

    def evaluation(self, tasks: int) -> Iterator[Tasks]:
        return self._chunks(tasks, _generator(TEST_SEED + 1))

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])

    def _chunks(self, tasks: int, generator: torch.Generator) -> Iterator[Tasks]:
        for start in range(0, tasks, self.at_once):
            yield self._draw(min(self.at_once, tasks - start), "test", generator)

    def _draw(self, tasks: int, split: str, generator: torch.Generator) -> Tasks:
        raise NotImplementedError


class SyntheticTasks(_DrawnTasks):
    """Draws from a synthetic problem: fresh tasks, or the study's fixed ones."""

    def __init__(self, config: MsrConfig) -> None:
        super().__init__(config)
        self.problem = synthetic_problem(config.problem, seed=config.seed, finite=not config.fresh)
        values = (config.k_spt + config.k_qry) * math.prod(self.problem.output_shape)
        self.at_once = max(1, _VALUES_AT_ONCE // values)

    def _draw(self, tasks: int, split: str, generator: torch.Generator) -> Tasks:
        config = self.config
        return Tasks(*self.problem.sample(tasks, split, config.k_spt, config.k_qry, generator))


class AngleTasks:
    """A task is one angle: fresh images of the training split, or held-out images in tests."""

    def __init__(self, config: MsrConfig) -> None:
        self.config = config
        self.generator = _generator(config.seed)
        self.train_episodes = self._episodes(load_images(config, "train"), self.generator)
        self.test_images = load_images(config, "test")

    def train(self) -> Tasks:
        return self._tasks(self.train_episodes.sample(self.config.tasks))

    def test(self) -> Iterator[Tasks]:
        return self._held_out(self.config.test_tasks, _generator(TEST_SEED))

    def evaluation(self, tasks: int) -> Iterator[Tasks]:
        return self._held_out(tasks, _generator(TEST_SEED + 1))

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])

    def _episodes(self, images: tuple[Tensor, Tensor], generator: torch.Generator) -> AngleEpisodes:
        config = self.config
        return AngleEpisodes(*images, config.angles, config.k_spt, config.k_qry, generator)

    def _held_out(self, tasks: int, generator: torch.Generator) -> Iterator[Tasks]:
        """Whole rounds over the angles, so that all angles have the same weight."""
        episodes = self._episodes(self.test_images, generator)
        angles = len(self.config.angles)
        for _ in range(-(-tasks // angles)):
            yield self._tasks(episodes.sample())

    def _tasks(self, episode: Episode) -> Tasks:
        angle = episode.angle.unsqueeze(1).expand_as(episode.y_qry)
        if not self.config.routed:
            return Tasks(episode.x_spt, episode.y_spt, episode.x_qry, episode.y_qry, angle)
        circuit = episode.angle_index
        return Tasks((episode.x_spt, circuit), episode.y_spt, (episode.x_qry, circuit), episode.y_qry, angle)


class MixedTasks:
    """As in the study: tasks mix angles, and the same few return at every step."""

    def __init__(self, config: MsrConfig) -> None:
        self.config = config
        self.train_tasks = self._draw("train", config.tasks, config.seed)
        self.test_tasks = self._draw("test", config.test_tasks, TEST_SEED)

    def train(self) -> Tasks:
        return self.train_tasks

    def test(self) -> Iterator[Tasks]:
        yield self.test_tasks

    def evaluation(self, tasks: int) -> Iterator[Tasks]:
        """No image is in two tasks, so there are at most as many as the test split has images for."""
        yield self._draw("test", tasks, TEST_SEED + 1, at_most=True)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def _draw(self, split: str, tasks: int, seed: int, at_most: bool = False) -> Tasks:
        config, generator = self.config, _generator(seed)
        data = RotatedDataset(*load_images(config, split), angles=config.angles, generator=generator)
        size = config.k_spt + config.k_qry
        if at_most:
            tasks = min(tasks, len(data) // size)
        # A batch of whole tasks leaves no image out.
        batch_size = max(1, _BATCH_SIZE // size) * size
        loader = DataLoader(data, batch_size, shuffle=True, generator=generator)
        drawn = load_rmnist_task_data(loader, tasks, config.k_spt, config.k_qry)
        x_spt, y_spt, angle_spt, x_qry, y_qry, angle_qry = map(torch.stack, zip(*drawn, strict=True))
        if not config.routed:
            return Tasks(x_spt, y_spt, x_qry, y_qry, angle_qry)
        return Tasks(
            (x_spt, self._circuit(angle_spt)),
            y_spt,
            (x_qry, self._circuit(angle_qry)),
            y_qry,
            angle_qry,
        )

    def _circuit(self, angle: Tensor) -> Tensor:
        """Place of every angle in the list of angles."""
        angles = torch.tensor(self.config.angles, dtype=angle.dtype)
        return (angle.unsqueeze(-1) - angles).abs().argmin(-1)


class CharacterTasks(_DrawnTasks):
    """A task is a few characters; its query images are turned, mirrored and resized, its support images not.

    So who solves it has learned that these changes keep the character, without an example in the task. After
    the augmented few-shot experiment of Zhou, Knowles and Finn 2020 (arXiv 2007.02933, section 6). Tests are
    on alphabets that training never sees.
    """

    def __init__(self, config: MsrConfig) -> None:
        super().__init__(config)
        self.classes = {split: self._by_class(split) for split in ("train", "test")}
        self.at_once = max(1, _IMAGES_AT_ONCE // (config.ways * (config.k_spt + config.k_qry)))

    def _by_class(self, split: str) -> list[Tensor]:
        """Images (N, 1, 28, 28) of every class."""
        x, y = load_images(self.config, split)
        classes = [x[y == label].unsqueeze(1) for label in y.unique()]
        if len(classes) < self.config.ways:
            raise ValueError(f"ways must be at most the {len(classes)} classes, got {self.config.ways}")
        size, fewest = self.config.k_spt + self.config.k_qry, min(map(len, classes))
        if size > fewest:
            raise ValueError(f"k_spt + k_qry must be at most the {fewest} images of a class, got {size}")
        return classes

    def _draw(self, tasks: int, split: str, generator: torch.Generator) -> Tasks:
        config, classes = self.config, self.classes[split]
        size, k = config.k_spt + config.k_qry, config.k_spt
        drawn = []
        for _ in range(tasks):
            for place in torch.randperm(len(classes), generator=generator)[: config.ways].tolist():
                images = classes[place]
                drawn.append(images[torch.randperm(len(images), generator=generator)[:size]])
        x = torch.stack(drawn)  # (tasks · ways, size, 1, 28, 28)
        augment = RandomAffine(
            config.degrees,
            scale=config.scale,
            interpolation="bilinear",
            generator=generator,
            mean=0.0,
            std=1.0,
        )
        query = augment(x[:, k:].flatten(0, 1))
        if config.flip:
            mirrored = torch.rand(len(query), generator=generator) < 0.5
            query[mirrored] = query[mirrored].flip(-1)
        x_spt = rotfast.affine(x[:, :k].flatten(0, 1), mean=0.0, std=1.0).unflatten(0, (tasks, -1))
        x_qry = query.unflatten(0, (tasks, -1))
        label = torch.arange(config.ways)
        y_spt, y_qry = (label.repeat_interleave(each).expand(tasks, -1) for each in (k, config.k_qry))
        if config.model == "prototypes":
            return Tasks(x_spt, y_spt, (x_qry, x_spt, y_spt), y_qry)
        return Tasks(x_spt, y_spt, x_qry, y_qry)
