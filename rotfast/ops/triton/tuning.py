"""Tile sizes: a fixed choice for every shape, or the quickest of a few, measured on the device.

``ROTFAST_AUTOTUNE=1``, read when the first kernel runs, asks for the measurement: once for each shape, number
format and device in a process, never while a CUDA graph is captured. Sums then depend on which tiles won.
"""

import os
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
import triton
from torch import Tensor

enabled = os.environ.get("ROTFAST_AUTOTUNE") == "1"
_chosen: dict[Hashable, "Tiles"] = {}


class Tiles(NamedTuple):
    """A program's rows and columns of the result, the products it sums at once, its warps and stages."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


def candidates(rows: int, columns: int, tensor_cores: bool) -> list[Tiles]:
    """Tiles for a matrix product with a result of this size, the default first.

    Products without tensor cores need more registers.
    """
    R, C = (min(64, max(16, triton.next_power_of_2(n))) for n in (rows, columns))
    if R * C == 64 * 64 and not tensor_cores:
        R = 32
    depth = 32 if tensor_cores else 16
    warps = 4 if R * C > 512 else 2
    return [
        Tiles(R, C, depth, warps, 3),
        Tiles(R, C, 2 * depth, warps, 2),
        Tiles(max(16, R // 2), C, depth, warps, 4),
        Tiles(R, max(16, C // 2), depth, warps, 4),
    ]


def run(key: Hashable, tiles: Sequence[Tiles], launch: Callable[[Tiles], Tensor]) -> Tensor:
    """``launch`` with the tiles chosen for the key."""
    if enabled and key not in _chosen and not torch.cuda.is_current_stream_capturing():
        times = [triton.testing.do_bench(lambda: launch(t), warmup=5, rep=20) for t in tiles]  # noqa: B023
        _chosen[key] = tiles[times.index(min(times))]
    return launch(_chosen.get(key, tiles[0]))
