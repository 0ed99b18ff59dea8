"""ShareConv2d on the shapes of the studies."""

from functools import partial

import torch

import rotfast
from benchmarks.case import PLAIN, ROTFAST, Call, Case, layer_calls, parametrize
from benchmarks.plain import KronShareConv2d, MatmulShareConv2d, PatchesShareConv2d, PlainShareConv2d

# (in, out, image size, N); x has a gradient where the layer is an inner one.
FIRST_LAYERS = [
    *((1, 32, 28, batch) for batch in (1, 19, 20, 64, 95, 1024)),
    *((1, 24, 32, batch) for batch in (20, 640)),
    (1, 48, 32, 20),
    (3, 100, 32, 32),
]
INNER_LAYERS = [(32, 32, 14, 32), (64, 64, 14, 32)]
SMOKE = [(1, 32, 28, 1), (32, 32, 14, 32)]


def by_hand(in_channels: int) -> dict[str, type[PlainShareConv2d]]:
    if in_channels > 3:
        return {"matmul": MatmulShareConv2d}
    return {"matmul": MatmulShareConv2d, "kron": KronShareConv2d, "patches": PatchesShareConv2d}


def build(
    shape: tuple[int, int, int, int], inner: bool, backward: bool, dtype: torch.dtype
) -> dict[str, Call]:
    in_channels, out_channels, size, batch = shape
    kinds = {ROTFAST: rotfast.ShareConv2d, PLAIN: PlainShareConv2d, **by_hand(in_channels)}
    layers = {name: kind(in_channels, out_channels, 3).to(dtype) for name, kind in kinds.items()}
    x = torch.randn(batch, in_channels, size, size, dtype=dtype, requires_grad=inner)
    return layer_calls(layers, x, backward)


def cases(suite: str, *, backward: bool) -> list[Case]:
    return [
        Case(
            suite=suite,
            shape=f"{shape[0]}→{shape[1]}, 3×3, {shape[2]}×{shape[2]}, N={shape[3]}",
            names=(ROTFAST, PLAIN, *by_hand(shape[0])),
            build=partial(build, shape, inner, backward),
            smoke=shape in SMOKE,
        )
        for inner, shapes in ((False, FIRST_LAYERS), (True, INNER_LAYERS))
        for shape in shapes
    ]


@parametrize(cases("ShareConv2d, forward", backward=False))
def test_forward(case, contestant, compare):
    compare(case, contestant)


@parametrize(cases("ShareConv2d, forward and backward", backward=True))
def test_forward_and_backward(case, contestant, compare):
    compare(case, contestant)
