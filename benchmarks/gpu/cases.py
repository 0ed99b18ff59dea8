"""The comparisons that are run on a GPU. Images are many, so that they come from memory, not from a cache."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

import rotfast
from benchmarks import test_meta_step, test_share_conv2d
from benchmarks.case import COMPILED, PLAIN, ROTFAST, Call, Case, differentiable
from benchmarks.plain import PlainShareConv2d
from benchmarks.plain_rotation import (
    affine_plain,
    affine_planes,
    rotate_plain,
    rotate_planes,
    rotate_uint8_folded,
    rotate_uint8_plain,
)
from benchmarks.test_affine import MEAN, STD, compiled, images, inference
from benchmarks.work import Work, counted, moved, resampling

SHAPES = [(16384, 1, 64, 64), (8192, 3, 64, 64), (1024, 1, 224, 224), (512, 3, 224, 224)]
UINT8_TOLERANCES = {ROTFAST: 1e-5}  # it makes float32 of uint8, also in the float64 check
CAPTURED = "captured"


@dataclass(frozen=True)
class Row:
    """A comparison, and whether float32 products may be rounded to TF32 in it."""

    case: Case
    tf32: bool = False


def build_rotate(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Call]:
    x, angle = images(shape, dtype)
    ways = {
        ROTFAST: rotfast.rotate,
        PLAIN: rotate_plain,
        "planes": rotate_planes,
        **compiled(rotate_plain, rotate_planes),
    }
    return inference({name: partial(rotate, x, angle) for name, rotate in ways.items()}, x)


def build_affine(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Call]:
    x, degrees = images(shape, dtype)
    matrix = maps(degrees, shape[-2], shape[-1])
    theta = normalised(matrix, shape[-2], shape[-1]).to(dtype)
    ways = {
        ROTFAST: partial(rotfast.affine, x, matrix=matrix.to(dtype)),
        PLAIN: partial(affine_plain, x, theta),
        "planes": partial(affine_planes, x, theta),
    }
    for name, way in compiled(affine_plain, affine_planes).items():
        ways[name] = partial(way, x, theta)
    return inference(ways, x)


def maps(degrees: Tensor, height: int, width: int) -> Tensor:
    """Float64 maps (N, 2, 3) of pixels: turned, stretched, shifted by up to two pixels."""
    turn = degrees.double() * (math.pi / 180)
    shift = 4 * torch.rand(2, len(degrees), dtype=torch.float64) - 2
    a, b, c, d = 1.1 * turn.cos(), turn.sin(), -turn.sin(), 0.9 * turn.cos()
    u, v = (width - 1) / 2, (height - 1) / 2
    rows = (a, b, u - a * u - b * v + shift[0], c, d, v - c * u - d * v + shift[1])
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


def normalised(matrix: Tensor, height: int, width: int) -> Tensor:
    """What affine_grid takes for a map of pixels: its inverse in coordinates from -1 to 1."""
    u, v = width / 2, height / 2
    pixels = torch.tensor([[u, 0, u - 0.5], [0, v, v - 0.5], [0, 0, 1]], dtype=torch.float64)
    last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(len(matrix), 1, 3)
    inverse = torch.linalg.inv(torch.cat([matrix, last], 1))
    return (torch.linalg.inv(pixels) @ inverse @ pixels)[:, :2]


def build_uint8(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Call]:
    x, angle = images(shape, dtype)
    levels = (256 * x).byte()
    mean, std = (torch.tensor(values[: shape[1]], dtype=dtype)[:, None, None] for values in (MEAN, STD))
    ways = {
        PLAIN: rotate_uint8_plain,
        "folded": rotate_uint8_folded,
        **compiled(rotate_uint8_plain, rotate_uint8_folded),
    }
    own = partial(rotfast.rotate, levels, angle, mean=mean.flatten(), std=std.flatten())
    others = {name: partial(rotate, levels, angle, mean, std) for name, rotate in ways.items()}
    return inference({ROTFAST: own, **others}, x)


def share_conv2d_work(shape: tuple[int, int, int, int], inner: bool) -> Work:
    """Operations as plain does them; its cotangent is read as well, and all gradients are written."""
    in_channels, out_channels, size, batch = shape
    layer = PlainShareConv2d(in_channels, out_channels, 3)
    x = torch.randn(batch, in_channels, size, size, requires_grad=inner)
    read = [x, *layer.parameters()]
    call = differentiable(partial(layer, x), [t for t in read if t.requires_grad], backward=True)
    y, *gradients = call()
    return Work(moved([*read, y, y, *gradients]), counted(call))


def meta_step_work(problem: test_meta_step.Problem) -> Work:
    """Operations of a loop over tasks on plain layers; every gradient is as large as what it belongs to."""
    loop = test_meta_step.build(problem, (), torch.float32)[PLAIN]
    gradients = loop()
    episode = problem.episode(torch.float32)
    return Work(moved([*episode, *gradients, *gradients]), counted(loop))


def build_captured(problem: test_meta_step.Problem, dtype: torch.dtype) -> dict[str, Call]:
    """The step of rotfast replayed from a CUDA graph, against vmap call by call, and replayed as well."""
    calls = test_meta_step.build(problem, (), dtype)
    return {ROTFAST: captured(calls[ROTFAST]), PLAIN: calls["vmap"], CAPTURED: captured(calls["vmap"])}


def captured(call: Call) -> Call:
    """A call recorded in a CUDA graph, after what is done once only; replays write to the same results."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = call()

    def replay() -> list[Tensor]:
        graph.replay()
        return list(results)

    return replay


