"""rotate, one angle for each image: bilinear, zeros outside, about the centre."""

import os
from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from torch import Tensor

import rotfast
from benchmarks.case import COMPILED, PLAIN, ROTFAST, Call, Case, differentiable, on_two_threads, parametrize
from benchmarks.peers import KORNIA, OPENCV, installed, kornia_rotate, opencv_rotate
from benchmarks.plain_rotation import (
    normalise_,
    rotate_plain,
    rotate_planes,
    rotate_stacked,
    rotate_uint8_folded,
    rotate_uint8_plain,
)

SHAPES = [(1024, 1, 28, 28), (256, 1, 64, 64), (256, 3, 32, 32), (16, 3, 224, 224)]
SMOKE = SHAPES[2]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WAYS = {
    ROTFAST: rotfast.rotate,
    PLAIN: rotate_plain,
    "stacked": rotate_stacked,
    "planes": rotate_planes,
    **dict.fromkeys(installed(KORNIA), kornia_rotate),
}
# OpenCV before 5 rounds positions to 1/32 pixel, and every OpenCV rounds what it makes of uint8 to uint8.
FORWARD_TOLERANCES = {OPENCV: 0.05}
UINT8_TOLERANCES = {ROTFAST: 1e-5, OPENCV: 0.1}  # rotfast makes float32 of uint8, also in the float64 check

Rotate = Callable[[Tensor, Tensor], Tensor]


def images(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.rand(shape, dtype=dtype), 360 * torch.rand(shape[0], dtype=dtype)


def compiled(*ways: Callable[..., Tensor]) -> dict[str, Callable[..., Tensor]]:
    """Plain and by hand, compiled at their first call."""
    torch.compiler.reset()  # else the shapes of all cases together exceed the number of recompilations
    return {name: torch.compile(way, dynamic=False) for name, way in zip(COMPILED, ways, strict=True)}


def inference(runs: Mapping[str, Callable[[], Tensor]], like: Tensor) -> dict[str, Call]:
    """Forward alone, and a copy of as many numbers."""
    out = torch.empty_like(like)
    runs = {**runs, "copy": partial(out.copy_, like)}
    return {name: differentiable(run, (), backward=False) for name, run in runs.items()}


def build_forward(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Call]:
    x, angle = images(shape, dtype)
    ways = {**WAYS, **compiled(rotate_plain, rotate_planes)}
    runs = {name: partial(rotate, x, angle) for name, rotate in ways.items()}
    runs |= {name: opencv_rotate(x, angle) for name in installed(OPENCV)}
    return inference(runs, x)


def build_uint8(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Call]:
    x, angle = images(shape, dtype)
    levels = (256 * x).byte()
    mean, std = (torch.tensor(values[: shape[1]], dtype=dtype)[:, None, None] for values in (MEAN, STD))
    ways = {
        PLAIN: rotate_uint8_plain,
        "folded": rotate_uint8_folded,
        **compiled(rotate_uint8_plain, rotate_uint8_folded),
    }
    runs = {
        ROTFAST: partial(rotfast.rotate, levels, angle, mean=mean.flatten(), std=std.flatten()),
        **{name: partial(rotate, levels, angle, mean, std) for name, rotate in ways.items()},
    }
    for name in installed(OPENCV):
        runs[name] = partial(opencv_normalised, opencv_rotate(levels, angle), mean, std)
    return inference(runs, x)


def opencv_normalised(rotate: Callable[[], Tensor], mean: Tensor, std: Tensor) -> Tensor:
    return normalise_(rotate().to(mean.dtype), mean, std)


def build_gradient(wrt: str, forward: bool, shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Call]:
    x, angle = images(shape, dtype)
    wanted = {"image": x, "angle": angle}[wrt].requires_grad_()
    cotangent = torch.randn(shape, dtype=dtype)
    if forward:
        ways = {**WAYS, **compiled(rotate_plain, rotate_planes)}
        return {
            name: partial(forward_and_gradient, partial(rotate, x, angle), wanted, cotangent)
            for name, rotate in ways.items()
        }
    out = torch.empty_like(x)
    return {
        **{name: partial(gradient, rotate(x, angle), wanted, cotangent) for name, rotate in WAYS.items()},
        "copy": lambda: [out.copy_(cotangent)],
    }


def forward_and_gradient(run: Callable[[], Tensor], wanted: Tensor, cotangent: Tensor) -> list[Tensor]:
    y = run()
    return [y, *gradient(y, wanted, cotangent, keep=False)]


def gradient(y: Tensor, wanted: Tensor, cotangent: Tensor, keep: bool = True) -> list[Tensor]:
    return list(torch.autograd.grad(y, wanted, cotangent, retain_graph=keep))


def cases(
    suite: str,
    names: tuple[str, ...],
    build: Callable[[tuple[int, ...], torch.dtype], dict[str, Call]],
    tolerances: Mapping[str, float] | None = None,
) -> list[Case]:
    return [
        Case(
            suite=suite,
            shape="×".join(map(str, shape)),
            names=names,
            build=partial(build, shape),
            smoke=shape == SMOKE,
            tolerances=tolerances or {},
        )
        for shape in SHAPES
    ]


FORWARD = cases(
    "rotate, forward",
    (*WAYS, *COMPILED, *installed(OPENCV), "copy"),
    build_forward,
    FORWARD_TOLERANCES,
)
UINT8 = cases(
    "rotate, uint8 to normalised float32",
    (ROTFAST, PLAIN, "folded", *COMPILED, *installed(OPENCV), "copy"),
    build_uint8,
    UINT8_TOLERANCES,
)
IMAGE_GRADIENT, ANGLE_GRADIENT = (
    cases(f"rotate, {wrt} gradient", (*WAYS, "copy"), partial(build_gradient, wrt, False))
    for wrt in ("image", "angle")
)
FORWARD_AND_IMAGE_GRADIENT, FORWARD_AND_ANGLE_GRADIENT = (
    cases(f"rotate, forward and {wrt} gradient", (*WAYS, *COMPILED), partial(build_gradient, wrt, True))
    for wrt in ("image", "angle")
)
TWO_THREADS = [
    on_two_threads(case, "rotate, two threads")
    for case in (*FORWARD, *UINT8, *IMAGE_GRADIENT, *ANGLE_GRADIENT)
]


@parametrize(FORWARD)
def test_forward(case, contestant, compare):
    compare(case, contestant)


@parametrize(UINT8)
def test_uint8(case, contestant, compare):
    compare(case, contestant)


@parametrize(IMAGE_GRADIENT)
def test_image_gradient(case, contestant, compare):
    compare(case, contestant)


@parametrize(ANGLE_GRADIENT)
def test_angle_gradient(case, contestant, compare):
    compare(case, contestant)


@parametrize(FORWARD_AND_IMAGE_GRADIENT)
def test_forward_and_image_gradient(case, contestant, compare):
    compare(case, contestant)


@parametrize(FORWARD_AND_ANGLE_GRADIENT)
def test_forward_and_angle_gradient(case, contestant, compare):
    compare(case, contestant)


@pytest.mark.skipif(os.cpu_count() == 1, reason="there is one core")
@parametrize(TWO_THREADS)
def test_two_threads(case, contestant, compare):
    compare(case, contestant)
