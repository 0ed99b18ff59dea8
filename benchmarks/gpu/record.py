"""benchmarks/results/<gpu>.json while it grows: every stage and row is written as soon as it is known."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.ledger import Comparison, Ledger, Stage, this_machine
from benchmarks.report import COPY_BANDWIDTH


@dataclass
class Record:
    """A ledger and the file that holds it; what an earlier run left there stays until it is measured anew."""

    path: Path

    def __post_init__(self) -> None:
        self.ledger = Ledger.read(self.path) if self.path.exists() else Ledger({})

    def set_machine(self, facts: dict[str, str | int | float]) -> None:
        self._write(Ledger(facts, self.ledger.comparisons, self.ledger.stages))

    def set_stage(self, name: str, stage: Stage) -> None:
        stages = {**self.ledger.stages, name: stage}
        self._write(Ledger(self.ledger.machine, self.ledger.comparisons, stages))

    def add(self, comparison: Comparison) -> None:
        """In the place of the same row of an earlier run, or at the end."""
        rows = {(row.suite, row.shape): row for row in self.ledger.comparisons}
        rows[comparison.suite, comparison.shape] = comparison
        self._write(Ledger(self.ledger.machine, list(rows.values()), self.ledger.stages))

    def _write(self, ledger: Ledger) -> None:
        self.ledger = ledger
        ledger.write(self.path)


def file_name(device: str) -> str:
    """A device's name as one of a file.

    Example:
        >>> file_name("NVIDIA H100 80GB HBM3")
        'nvidia-h100-80gb-hbm3'
    """
    return "-".join(re.findall("[a-z0-9]+", device.lower()))


def this_gpu(copy_bandwidth: float) -> dict[str, str | int | float]:
    """The facts that a reader needs to judge the numbers; the bandwidth in bytes a second."""
    properties = torch.cuda.get_device_properties()
    host = this_machine("CUDA events", "torch's")
    return {
        "gpu": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory": properties.total_memory,
        COPY_BANDWIDTH: copy_bandwidth,
        "driver": _driver(),
        "CUDA": str(torch.version.cuda),
        **{key: host[key] for key in ("cpu", "torch", "rotfast", "commit", "kernels", "clock", "date")},
    }


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    if shutil.which(query[0]) is None:
        return "unknown"
    answer = subprocess.run(query, capture_output=True, text=True)
    return answer.stdout.split("\n")[0].strip() or "unknown"
