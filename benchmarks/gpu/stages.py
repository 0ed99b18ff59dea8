"""What the stages run, each in processes of its own, and what is missing for them."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
SANITIZED = "tests/ops/test_kernels_on_cuda.py"  # every kernel once, on small shapes
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
_SANITIZER_ERRORS = "99"  # the exit status that tells its findings from a failed test
_REFUSED = "Device not supported"
_WORKERS = 8


@dataclass(frozen=True)
class Command:
    """A command line, with variables on top of the environment's."""

    arguments: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a stage runs, in order up to the first failure, and what it cannot do without."""

    commands: Callable[[Path, Sequence[str]], list[Command]]
    missing: Callable[[], str | None]
    optional: bool = False  # what is missing is reported, and the others go on


def no_device() -> str | None:
    """Why there is no GPU to work on, or None."""
    if torch.version.cuda is None:
        return f"a torch with CUDA (torch {torch.__version__} was built without)"
    if not torch.cuda.is_available():
        return f"a CUDA device (torch {torch.__version__} sees none)"
    return None


def no_nvcc() -> str | None:
    """Why the extension cannot be compiled, or None; where setup.py looks for the toolkit."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home is not None:
        nvcc = Path(home) / "bin" / "nvcc"
        return None if nvcc.exists() else f"nvcc (there is no {nvcc}; is CUDA_HOME right?)"
    if shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc"):
        return None
    return "nvcc (it is not on PATH, and CUDA_HOME is not set)"


def sanitizer() -> str | None:
    """Where compute-sanitizer is."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    return shutil.which("compute-sanitizer") or shutil.which(f"{home}/bin/compute-sanitizer")


def no_sanitizer() -> str | None:
    return None if sanitizer() else "compute-sanitizer (it is neither on PATH nor beside nvcc)"


def build(results: Path, options: Sequence[str]) -> list[Command]:
    """In place, with CUDA, without looking for anything in a network."""
    install = ("install", "--no-build-isolation", "--no-deps", "--editable", ".")
    return [
        Command(python("-m", "pip", *install), {"ROTFAST_CUDA": "1"}),
        Command(python("checks/cuda_kernels.py")),
    ]


def tests(results: Path, options: Sequence[str]) -> list[Command]:
    """Everything, also what only a GPU can run."""
    return [Command((*pytest(), *workers()))]


def sanitize(results: Path, options: Sequence[str]) -> list[Command]:
    """Every tool over a few tests; without torch's cache, so that every tensor has bounds of its own."""
    tool = sanitizer() or "compute-sanitizer"
    under = (tool, "--error-exitcode", _SANITIZER_ERRORS, "--print-limit", "20", "--tool")
    uncached = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    return [Command((*under, name, *pytest(), "-x", SANITIZED), uncached) for name in TOOLS]


def benchmarks(results: Path, options: Sequence[str]) -> list[Command]:
    """The rows of the ledger."""
    return [Command(python("-m", "benchmarks.gpu.measure", "--results", str(results), *options))]


STAGES = {
    "build": Plan(build, no_nvcc),
    "tests": Plan(tests, lambda: None),
    "sanitizer": Plan(sanitize, no_sanitizer, optional=True),
    "benchmarks": Plan(benchmarks, lambda: None),
}


def python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)


def pytest() -> tuple[str, ...]:
    """Quiet, with names of what failed; what needs a library that is not there is skipped."""
    return python(
        *("-m", "pytest", "-q", "-rf", "-p", "benchmarks.gpu.absent", "--doctest-ignore-import-errors")
    )


def workers() -> tuple[str, ...]:
    """Several processes where pytest-xdist is there: one alone needs longer than a stage may take."""
    if importlib.util.find_spec("xdist") is None:
        return ()
    return ("-n", str(max(1, min(_WORKERS, (os.cpu_count() or 1) // 2))))


def run(command: Command, limit: float, log: Path) -> tuple[int | None, list[str]]:
    """Run a command, show and log what it says.

    Returns:
        Its exit status, None where the time limit ended it, and the lines it printed.
    """
    process = subprocess.Popen(
        command.arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **command.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(limit, stop)
    timer.start()
    lines = []
    assert process.stdout is not None
    try:
        with log.open("a") as file:
            for line in process.stdout:
                lines.append(line.rstrip())
                print(line, end="", flush=True)
                file.write(line)
        status = process.wait()
    finally:
        timer.cancel()
    return None if stopped.is_set() else status, lines


def verdict(status: int | None, lines: Sequence[str]) -> tuple[str, str]:
    """The outcome of a command, and the line that says most about it."""
    said = [line for line in lines if line.strip()]
    counts = [line for line in said if re.search(r"\b\d+ (passed|failed|errors?|skipped)\b", line)]
    best = (counts or said or ["it printed nothing"])[-1].strip("= ")
    if status is None:
        return "stopped", f"by its time limit, after: {said[-1] if said else 'nothing'}"
    if status == 0:
        return "passed", best
    if any(_REFUSED in line for line in said):
        return "skipped", f"compute-sanitizer: {_REFUSED}"
    failed = [line for line in said if line.startswith(("FAILED", "ERROR"))]
    return "failed", "; ".join([f"exit status {status}", best, *failed[:20]])
