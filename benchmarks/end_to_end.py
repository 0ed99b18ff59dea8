"""Outer steps of rotated digits, single circuit, end to end: ``python -m benchmarks.end_to_end``.

``rotfast train msr`` as a whole, with start, data, logging, tests and checkpoints, against the study's way: a
loop over tasks by higher on plain layers, and Adam, neither logging nor testing. Of that only some steps are
timed, half of them before the command and half after it, and scaled up. Both have one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, replace
from pathlib import Path

import torch
from torch.nn import functional as F

import rotfast
from benchmarks.interleaved import Spread, spread
from benchmarks.ledger import RESULTS, Ledger, Profile, this_machine
from benchmarks.plain import plain_single_circuit
from benchmarks.plain_meta import adapted, higher_step, inner_sgd
from benchmarks.report import profile_table, text_table
from rotfast.recipes.msr.config import MsrConfig, preset_config
from rotfast.recipes.msr.tasks import make_source


class Original:
    """Outer steps of the study's own way."""

    def __init__(self, config: MsrConfig) -> None:
        torch.manual_seed(config.seed)
        self.source = make_source(config)
        self.net = plain_single_circuit()
        self.rates = {name: torch.tensor(config.inner_lr, requires_grad=True) for name in adapted(self.net)}
        self.inner = inner_sgd(self.net)
        self.adam = torch.optim.Adam([*self.net.parameters(), *self.rates.values()], lr=config.outer_lr)

    def step(self) -> None:
        tasks = self.source.train()
        self.adam.zero_grad()
        episode = tasks.x_spt, tasks.y_spt, tasks.x_qry, tasks.y_qry
        higher_step(self.net, F.cross_entropy, self.rates, self.inner, episode)
        self.adam.step()

    def seconds(self, steps: int) -> list[float]:
        """Of each of so many steps, after one that is not counted."""
        self.step()
        found = []
        for _ in range(steps):
            start = time.perf_counter()
            self.step()
            found.append(time.perf_counter() - start)
        return found


def command(config: MsrConfig, run: Path) -> list[str]:
    """What is measured of rotfast."""
    settings = {
        "problem": config.problem,
        "preset": config.preset,
        "model": config.model,
        "steps": config.steps,
        "run": run,
    }
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    code = "import sys; from rotfast.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, "train", "msr", *options]


def measure(config: MsrConfig, timed: int) -> list[Profile]:
    torch.set_num_threads(1)
    rotfast.keep_freed_memory()  # as rotfast train does
    original = Original(config)
    seconds = original.seconds(timed // 2)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            command(config, Path(folder) / "run"), env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True
        )
        whole = time.perf_counter() - start
        loop = json.loads((Path(folder) / "run" / "summary.json").read_text())["seconds"]
    seconds += original.seconds(timed - timed // 2)
    scaled = Spread(*(config.steps * value for value in astuple(spread(seconds))))
    suite = f"{config.problem}, {config.model} circuit, end to end"
    return [
        Profile(suite, config.steps, f"{config.steps} outer steps", way, spent)
        for way, spent in (
            ("rotfast train msr", spread([whole])),
            ("its loop alone", spread([loop])),
            (f"higher, scaled up from {timed} steps", scaled),
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.end_to_end", description=__doc__)
    parser.add_argument("--problem", choices=("rotated-mnist", "rotated-digits"), default="rotated-mnist")
    parser.add_argument("--steps", type=int, default=1000, help="outer steps of rotfast train msr")
    parser.add_argument("--timed", type=int, default=100, help="steps of the other that are timed")
    parser.add_argument("--ledger", metavar="MACHINE", help="write to benchmarks/results/MACHINE.json")
    given = parser.parse_args()
    config = replace(preset_config(given.problem, "as-in-deck"), steps=given.steps)
    profiles = measure(config, given.timed)
    print("\n".join(text_table(profile_table(profiles))))
    if given.ledger:
        machine = this_machine("time.perf_counter", "keep")
        Ledger(machine, profiles=profiles).write(RESULTS / f"{given.ledger}.json")


if __name__ == "__main__":
    main()