def resampled(
    suite: str,
    by_hand: str,
    build: Callable[[tuple[int, ...], torch.dtype], dict[str, Call]],
    work: Callable[[tuple[int, ...]], Work],
    tolerances: dict[str, float],
) -> list[Case]:
    return [
        Case(
            suite=suite,
            shape="×".join(map(str, shape)),
            names=(ROTFAST, PLAIN, by_hand, *COMPILED, "copy"),
            build=partial(build, shape),
            tolerances=tolerances,
            work=partial(work, shape),
        )
        for shape in SHAPES
    ]


RESAMPLING = (
    *resampled(
        "rotate, forward",
        "planes",
        build_rotate,
        partial(resampling, parameters=1, read=4),
        {},
    ),
    *resampled("affine, forward", "planes", build_affine, partial(resampling, parameters=6, read=4), {}),
    *resampled(
        "rotate, uint8 to normalised float32",
        "folded",
        build_uint8,
        partial(resampling, parameters=1, read=1),
        UINT8_TOLERANCES,
    ),
)
SHARE_CONV2D = [
    Case(
        suite="ShareConv2d, forward and backward",
        shape=case.shape,
        names=case.names,
        build=case.build,
        work=partial(share_conv2d_work, shape, shape in test_share_conv2d.INNER_LAYERS),
    )
    for case, shape in zip(
        test_share_conv2d.cases("", backward=True),
        (*test_share_conv2d.FIRST_LAYERS, *test_share_conv2d.INNER_LAYERS),
        strict=True,
    )
]
META_STEP = [
    replace(case, smoke=False, work=partial(meta_step_work, problem))
    for case, problem in zip(test_meta_step.cases(), test_meta_step.PROBLEMS.values(), strict=True)
]
META_STEP_CAPTURED = [
    replace(
        case,
        suite="Meta step in a CUDA graph, against vmap without one",
        names=(ROTFAST, PLAIN, CAPTURED),
        build=partial(build_captured, problem),
    )
    for case, problem in zip(META_STEP, test_meta_step.PROBLEMS.values(), strict=True)
    if case.shape.startswith("Rotated MNIST")
]


def rows() -> list[Row]:
    """Every row of the GPU's ledger, in order."""
    with_tf32 = [replace(case, suite=f"{case.suite}, TF32 allowed") for case in SHARE_CONV2D]
    return [
        *map(Row, (*RESAMPLING, *SHARE_CONV2D)),
        *(Row(case, tf32=True) for case in with_tf32),
        *map(Row, (*META_STEP, *META_STEP_CAPTURED)),
    ]
