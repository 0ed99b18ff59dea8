"""Tile sizes: a fixed choice for every shape, or the quickest of a few, measured on the device.

``ROTFAST_AUTOTUNE=1``, read when the first kernel runs, asks for the measurement: once for each kernel, range
of sizes, number format and kind of device, never while a CUDA graph is captured. Winners are kept in
``rotfast-tiles.json`` in Triton's cache folder for later processes. Sums then depend on which tiles won.
"""

import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from rotfast import backend

enabled = os.environ.get("ROTFAST_AUTOTUNE") == "1"


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


def key(kernel: str, sizes: Iterable[int], like: Tensor, *rest: object) -> str:
    """What a choice holds for: sizes up to the next power of 2, as tiles are fitted to them."""
    ranges = (str(triton.next_power_of_2(size) if size > 0 else size) for size in sizes)
    words = (
        kernel,
        "x".join(ranges),
        like.dtype,
        *rest,
        _device(like.device),
        f"Triton {triton.__version__}",
    )
    return ", ".join(map(str, words))


@functools.cache
def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def run(describe: Callable[[], str], tiles: Sequence[Tiles], launch: Callable[[Tiles], Tensor]) -> Tensor:
    """``launch`` with the tiles chosen for the key that ``describe`` makes; it is asked only if need be."""
    if not enabled:
        return launch(tiles[0])
    key, known = describe(), _chosen()
    best = known.get(key)
    if best not in tiles and not torch.cuda.is_current_stream_capturing():
        times = [triton.testing.do_bench(lambda: launch(t), warmup=5, rep=20) for t in tiles]  # noqa: B023
        best = known[key] = tiles[times.index(min(times))]
        _keep(known)
    return launch(best if best is not None and best in tiles else tiles[0])


@functools.cache
def _chosen() -> dict[str, Tiles]:
    """Winners of earlier processes and of this one."""
    return _read(_file())


def _file() -> Path:
    return Path(triton.knobs.cache.dir) / "rotfast-tiles.json"


def _read(file: Path) -> dict[str, Tiles]:
    try:
        return {key: Tiles(*numbers) for key, numbers in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        backend.log.warning("%s is not read, tiles are measured anew: %s", file, error)
        return {}


def _keep(known: dict[str, Tiles]) -> None:
    """Write all winners, with those that other processes have added; whoever reads sees a whole file."""
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**_read(file), **known}, indent=0)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".json", delete=False) as written:
            written.write(text)
        os.replace(written.name, file)
    except OSError as error:
        backend.log.warning("%s is not written, tiles are kept for this process alone: %s", file, error)
