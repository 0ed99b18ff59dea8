"""Time and peak memory of the meta step by the number of tasks, and of a large batch of images.

``python -m benchmarks.profiles --ledger MACHINE`` measures each in a process of its own and writes
benchmarks/results/MACHINE.json.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from benchmarks import test_meta_step, test_single_circuit
from benchmarks.case import Call
from benchmarks.interleaved import spread
from benchmarks.ledger import RESULTS, Ledger, Profile, this_machine
from benchmarks.memory import in_a_new_process, report
from benchmarks.plain_meta import Episode
from benchmarks.report import profile_table, text_table
from rotfast.meta import MetaLearner

TASKS = tuple(4**k for k in range(6))
CHUNKS = {"rank1": 32, "Rotated MNIST, single circuit": 8}
BATCH = max(test_single_circuit.BATCHES)


@dataclass(frozen=True)
class Row:
    """A computation, the ways to do it, and what becomes of freed memory."""

    suite: str
    size: int
    shape: str
    allocator: str
    ways: tuple[str, ...]
    build: Callable[[], Mapping[str, Call]]

    def __str__(self) -> str:
        return f"{self.suite}: {self.shape}"

    def measured(self, way: str) -> Profile:
        seconds, peak = in_a_new_process("benchmarks.profiles", "--child", str(self), way)
        return Profile(self.suite, self.size, self.shape, way, spread(seconds), peak)


def ways(name: str) -> dict[str, int | None]:
    """How many tasks there are at once in the meta step of a problem."""
    return {"all at once": None, f"chunks of {CHUNKS[name]}": CHUNKS[name]}


def build_meta_step(name: str, tasks: int) -> dict[str, Call]:
    problem = replace(test_meta_step.PROBLEMS[name], tasks=tasks)
    episode = problem.episode(torch.float32)
    net = problem.net()
    calls: dict[str, Call] = {}
    for way, chunk in ways(name).items():
        learner = MetaLearner(net, problem.loss_fn, inner_lr=problem.inner_lr, task_chunk=chunk)
        calls[way] = partial(meta_step, learner, episode)
    return calls


def meta_step(learner: MetaLearner, episode: Episode) -> list[Tensor]:
    test_meta_step.rotfast_step(learner, episode)
    gradients = [parameter.grad for parameter in learner.parameters()]
    learner.zero_grad()
    return [gradient for gradient in gradients if gradient is not None]


def build_training_step() -> Mapping[str, Call]:
    return test_single_circuit.build(BATCH, torch.float32)


def rows() -> list[Row]:
    found = [
        Row(
            f"Meta step by the number of tasks: {name}",
            tasks,
            f"{tasks} tasks" if tasks > 1 else "1 task",
            "keep",
            tuple(ways(name)),
            partial(build_meta_step, name, tasks),
        )
        for name in CHUNKS
        for tasks in TASKS
    ]
    names = test_single_circuit.CASES[0].names
    found += [
        Row(
            "Single circuit, training step, memory",
            BATCH,
            f"N={BATCH}, allocator {allocator}",
            allocator,
            names,
            build_training_step,
        )
        for allocator in ("default", "keep")
    ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.profiles", description=__doc__)
    parser.add_argument("--ledger", metavar="MACHINE", help="write to benchmarks/results/MACHINE.json")
    parser.add_argument("--only", type=re.compile, help="rows whose suite and shape match this")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        name, way = given.child
        row = next(row for row in rows() if str(row) == name)
        torch.manual_seed(0)
        report(row.build()[way], row.allocator)
        return
    profiles = []
    for row in rows():
        if given.only is None or given.only.search(str(row)):
            profiles += [row.measured(way) for way in row.ways]
            print(row.suite, *text_table(profile_table(profiles[-len(row.ways) :])), sep="\n", flush=True)
    if given.ledger:
        machine = this_machine("time.perf_counter", "keep, where a row does not say otherwise")
        Ledger(machine, profiles=profiles).write(RESULTS / f"{given.ledger}.json")


if __name__ == "__main__":
    main()
