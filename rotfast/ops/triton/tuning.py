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


def candidates(rows: int, columns: int, depth: int, tensor_cores: bool) -> list[Tiles]:
    """Tiles for a matrix product of (rows, depth) by (depth, columns), the default first.

    Products without tensor cores need more registers.
    """

    def fitted(size: int, largest: int) -> int:
        return min(largest, max(16, triton.next_power_of_2(size)))

    R, C = fitted(rows, 64), fitted(columns, 64)
    if R * C == 64 * 64 and not tensor_cores:
        R = 32
    D = 32 if tensor_cores else 16
    warps = 4 if R * C > 256 else 2
    tiles = (
        Tiles(R, C, fitted(depth, D), warps, 3),
        Tiles(R, C, fitted(depth, 2 * D), warps, 2),
        Tiles(max(16, R // 2), C, fitted(depth, D), warps, 4),
        Tiles(R, max(16, C // 2), fitted(depth, D), warps, 4),
    )
    return list(dict.fromkeys(tiles))


def run(key: Hashable, tiles: Sequence[Tiles], launch: Callable[[Tiles], Tensor]) -> Tensor:
    """``launch`` with the tiles chosen for the key."""
    if enabled and key not in _chosen and not torch.cuda.is_current_stream_capturing():
        times = [triton.testing.do_bench(lambda: launch(t), warmup=5, rep=20) for t in tiles]  # noqa: B023
        _chosen[key] = tiles[times.index(min(times))]
    return launch(_chosen.get(key, tiles[0]))
