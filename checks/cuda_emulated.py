"""Runs the CUDA kernels on the CPU, compiled against checks/emulation, and compares them with the CPU's own.

Every operator with a CUDA kernel, over odd shapes, modes, dtypes and layouts; unwritten results are NaN.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rotfast import doctor

ROOT = Path(__file__).resolve().parent.parent
FLAGS = (
    *("-std=c++20", "-O1", "-fPIC", "-DTORCH_TARGET_VERSION=0x020b000000000000", "-Ichecks/emulation"),
    *("-Icsrc", "-Wno-psabi", "-Wno-unknown-pragmas", "-Wno-attributes", "-x", "c++"),
)
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# N, K, C, H, W, OH, OW: no images, single pixels and lines, channels over a group of four, rows of whole runs
# and images for several rounds of blocks; then results so small that tiles of them take what they need of
# larger images, and several such tiles.
RESAMPLED = (
    *((0, 2, 2, 3, 3, 40, 60), (1, 1, 1, 1, 1, 3, 2), (2, 2, 3, 5, 4, 6, 7), (1, 2, 5, 9, 1, 4, 5)),
    *((1, 1, 4, 1, 7, 5, 3), (2, 1, 1, 13, 17, 16, 33), (1, 1, 2, 2, 2, 40, 50), (7, 3, 1, 6, 12, 7, 8)),
    *((2, 2, 2, 15, 11, 5, 4), (1, 1, 3, 50, 46, 33, 34)),
)
TURNED = (
    *((1, 1, 1, 1), (3, 2, 7, 7), (2, 3, 32, 32), (1, 4, 33, 33), (2, 8, 5, 5), (0, 3, 4, 4), (2, 0, 3, 3)),
    *((2, 1, 40, 17), (3, 2, 3, 70), (2, 1, 36, 36), (1, 3, 7, 40)),
)
TURNED_DTYPES = (torch.uint8, torch.float16, torch.float32, torch.float64, torch.complex128)

Call = tuple[str, list[Any], float]  # operator, arguments, largest error relative to the largest value


def compiled(folder: Path) -> Path:
    """A library with every CUDA source, for the CPU."""
    compiler = os.environ.get("CXX", "g++")
    torch_folder = Path(torch.__file__).parent
    sources = sorted(ROOT.glob("csrc/**/*.cu"))
    objects = [folder / f"{number}.o" for number in range(len(sources))]

    def run(*command: str) -> None:
        subprocess.run([compiler, *command], cwd=ROOT, check=True)

    def compile_one(source: Path, target: Path) -> None:
        run(*FLAGS, "-isystem", str(torch_folder / "include"), "-c", str(source), "-o", str(target))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, sources, objects))
    library = folder / "emulated.so"
    libraries = (f"-L{torch_folder / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10")
    run("-shared", *map(str, objects), *libraries, "-o", str(library))
    return library


def load(library: Path) -> torch.library.Library:
    """Declare the operators under another name, for as long as the result lives, and load their kernels."""
    space = torch.library.Library("rotfast_emulated", "DEF")
    for operator in doctor.operators():
        schema = getattr(torch.ops.rotfast, operator).default._schema
        space.define(str(schema).removeprefix("rotfast::"))
    torch.ops.load_library(library)
    return space


def with_kernels() -> set[str]:
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return {name for name in doctor.operators() if has_kernel(f"rotfast_emulated::{name}", "CPU")}


def layouts(x: Tensor) -> list[Tensor]:
    """x dense, channels last, columns first, with gaps between pixels, between rows (aligned, and not)."""
    *leading, W = x.shape
    wide = [x.new_zeros(*leading, W + 4)[..., first : first + W].copy_(x) for first in (0, 1)]
    apart = torch.stack([x, x], -1)[..., 0]
    return [x, x.to(memory_format=torch.channels_last), x.mT.contiguous().mT, apart, *wide]


def turns() -> Iterator[Call]:
    for (N, C, H, W), dtype in product(TURNED, TURNED_DTYPES):
        for x in layouts((100 * torch.rand(N, C, H, W)).to(dtype)):
            k = torch.randint(-9, 9, (N, 3)) * (1 if H == W else 2)
            yield "rotate90", [x, k], 0.0
            yield "rotate90", [x, k[:, 0]], 0.0
            if H == W:
                yield "rotate90_all", [x], 0.0


def matrices(N: int, K: int, H: int, W: int) -> Tensor:
    """Turned, sheared, stretched, and shifted so that parts of the image and of its outside are seen."""
    angle = 6.3 * torch.rand(N, K, dtype=torch.float64)
    shift = torch.randn(2, N, K, dtype=torch.float64) * 2 + torch.tensor([W / 2, H / 2])[:, None, None]
    rows = (1.1 * angle.cos(), angle.sin(), shift[0], -angle.sin(), 0.8 * angle.cos(), shift[1])
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


def resampling() -> Iterator[Call]:
    yield "rotation_matrix", [torch.linspace(-400, 400, 301, dtype=torch.float64), 1.5, 2.0, 3.0, 4.5], 1e-14
    for (N, K, C, H, W, *size), kind, padding in product(RESAMPLED, range(3), range(3)):
        matrix, modes = matrices(N, K, H, W), (kind, padding)
        channels = 1 + torch.rand(C, dtype=torch.float64)
        levels = torch.randint(256, (N, C, H, W), dtype=torch.uint8)
        yield "affine", [levels, matrix, channels, None, None, size, *modes, [0, 0]], 1 / 128
        yield "affine", [levels, matrix, channels, channels, channels, size, *modes, [0, 0]], 3e-6
        for dtype in FLOATS:
            exact = 1e-12 if dtype == torch.float64 else 1e-5
            rounded = max(exact, 0 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps)
            slope = 1e-11 if dtype == torch.float64 else 5e-3  # which jumps where a position is rounded
            x, g = torch.randn(N, C, H, W).to(dtype), torch.randn(N, K, C, *size).to(dtype)
            order = random.choice([[0, 0], [1, 0], [1, 2]])
            for image, fill in zip(random.sample(layouts(x), 3), (None, channels, channels), strict=True):
                yield "affine", [image, matrix, fill, None, None, size, *modes, order], rounded
            yield "affine_image_grad", [g, matrix, [H, W], *modes, order], rounded
            yield "affine_matrix_grad", [g, x, matrix, channels, *modes, order], slope


def difference(emulated: Tensor, expected: Tensor) -> float:
    """The largest one, relative to the largest value, at least 1; infinite where one alone is finite."""
    assert (emulated.shape, emulated.dtype) == (expected.shape, expected.dtype)
    assert emulated.numel() == 0 or emulated.stride() == expected.stride()
    if emulated.numel() == 0 or torch.equal(emulated, expected):
        return 0.0
    if emulated.is_complex():
        emulated, expected = torch.view_as_real(emulated), torch.view_as_real(expected)
    a, b = emulated.double(), expected.double()
    error = (a - b).abs().max() / b.abs().max().clamp_min(1.0)
    return float(error.nan_to_num(torch.inf))


def main() -> int:
    """Compile, compare, report; 1 where a kernel differs or an operator was left out."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        print("emulated CUDA kernels: skipped, no C++ compiler on this machine")
        return 0
    torch.manual_seed(0)
    random.seed(0)
    torch.use_deterministic_algorithms(True)  # fills what is only allocated with NaN
    with tempfile.TemporaryDirectory() as folder:
        space = load(compiled(Path(folder)))
    reached, wrong, count = set(), [], 0
    for operator, arguments, bound in (*turns(), *resampling()):
        run = partial(lambda name, space: getattr(getattr(torch.ops, space), name)(*arguments), operator)  # noqa: B023
        error = difference(run("rotfast_emulated"), run("rotfast"))
        reached.add(operator)
        count += 1
        if error > bound:
            shapes = [tuple(a.shape) if isinstance(a, Tensor) else a for a in arguments]
            wrong.append(
                f"{operator} of {arguments[0].dtype}, {shapes}: off by {error:.1e}, more than {bound:.1e}"
            )
    wrong += [f"{name}: nothing here calls it" for name in sorted(with_kernels() - reached)]
    print("\n".join(wrong[:20]), end="\n" if wrong else "")
    print(f"{count} calls of {len(reached)} operators' CUDA kernels, emulated: {len(wrong)} differ")
    space._destroy()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
