"""ShareLinearFull on the shapes of the studies."""

from functools import partial

import torch

import rotfast
from benchmarks.case import PLAIN, ROTFAST, Call, Case, layer_calls, parametrize
from benchmarks.plain import PlainShareLinearFull, TurnedShareLinearFull

# (in, out, latent size, N): the head of the single circuit, an inner layer, and the rank problems.
HEADS = [(21632, 10, 3, batch) for batch in (1, 19, 95, 1024)]
RANKS = [(70, 68, latent_size, 19) for latent_size in (3, 6, 30)]
SMOKE = [HEADS[0], RANKS[0]]
LAYERS = {
    ROTFAST: rotfast.ShareLinearFull,
    PLAIN: PlainShareLinearFull,
    "turned": TurnedShareLinearFull,
}


def build(shape: tuple[int, int, int, int], backward: bool, dtype: torch.dtype) -> dict[str, Call]:
    in_features, out_features, latent_size, batch = shape
    head = shape in HEADS
    layers = {
        name: kind(in_features, out_features, bias=head, latent_size=latent_size).to(dtype)
        for name, kind in LAYERS.items()
    }
    return layer_calls(layers, torch.randn(batch, in_features, dtype=dtype, requires_grad=head), backward)


def cases(suite: str, *, backward: bool) -> list[Case]:
    return [
        Case(
            suite=suite,
            shape=f"{shape[0]}→{shape[1]}, L={shape[2]}, N={shape[3]}",
            names=tuple(LAYERS),
            build=partial(build, shape, backward),
            smoke=shape in SMOKE,
        )
        for shape in (*HEADS, *RANKS)
    ]


@parametrize(cases("ShareLinearFull, forward", backward=False))
def test_forward(case, contestant, compare):
    compare(case, contestant)


@parametrize(cases("ShareLinearFull, forward and backward", backward=True))
def test_forward_and_backward(case, contestant, compare):
    compare(case, contestant)
