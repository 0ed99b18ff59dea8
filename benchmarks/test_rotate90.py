"""rotate90_all: a batch turned by 0°, 90°, 180° and 270°."""

from functools import partial

import torch
from torch import Tensor

import rotfast
from benchmarks.case import PLAIN, ROTFAST, Call, Case, differentiable, parametrize
from benchmarks.plain_rotation import four_turns_copied, four_turns_indexed, four_turns_plain
from benchmarks.test_affine import SHAPES, SMOKE

NAMES = (ROTFAST, PLAIN, "copied", "indexed", "copy", "expanded copy")


def four_turns(x: Tensor) -> Tensor:
    return rotfast.rotate90_all(x)[0]


def build(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Call]:
    x = torch.rand(shape, dtype=dtype)
    out, filled = torch.empty(2, 4, *shape, dtype=dtype)
    filled.fill_(1)
    ways = (
        partial(four_turns, x),
        partial(four_turns_plain, x),
        partial(four_turns_copied, x),
        partial(four_turns_indexed, x),
        partial(out.copy_, filled),
        partial(out.copy_, x),
    )
    return {name: differentiable(way, (), backward=False) for name, way in zip(NAMES, ways, strict=True)}


def cases() -> list[Case]:
    return [
        Case(
            suite="rotate90_all",
            shape="×".join(map(str, shape)),
            names=NAMES,
            build=partial(build, shape),
            smoke=shape == SMOKE,
        )
        for shape in SHAPES
    ]


@parametrize(cases())
def test_rotate90_all(case, contestant, compare):
    compare(case, contestant)
