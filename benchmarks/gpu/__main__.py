"""One entry for a machine with a GPU and no network.

It builds rotfast with CUDA, runs all tests, compute-sanitizer over a few, and the benchmarks of the device,
and writes what became of each to <gpu>.json. Stages can be run one by one: each is to fit into ten minutes,
and the file keeps what earlier ones left.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.record import Record, file_name
from benchmarks.gpu.stages import ROOT, STAGES, no_device, run, verdict
from benchmarks.ledger import RESULTS, Stage, commit

MISSING = 2  # the exit status where nothing was begun
LOGS = ROOT / "build" / "gpu"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=list(STAGES),
        default=list(STAGES),
        metavar="STAGE",
        help=f"what to run, of {', '.join(STAGES)} (all)",
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of <gpu>.json and the plots (%(default)s)"
    )
    parser.add_argument("--limit", type=float, default=570.0, help="seconds for a stage (%(default)s)")
    parser.add_argument("--only", metavar="REGEX", help="benchmarks of which suites and shapes (all)")
    parser.add_argument("--seconds", type=float, help="time for each contestant of a benchmark")
    return parser.parse_args(given)


def missing(stages: Sequence[str]) -> str | None:
    """What the machine lacks to begin with, in words, or None."""
    needs = [no_device(), *(STAGES[name].missing() for name in stages if not STAGES[name].optional)]
    return next((need for need in needs if need is not None), None)


def run_stage(name: str, results: Path, options: Sequence[str], limit: float) -> Stage:
    """All commands of a stage, up to the first that does not succeed."""
    start = time.monotonic()

    def stage(outcome: str, detail: str) -> Stage:
        return Stage(outcome, round(time.monotonic() - start, 1), detail, commit())

    plan = STAGES[name]
    if (reason := plan.missing()) is not None:
        return stage("skipped", f"this machine lacks {reason}")
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    log.unlink(missing_ok=True)
    details = []
    for command in plan.commands(results, options):
        left = max(0.0, limit - (time.monotonic() - start))
        outcome, detail = verdict(*run(command, left, log))
        if outcome != "passed":
            return stage(outcome, detail)
        details.append(detail)
    return stage("passed", "; ".join(details))


def main(given: Sequence[str] | None = None) -> int:
    """Run the stages; 0 where none failed, 1 where one did, 2 where something is missing."""
    asked = arguments(given)
    stages = [name for name in STAGES if name in asked.stages]
    if (need := missing(stages)) is not None:
        print(f"benchmarks.gpu: nothing was run, this machine lacks {need}", file=sys.stderr)
        return MISSING
    results = asked.results.resolve()
    record = Record(results / f"{file_name(torch.cuda.get_device_name())}.json")
    options = ["--only", asked.only] if asked.only else []
    options += ["--seconds", str(asked.seconds)] if asked.seconds else []
    bad = []
    for name in stages:
        print(f"\n== {name}", flush=True)
        stage = run_stage(name, results, options, asked.limit)
        record = Record(record.path)  # the benchmarks wrote to it
        record.set_stage(name, stage)
        print(f"== {name}: {stage.outcome} after {stage.seconds:.0f} s, {stage.detail}", flush=True)
        if stage.outcome in ("failed", "stopped"):
            bad.append(name)
            if name == "build":
                break  # the rest would run on what was there before
    print(f"\nwritten: {record.path}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
