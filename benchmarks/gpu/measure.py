"""The stage "benchmarks": copy bandwidth first, then row after row, each written when it is measured."""

import argparse
import re
import sys
import traceback
from pathlib import Path

import torch

from benchmarks.gpu.cases import Row, rows
from benchmarks.gpu.record import Record, file_name, this_gpu
from benchmarks.gpu.timing import by_events, copy_bandwidth
from benchmarks.interleaved import Stopwatch, race
from benchmarks.ledger import Comparison
from benchmarks.report import by_suite, file_stem, tables, text_table


def measure(row: Row, device: str, stopwatch: Stopwatch, seconds: float, min_rounds: int) -> Comparison:
    """Check that the contestants agree, then time them."""
    set_tf32(row.tf32)
    errors = row.case.check(device=device)
    timings = race(
        row.case.calls(torch.float32, device=device),
        seconds=seconds,
        min_rounds=min_rounds,
        stopwatch=stopwatch,
    )
    return Comparison.of(row.case, timings, errors)


def set_tf32(allowed: bool) -> None:
    """For products and convolutions alike: torch's own default allows it in convolutions only."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.measure", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the ledger and the plots")
    parser.add_argument("--only", type=re.compile, help="rows whose suite and shape match this")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each contestant of a row")
    return parser.parse_args()


def main() -> int:
    """Measure the rows; 1 where one failed, which the others survive."""
    given = arguments()
    gpu = file_name(torch.cuda.get_device_name())
    record = Record(given.results / f"{gpu}.json")
    bandwidth = copy_bandwidth()
    print(f"copy bandwidth {bandwidth / 1e9:.0f} GB/s", flush=True)
    record.set_machine(this_gpu(bandwidth))
    chosen = [row for row in rows() if given.only is None or given.only.search(str(row.case))]
    failed = 0
    for row in chosen:
        try:
            comparison = measure(row, "cuda", by_events, given.seconds, min_rounds=5)
        except Exception:  # one row that cannot be measured must not cost the others
            failed += 1
            print(f"{row.case}: failed\n{traceback.format_exc()}", flush=True)
            continue
        finally:
            torch.cuda.empty_cache()
        record.add(comparison)
        print(comparison.suite, flush=True)
        for table in tables([comparison], bandwidth):
            print("\n".join(text_table(table)), flush=True)
    draw(record, given.results, gpu)
    print(f"{len(chosen) - failed} of {len(chosen)} rows measured, {failed} failed")
    return 1 if failed else 0


def draw(record: Record, folder: Path, gpu: str) -> None:
    """A plot for each suite, beside the ledger."""
    from benchmarks.plots import speeds  # here, for the measurement itself needs no matplotlib

    for suite, comparisons in by_suite(record.ledger.comparisons).items():
        speeds(suite, comparisons).savefig(folder / f"{gpu}-{file_stem(suite)}.png")


if __name__ == "__main__":
    sys.exit(main())
