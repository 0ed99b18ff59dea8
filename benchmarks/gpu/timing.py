"""Seconds on a GPU, by events of its stream, and what its memory can do at best."""

import statistics
from collections.abc import Callable

import torch

_COPIES = 20


def by_events(call: Callable[[], object], iterations: int) -> float:
    """Seconds a call takes, from the first of the calls to the end of the last one's kernels."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(iterations):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / iterations


def copy_bandwidth() -> float:
    """Bytes read and written in a second: the median of copies of 2 GiB, or of an eighth of the memory."""
    total = torch.cuda.get_device_properties().total_memory
    size = min(2 << 30, total // 8)
    source = torch.randint(256, (size,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = statistics.median(by_events(lambda: target.copy_(source), 1) for _ in range(_COPIES))
    return 2 * size / seconds
