"""Time and peak memory of a call, in a process of its own where nothing else has used memory before."""

import ctypes
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

import rotfast
from benchmarks.case import Call

_CALLS, _SECONDS = 3, 0.5  # at least, to time
_ROOT = Path(__file__).parent.parent
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def in_a_new_process(module: str, *arguments: str) -> tuple[list[float], int]:
    """What ``report`` prints in ``python -m module arguments``: seconds of calls, and bytes."""
    command = [sys.executable, "-m", module, *arguments]
    answer = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    seconds, peak = json.loads(answer.stdout.splitlines()[-1])
    return seconds, peak


def report(call: Call, allocator: str) -> None:
    """Print seconds of calls after a first, and the peak of one more above the memory held before it."""
    torch.set_num_threads(1)
    if allocator == "keep":
        rotfast.keep_freed_memory()
    call()
    seconds: list[float] = []
    while len(seconds) < _CALLS or sum(seconds) < _SECONDS:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    print(json.dumps([seconds, peak(call)]))


def peak(call: Call) -> int:
    """Bytes of the resident set above those before the call, what was free having gone back to the system."""
    ctypes.CDLL(None).malloc_trim(0)
    _RESET.write_text("5")  # the highest resident set is from now on the present one
    before = _resident("VmRSS")
    call()
    return max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return 1024 * int(found[1])
