"""What is kept of a run: medians and spreads of each comparison, and the machine they were taken on."""

import dataclasses
import datetime
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

import rotfast
from benchmarks import peers
from benchmarks.case import ROTFAST, Case
from benchmarks.interleaved import Ratio, Spread, Timing, speed_up, spread
from benchmarks.work import Work
from rotfast import backend

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Comparison:
    """One row: seconds per call of each contestant, and how rotfast compares with each of the others.

    Attributes:
        errors: the largest difference of a contestant from plain in float64, relative to the largest value.
        work: the least that has to be done, where the case says it.
    """

    suite: str
    shape: str
    rounds: int
    seconds: Mapping[str, Spread]
    ratios: Mapping[str, Ratio]
    errors: Mapping[str, float]
    work: Work | None = None

    @classmethod
    def of(cls, case: Case, timings: Mapping[str, Timing], errors: Mapping[str, float]) -> "Comparison":
        own = timings[ROTFAST]
        return cls(
            case.suite,
            case.shape,
            len(own.seconds),
            {name: spread(timing.seconds) for name, timing in timings.items()},
            {name: speed_up(own, timing) for name, timing in timings.items() if name != ROTFAST},
            errors,
            None if case.work is None else case.work(),
        )


@dataclass(frozen=True)
class Profile:
    """Time of a call, and what it takes of memory, in a process of its own.

    Attributes:
        size: how many images, tasks or steps there are.
        shape: the same in words, with what else was chosen.
        way: who computes it, or how.
        peak: bytes of the resident set above those before the call; None where nobody asks.
    """

    suite: str
    size: int
    shape: str
    way: str
    seconds: Spread
    peak: int | None = None


@dataclass(frozen=True)
class Stage:
    """What became of a stage of a run on a GPU.

    Attributes:
        outcome: "passed", "failed", "skipped" or "stopped", by its time limit.
        detail: the line that says it best: counts of tests, what is missing, the last words of a failure.
        commit: of the sources it ran on.
    """

    outcome: str
    seconds: float
    detail: str
    commit: str


@dataclass(frozen=True)
class Ledger:
    """What one run on one machine measured, and on a GPU the stages that it went through."""

    machine: Mapping[str, str | int | float]
    comparisons: Sequence[Comparison] = ()
    stages: Mapping[str, Stage] = field(default_factory=dict)
    profiles: Sequence[Profile] = ()

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        content = json.loads(path.read_text())
        comparisons = [
            Comparison(
                row["suite"],
                row["shape"],
                row["rounds"],
                {name: Spread(**values) for name, values in row["seconds"].items()},
                {name: Ratio(**values) for name, values in row["ratios"].items()},
                row.get("errors", {}),
                Work(**row["work"]) if row.get("work") else None,
            )
            for row in content["comparisons"]
        ]
        stages = {name: Stage(**stage) for name, stage in content.get("stages", {}).items()}
        profiles = [
            Profile(**{**row, "seconds": Spread(**row["seconds"])}) for row in content.get("profiles", ())
        ]
        return cls(content["machine"], comparisons, stages, profiles)


def this_machine(clock: str, allocator: str) -> dict[str, str | int]:
    """The facts that a reader needs to judge the numbers."""
    return {
        "cpu": _cpu(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rotfast": rotfast.__version__,
        "commit": commit(),
        "peers": peers.versions() or "none",
        "kernels": backend.why_not_compiled() or "compiled",
        "clock": clock,
        "allocator": allocator,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _cpu() -> str:
    """The processor's name; family and model tell processors apart that call themselves the same."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in facts:
        return platform.machine()
    return f"{facts['model name']} (family {facts.get('cpu family')}, model {facts.get('model')})"


def commit() -> str:
    """What is checked out here."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
