"""The synthetic problems of MSR (Zhou, Knowles, Finn 2020, arXiv 2007.02933), generated on the fly."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast.data._checks import check_positive
from rotfast.data.steering import (
    COEFFICIENTS,
    ORIENTATIONS,
    GroupAction,
    flip_action,
    rotation_action,
    steered_bank,
)

__all__ = ["PROBLEMS", "SyntheticProblem", "synthetic_problem"]

PROBLEMS = ("rank1", "rank2", "rank5", "rot8", "rot8-flip")
_INPUTS, _POSITIONS, _TAPS = 70, 68, 3
_FIELDS = 3


class SyntheticProblem(ABC):
    """A family of linear regression tasks that share a symmetry; made by `synthetic_problem`.

    Every task is a weight ``true_warp @ latent`` with a latent vector of its own, N(0, 1); inputs are N(0, 1)
    and targets have no noise.

    Attributes:
        name: one of PROBLEMS.
        seed: seed of the problem.
        finite: whether the tasks are the fixed ones of the study.
        num_tasks: number of fixed tasks (10,000; 2,000 for rot8-flip), the first 80 % for training.
        num_examples: examples of a fixed task, 20.
        input_shape: (1, 70) or (1, 32, 32).
        output_shape: (1, 68), (24, 30, 30) or (48, 30, 30).
        weight_shape: (68, 70), (24, 1, 3, 3) or (48, 1, 3, 3).
        latent_size: 3, 6, 15 or 18.
        group_action: for rot8 and rot8-flip "rotation" (by 45 degrees, counter-clockwise), for rot8-flip
            "flip" (left-right) too; empty for the 1-D problems.
    """

    num_tasks: int = 10_000
    num_examples: int = 20
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    latent_size: int
    group_action: Mapping[str, GroupAction]

    def __init__(self, name: str, seed: int, finite: bool) -> None:
        self.name = name
        self.seed = seed
        self.finite = finite
        # torch's CPU generator takes 32 bits of a seed: tasks count on from a scrambled start, so that they
        # never coincide within a problem and those of seeds 0, 1, 2 do not overlap.
        self._first_task_seed, self._constants_seed = np.random.SeedSequence(seed).generate_state(2).tolist()

    @abstractmethod
    def weights(self, latent: Tensor) -> Tensor:
        """Latent vectors (..., latent_size) to weights (..., *weight_shape)."""

    @abstractmethod
    def respond(self, x: Tensor, latent: Tensor) -> Tensor:
        """Targets (T, n, *output_shape) of inputs (T, n, *input_shape) and latents (T, latent_size)."""

    @property
    def true_warp(self) -> Tensor:
        """The sharing matrix (prod(weight_shape), latent_size).

        ``weights(v) == (true_warp @ v).view(weight_shape)``: the layout of ``warp`` in
        ShareLinearFull and ShareConv2dFull.
        """
        return self.weights(torch.eye(self.latent_size)).flatten(1).T

    def true_weights(self, task: Tensor) -> Tensor:
        """Weights (n, *weight_shape) of fixed tasks, given by their numbers (n,)."""
        return self.weights(torch.stack([self._latent(int(number))[0] for number in task]))

    def sample(
        self,
        num_tasks: int,
        split: str = "train",
        k_spt: int = 1,
        k_qry: int = 19,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw tasks with their examples.

        In the finite variant ``num_tasks`` different fixed tasks of the split are drawn, and the order of
        each one's 20 examples; task t and its examples come from (seed, t) and nothing is stored. In the
        infinite variant every task is new, and the two splits differ only by the generator that the caller
        passes.

        Args:
            num_tasks: number of tasks T.
            split: ``"train"`` or ``"test"``.
            k_spt: support examples per task.
            k_qry: query examples per task.
            generator: source of randomness, whose device the tensors are on; None is torch's global one. Its
                state is all that a resumed run needs to draw the same tasks.

        Returns:
            x_spt (T, k_spt, *input_shape), y_spt (T, k_spt, *output_shape), x_qry, y_qry; float32.

        Raises:
            ValueError: unknown split, a number below 1, in the finite variant more tasks than the split has
                or ``k_spt + k_qry`` above 20.

        Example:
            >>> problem = synthetic_problem("rank1", seed=0)
            >>> x_spt, y_spt, x_qry, y_qry = problem.sample(32)
            >>> x_spt.shape, y_qry.shape
            (torch.Size([32, 1, 1, 70]), torch.Size([32, 19, 1, 68]))
        """
        check_positive(num_tasks=num_tasks, k_spt=k_spt, k_qry=k_qry)
        if split not in ("train", "test"):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        generator = torch.default_generator if generator is None else generator
        if self.finite:
            latent, x = self._draw_fixed(num_tasks, split, k_spt + k_qry, generator)
        else:
            device = generator.device
            latent = torch.randn(num_tasks, self.latent_size, generator=generator, device=device)
            x = torch.randn(num_tasks, k_spt + k_qry, *self.input_shape, generator=generator, device=device)
        y = self.respond(x, latent)
        return x[:, :k_spt], y[:, :k_spt], x[:, k_spt:], y[:, k_spt:]

    def _draw_fixed(
        self, num_tasks: int, split: str, size: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        train = self.num_tasks * 8 // 10
        first, count = (0, train) if split == "train" else (train, self.num_tasks - train)
        if num_tasks > count:
            raise ValueError(f"num_tasks must be at most the {count} fixed {split} tasks, got {num_tasks}")
        if size > self.num_examples:
            raise ValueError(
                f"k_spt + k_qry must be at most the {self.num_examples} examples of a fixed task, got {size}"
            )
        device = generator.device
        task = first + torch.randperm(count, generator=generator, device=device)[:num_tasks]
        order = torch.rand(num_tasks, self.num_examples, generator=generator, device=device).argsort(1)
        latent = torch.empty(num_tasks, self.latent_size)
        x = torch.empty(num_tasks, size, *self.input_shape)
        for i, (number, examples) in enumerate(zip(task.tolist(), order[:, :size].cpu(), strict=True)):
            latent[i], stream = self._latent(number)
            torch.index_select(
                torch.randn(self.num_examples, *self.input_shape, generator=stream), 0, examples, out=x[i]
            )
        return latent.to(device), x.to(device)

    def _latent(self, task: int) -> tuple[Tensor, torch.Generator]:
        """Latent vector of a fixed task, and the generator that goes on to its inputs."""
        generator = torch.Generator().manual_seed((self._first_task_seed + task) % 2**32)
        return torch.randn(self.latent_size, generator=generator), generator


class _LowRankProblem(SyntheticProblem):
    """1-D: filter at position p = sum over j of connectivity[p, j] times basis filter j (3 taps)."""

    input_shape = (1, _INPUTS)
    output_shape = (1, _POSITIONS)
    weight_shape = (_POSITIONS, _INPUTS)
    group_action: Mapping[str, GroupAction] = {}

    def __init__(self, name: str, seed: int, finite: bool, rank: int) -> None:
        super().__init__(name, seed, finite)
        self.latent_size = rank * _TAPS
        generator = torch.Generator().manual_seed(self._constants_seed)
        self.connectivity = torch.randn(_POSITIONS, rank, generator=generator).softmax(1)

    def _filters(self, latent: Tensor) -> Tensor:
        return self.connectivity.to(latent) @ latent.reshape(*latent.shape[:-1], -1, _TAPS)

    def weights(self, latent: Tensor) -> Tensor:
        filters = self._filters(latent)
        dense = filters.new_zeros(*filters.shape[:-2], *self.weight_shape)
        for tap in range(_TAPS):
            dense.diagonal(tap, -2, -1)[..., :_POSITIONS] = filters[..., tap]
        return dense

    def respond(self, x: Tensor, latent: Tensor) -> Tensor:
        taps = self._filters(latent)[:, None, None].unbind(-1)
        y = taps[0] * x[..., :_POSITIONS]
        for tap in range(1, _TAPS):
            y.addcmul_(taps[tap], x[..., tap : tap + _POSITIONS])
        return y


class _SteeredProblem(SyntheticProblem):
    """2-D: three random 3x3 filters, each turned to 8 orientations (and mirrored)."""

    input_shape = (1, 32, 32)

    def __init__(self, name: str, seed: int, finite: bool, flips: bool) -> None:
        super().__init__(name, seed, finite)
        self._flips = flips
        channels = _FIELDS * ORIENTATIONS * (2 if flips else 1)
        self.output_shape = (channels, 30, 30)
        self.weight_shape = (channels, 1, 3, 3)
        self.latent_size = _FIELDS * COEFFICIENTS
        self.group_action = {"rotation": rotation_action(_FIELDS, flips)}
        if flips:
            self.num_tasks = 2_000
            self.group_action["flip"] = flip_action(_FIELDS)

    def weights(self, latent: Tensor) -> Tensor:
        bank = steered_bank(latent.reshape(*latent.shape[:-1], _FIELDS, COEFFICIENTS), self._flips)
        return bank.flatten(-4, -3).unsqueeze(-3)

    def respond(self, x: Tensor, latent: Tensor) -> Tensor:
        # One product per example: a grouped convolution would put the examples before the tasks, and bringing
        # its large output back into order costs more than the arithmetic.
        columns = F.unfold(x.flatten(0, 1), 3)
        weight = self.weights(latent).flatten(2).unsqueeze(1)
        return (weight @ columns.view(*x.shape[:2], *columns.shape[1:])).view(
            *x.shape[:2], *self.output_shape
        )


def synthetic_problem(name: str, seed: int, finite: bool = True) -> SyntheticProblem:
    """Make one of the five synthetic problems.

    - rank1, rank2, rank5: inputs (1, 70), outputs (1, 68). The filter at position p has 3 taps and is row p
      of ``softmax(N(0, 1)) (68, r) @ N(0, 1) (r, 3)``; the first factor is fixed for the problem, the second
      is new for every task; y[p] = sum over k of filter[p, k] x[p + k]. Rank 1 is an ordinary convolution.
    - rot8, rot8-flip: inputs (1, 32, 32), outputs a valid 3x3 convolution with 24 or 48 channels: 3 random
      filters, each in 8 orientations 45 degrees apart, and mirrored (see `rotfast.data.steered_bank`);
      channel = field * 8 + orientation, with flips field * 16 + mirrored * 8 + orientation. Output variance
      5/8 and 9/16.

    Args:
        name: one of PROBLEMS.
        seed: fixes everything that belongs to the problem; a non-negative integer.
        finite: True for the study's fixed tasks of 20 examples, False for an endless supply.

    Returns:
        SyntheticProblem.

    Raises:
        ValueError: unknown name or negative seed.

    Example:
        >>> problem = synthetic_problem("rot8", seed=0)
        >>> problem.true_weights(torch.tensor([0, 7])).shape, problem.true_warp.shape
        (torch.Size([2, 24, 1, 3, 3]), torch.Size([216, 18]))
    """
    if name not in PROBLEMS:
        raise ValueError(f"name must be one of {', '.join(PROBLEMS)}, got {name!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if name.startswith("rank"):
        return _LowRankProblem(name, seed, finite, rank=int(name.removeprefix("rank")))
    return _SteeredProblem(name, seed, finite, flips=name.endswith("flip"))
