"""One meta step of the sharing study: inner step, query loss, second-order gradients."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import jax_circuits
from benchmarks.case import COMPILED, PLAIN, ROTFAST, Call, Case, on_two_threads, parametrize, scatter
from benchmarks.peers import HIGHER, JAX, installed
from benchmarks.plain import (
    PlainDedicatedCircuits,
    PlainShareConv2d,
    PlainShareLinearFull,
    plain_single_circuit,
)
from benchmarks.plain_meta import (
    Episode,
    Loss,
    adapted,
    higher_step,
    inner_sgd,
    loop_step,
    vmap_loss,
    vmap_step,
)
from rotfast.meta import MetaLearner
from rotfast.models import DedicatedCircuits, SingleCircuit, synthetic_model

SUPPORT, QUERY = 1, 19
# Where torch.compile of the vmap is timed too: it takes minutes on the networks of images.
COMPILED_TOO = ("rank2", "rank5")
# The plain way is the loop over tasks; vmap over plain layers is what a practised user writes.
NAMES = (ROTFAST, PLAIN, "vmap")


@dataclass(frozen=True)
class Problem:
    """A net of rotfast's layers, the same of plain ones and in JAX, and the episodes they learn from."""

    net: Callable[[], nn.Module]
    plain_net: Callable[[], nn.Module]
    jax_net: jax_circuits.Net
    loss_fn: Loss
    inner_lr: float
    tasks: int
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...] | None = None  # None: one of ten classes

    def episode(self, dtype: torch.dtype) -> Episode:
        x_spt, x_qry = (torch.randn(self.tasks, n, *self.x_shape, dtype=dtype) for n in (SUPPORT, QUERY))
        if self.y_shape is None:
            y_spt, y_qry = (torch.randint(10, (self.tasks, n)) for n in (SUPPORT, QUERY))
        else:
            y_spt, y_qry = (torch.randn(self.tasks, n, *self.y_shape, dtype=dtype) for n in (SUPPORT, QUERY))
        return x_spt, y_spt, x_qry, y_qry


def rank(name: str, latent_size: int) -> Problem:
    def plain_net() -> nn.Module:
        return nn.Sequential(PlainShareLinearFull(70, 68, bias=False, latent_size=latent_size))

    net = partial(synthetic_model, name, "share")
    return Problem(net, plain_net, jax_circuits.rank_net, F.mse_loss, 0.1, 32, (1, 70), (1, 68))


def digits(
    net: Callable[[], nn.Module],
    plain_net: Callable[[], nn.Module],
    jax_net: Callable[..., jax_circuits.Array],
) -> Problem:
    jax_net = partial(jax_net, jax_circuits.conv_of_patches)
    return Problem(net, plain_net, jax_net, F.cross_entropy, 0.01, 5, (1, 28, 28))


PROBLEMS = {
    "rank1": rank("rank1", 3),
    "rank2": rank("rank2", 6),
    "rank5": rank("rank5", 30),
    "rot8": Problem(
        partial(synthetic_model, "rot8", "share"),
        lambda: nn.Sequential(PlainShareConv2d(1, 24, 3, bias=False)),
        jax_circuits.rot8_net,
        F.mse_loss,
        0.1,
        32,
        (1, 32, 32),
        (24, 30, 30),
    ),
    "Rotated MNIST, single circuit": digits(SingleCircuit, plain_single_circuit, jax_circuits.single_circuit),
    "Rotated MNIST, dedicated circuits": digits(
        DedicatedCircuits, PlainDedicatedCircuits, jax_circuits.dedicated_circuits
    ),
}
SMOKE = ["rank1", "Rotated MNIST, single circuit"]
ON_TWO_THREADS = ("rot8", "Rotated MNIST, dedicated circuits")
JAX_LOSSES = {F.mse_loss: jax_circuits.squared_error, F.cross_entropy: jax_circuits.cross_entropy}


def rotfast_step(learner: MetaLearner, episode: Episode) -> None:
    learner.backward(*episode)


def build(problem: Problem, peers: Sequence[str], dtype: torch.dtype) -> dict[str, Call]:
    net = problem.net().to(dtype)
    scatter(net)
    plain_net = problem.plain_net().to(dtype)
    plain_net.load_state_dict(net.state_dict())
    learner = MetaLearner(net, problem.loss_fn, inner_lr=problem.inner_lr)
    rates = {
        name: torch.tensor(problem.inner_lr, dtype=dtype, requires_grad=True) for name in adapted(plain_net)
    }
    episode = problem.episode(dtype)

    plainly = plain_net, problem.loss_fn, rates
    steps = {
        ROTFAST: (partial(rotfast_step, learner, episode), net, learner.inner_lrs),
        PLAIN: (partial(loop_step, *plainly, episode), plain_net, rates),
        "vmap": (partial(vmap_step, *plainly, episode), plain_net, rates),
    }
    if COMPILED[1] in peers:
        torch.compiler.reset()
        compiled = torch.compile(vmap_loss, dynamic=False)
        steps[COMPILED[1]] = (lambda: compiled(*plainly, episode).backward()), plain_net, rates
    if HIGHER in peers:
        steps[HIGHER] = partial(higher_step, *plainly, inner_sgd(plain_net), episode), plain_net, rates
    calls: dict[str, Call] = {}
    for name, (step, module, rates_of) in steps.items():
        parameters = dict(module.named_parameters())
        leaves = [parameters[key] for key in sorted(parameters)]
        leaves += [rates_of[key] for key in sorted(rates_of)]
        calls[name] = partial(fresh_gradients, step, leaves)
    if JAX in peers:
        loss_fn = JAX_LOSSES[problem.loss_fn]
        calls[JAX] = jax_circuits.meta_step(problem.jax_net, loss_fn, plain_net, rates, episode)
    return calls


def fresh_gradients(step: Callable[[], None], leaves: Sequence[Tensor]) -> list[Tensor]:
    for leaf in leaves:
        leaf.grad = None
    step()
    return [leaf.grad for leaf in leaves]


def cases(peers: Sequence[str] = ()) -> list[Case]:
    def peers_of(name: str) -> tuple[str, ...]:
        return (*COMPILED[1:], *peers) if peers and name in COMPILED_TOO else tuple(peers)

    return [
        Case(
            suite="Meta step",
            shape=f"{name}, {problem.tasks} tasks, {SUPPORT}/{QUERY}",
            names=(*NAMES, *peers_of(name)),
            build=partial(build, problem, peers_of(name)),
            smoke=name in SMOKE,
        )
        for name, problem in PROBLEMS.items()
    ]


TWO_THREADS = [
    on_two_threads(case, "Meta step, two threads")
    for case in cases()
    if case.shape.startswith(ON_TWO_THREADS)
]


@parametrize(cases(installed(HIGHER, JAX)))
def test_meta_step(case, contestant, compare):
    compare(case, contestant)


@pytest.mark.skipif(os.cpu_count() == 1, reason="there is one core")
@parametrize(
    on_two_threads(case, "Meta step, two threads")
    for case in cases()
    if case.shape.startswith(ON_TWO_THREADS)
)
def test_two_threads(case, contestant, compare):
    compare(case, contestant)
