"""Triton kernels of the trilinear form ⟨g, conv2d(x, W)⟩: its derivatives as products with patches of images.

Each kernel is a matrix product in which one factor is gathered from images while it is multiplied, so
patches are never written. A position is a pixel of the result, numbered through all images of a task; a tap
is an input channel of the group and a place in the kernel.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from rotfast.ops.triton import tuning
from rotfast.ops.triton.common import PROGRAMS, new_parts, operand_type, products, sum_parts, sum_type

# Blocks of positions that are worth a program of their own in the weight gradient.
_STEPS = 8


class _Shape(NamedTuple):
    """Images N, channels of one group (output O, input I), and sizes of image and result."""

    N: int
    groups: int
    O: int  # noqa: E741
    I: int  # noqa: E741
    H: int
    W: int
    OH: int
    OW: int

    def counts(self) -> tuple[int, int]:
        """Elements of an image of x and of the result, counted here because the product may need 64 bits."""
        return self.groups * self.I * self.H * self.W, self.groups * self.O * self.OH * self.OW


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """Convolution of x with weight, plus bias."""
    return convolve(x, weight, bias, stride, padding, dilation, groups, relu=False)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    *,
    relu: bool,
) -> Tensor:
    """The same; what is negative becomes 0 before it is written, if ``relu``."""
    x, weight = x.contiguous(), weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    shape = _shape(x.shape, weight.shape, stride, padding, dilation, groups)
    given = [t.shape[0] for t, rank in ((x, 4), (weight, 4), (bias, 1)) if t is not None and t.dim() > rank][
        :1
    ]
    tasks = given[0] if given else 1
    y = x.new_empty((*given, shape.N, groups * shape.O, shape.OH, shape.OW))
    positions = shape.N * shape.OH * shape.OW
    taps = weight.shape[-3:].numel()

    def launch(tiles: tuning.Tiles) -> Tensor:
        down, across = triton.cdiv(shape.O, tiles.rows), triton.cdiv(positions, tiles.columns)
        _forward[tasks * groups * down * across,](
            *(x, weight, bias, y, *shape, *shape.counts(), positions, down, across),
            *(_step(x, 4), _step(weight, 4), 0 if bias is None else _step(bias, 1)),
            RELU=relu,
            **_options(x, shape, weight.shape, stride, padding, dilation, tiles),
        )
        return y

    return _tuned("conv2d", (tasks, *shape), shape.O, positions, taps, x, launch)


def conv2d_input_grad(
    g: Tensor,
    weight: Tensor,
    x_shape: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """The gradient of ⟨g, conv2d(x, weight)⟩ with respect to x, summed over tasks where x has none."""
    g, weight = g.contiguous(), weight.contiguous()
    shape = _shape(x_shape, weight.shape, stride, padding, dilation, groups)
    gx = g.new_empty(x_shape)
    tasks = x_shape[0] if len(x_shape) > 4 else 1
    summed = g.shape[0] if g.dim() > 4 and len(x_shape) == 4 else 1
    positions = shape.N * shape.H * shape.W
    depth = shape.O * weight.shape[-2:].numel()

    def launch(tiles: tuning.Tiles) -> Tensor:
        down, across = triton.cdiv(shape.I, tiles.rows), triton.cdiv(positions, tiles.columns)
        _input_grad[tasks * groups * down * across,](
            *(g, weight, gx, *shape, *shape.counts(), positions, down, across, summed, _step(weight, 4)),
            **_options(g, shape, weight.shape, stride, padding, dilation, tiles),
        )
        return gx

    return _tuned("input_grad", (tasks, summed, *shape), shape.I, positions, depth, g, launch)


def conv2d_weight_grad(
    x: Tensor,
    g: Tensor,
    weight_shape: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """The gradient of ⟨g, conv2d(x, weight)⟩ with respect to weight, summed over tasks where it has none."""
    x, g = x.contiguous(), g.contiguous()
    shape = _shape(x.shape, weight_shape, stride, padding, dilation, groups)
    tasks = weight_shape[0] if len(weight_shape) > 4 else 1
    summed = g.shape[0] if g.dim() > 4 and len(weight_shape) == 4 else 1
    positions = shape.N * shape.OH * shape.OW
    taps = torch.Size(weight_shape[-3:]).numel()

    def launch(tiles: tuning.Tiles) -> Tensor:
        down, across = triton.cdiv(shape.O, tiles.rows), triton.cdiv(taps, tiles.columns)
        steps = summed * triton.cdiv(positions, tiles.depth)
        programs = max(1, tasks * groups * down * across)
        run = max(1, triton.cdiv(steps, max(1, min(PROGRAMS // programs, steps // _STEPS))))
        splits = max(1, triton.cdiv(steps, run))
        parts = new_parts(x, splits, (tasks, groups * shape.O, taps))
        _weight_grad[splits * tasks * groups * down * across,](
            *(x, g, parts, *shape, *shape.counts(), positions, down, across, tasks, run, steps, _step(x, 4)),
            **_options(x, shape, weight_shape, stride, padding, dilation, tiles),
        )
        return sum_parts(parts, x.dtype).reshape(weight_shape)

    return _tuned("weight_grad", (tasks, summed, *shape), shape.O, taps, positions, x, launch)


def _shape(
    x: Any, weight: Any, stride: list[int], padding: list[int], dilation: list[int], groups: int
) -> _Shape:
    out = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x[-2:], weight[-2:], stride, padding, dilation, strict=True)
    )
    return _Shape(x[-4], groups, weight[-4] // groups, weight[-3], *x[-2:], *out)


def _step(tensor: Tensor, rank: int) -> int:
    """Elements between tasks; 0 where they share the tensor."""
    return tensor.shape[1:].numel() if tensor.dim() > rank else 0


def _tuned(name: str, shape: Any, rows: int, columns: int, depth: int, like: Tensor, launch: Any) -> Tensor:
    precision = products(like.dtype)
    tiles = tuning.candidates(rows, columns, depth, precision == "tf32" or like.element_size() == 2)
    return tuning.run(lambda: tuning.key(name, (*shape, depth), like, precision), tiles, launch)


def _options(
    like: Tensor,
    shape: _Shape,
    weight: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    tiles: tuning.Tiles,
) -> dict[str, Any]:
    channels = shape.groups * max(shape.O, shape.I)
    largest = max(shape.N, channels) * max(shape.H * shape.W, shape.OH * shape.OW)
    names = ("KH", "KW", "SH", "SW", "PH", "PW", "DH", "DW")
    return {
        **dict(zip(names, (*weight[-2:], *stride, *padding, *dilation), strict=True)),
        "ROWS": tiles.rows,
        "COLUMNS": tiles.columns,
        "DEPTH": tiles.depth,
        # Numbers of positions, and places in one image; the place of an image always has 64 bits.
        "INDEX": tl.int32 if largest < 2**30 else tl.int64,
        "OPERAND": operand_type(like.dtype),
        "ACC": sum_type(like.dtype),
        "PRECISION": products(like.dtype),
        "num_warps": tiles.warps,
        "num_stages": tiles.stages,
    }


@triton.jit
def _forward(
    x, weight, bias, y, N, groups, O, I, H, W, OH, OW,  # noqa: E741
    in_image, out_image, positions, down, across, x_step, weight_step, bias_step,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, INDEX: tl.constexpr,
    OPERAND: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, RELU: tl.constexpr,
):  # fmt: skip
    """A tile of output channels by positions."""
    number = tl.program_id(0)
    position = (number % across).to(INDEX) * COLUMNS + tl.arange(0, COLUMNS)
    o = number // across % down * ROWS + tl.arange(0, ROWS)
    number //= across * down
    group = (number % groups).to(INDEX)
    task = (number // groups).to(tl.int64)
    n = (position // (OH * OW)).to(tl.int64)
    pixel = position % (OH * OW)
    top, left = pixel // OW * SH - PH, pixel % OW * SW - PW
    images = x + task * x_step + n * in_image + group * I * H * W
    kernels = weight + task * weight_step + ((group * O + o) * (I * KH * KW))[:, None]
    valid = position < positions
    total = tl.zeros([ROWS, COLUMNS], ACC)
    for first in range(0, I * KH * KW, DEPTH):
        tap = first + tl.arange(0, DEPTH)
        v = top[None, :] + (tap // KW % KH * DH)[:, None]
        u = left[None, :] + (tap % KW * DW)[:, None]
        inside = (tap < I * KH * KW)[:, None] & valid[None, :] & (v >= 0) & (v < H) & (u >= 0) & (u < W)
        place = (tap // (KH * KW)).to(INDEX)[:, None] * (H * W) + v * W + u
        patches = tl.load(images[None, :] + place, mask=inside, other=0.0)
        kept = (o < O)[:, None] & (tap < I * KH * KW)[None, :]
        kernel = tl.load(kernels + tap[None, :], mask=kept, other=0.0)
        total = tl.dot(
            kernel.to(OPERAND), patches.to(OPERAND), total, input_precision=PRECISION, out_dtype=ACC
        )
    channel = group * O + o
    if bias is not None:
        total += tl.load(bias + task * bias_step + channel, mask=o < O, other=0.0).to(ACC)[:, None]
    if RELU:
        total = tl.where(total < 0, 0.0, total)  # NaN stays
    image = y + (task * N + n) * out_image + pixel
    out = image[None, :] + (channel * (OH * OW))[:, None]
    tl.store(out, total.to(y.dtype.element_ty), mask=(o < O)[:, None] & valid[None, :])


@triton.jit
def _input_grad(
    g, weight, gx, N, groups, O, I, H, W, OH, OW,  # noqa: E741
    in_image, out_image, positions, down, across, summed, weight_step,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, INDEX: tl.constexpr,
    OPERAND: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of input channels by pixels of x, summed over tasks, output channels and kernel places."""
    number = tl.program_id(0)
    position = (number % across).to(INDEX) * COLUMNS + tl.arange(0, COLUMNS)
    i = number // across % down * ROWS + tl.arange(0, ROWS)
    number //= across * down
    group = (number % groups).to(INDEX)
    task = (number // groups).to(tl.int64)
    n = (position // (H * W)).to(tl.int64)
    pixel = position % (H * W)
    bottom, right = pixel // W + PH, pixel % W + PW
    valid = position < positions
    total = tl.zeros([ROWS, COLUMNS], ACC)
    for summand in range(summed):
        source = task + summand
        images = g + (source * N + n) * out_image + group * O * OH * OW
        kernels = weight + source * weight_step + group * O * (I * KH * KW)
        for first in range(0, O * KH * KW, DEPTH):
            k = first + tl.arange(0, DEPTH)
            o = (k // (KH * KW)).to(INDEX)
            v = bottom[None, :] - (k // KW % KH * DH)[:, None]
            u = right[None, :] - (k % KW * DW)[:, None]
            inside = (k < O * KH * KW)[:, None] & valid[None, :] & (v >= 0) & (u >= 0)
            inside = inside & (v % SH == 0) & (u % SW == 0) & (v // SH < OH) & (u // SW < OW)
            place = (o * (OH * OW))[:, None] + v // SH * OW + u // SW
            grads = tl.load(images[None, :] + place, mask=inside, other=0.0)
            kept = (i < I)[:, None] & (k < O * KH * KW)[None, :]
            places = (o * (I * KH * KW) + k % (KH * KW))[None, :] + (i * (KH * KW))[:, None]
            kernel = tl.load(kernels + places, mask=kept, other=0.0)
            total = tl.dot(
                kernel.to(OPERAND), grads.to(OPERAND), total, input_precision=PRECISION, out_dtype=ACC
            )
    image = gx + (task * N + n) * in_image + pixel
    out = image[None, :] + ((group * I + i) * (H * W))[:, None]
    tl.store(out, total.to(gx.dtype.element_ty), mask=(i < I)[:, None] & valid[None, :])


@triton.jit
def _weight_grad(
    x, g, parts, N, groups, O, I, H, W, OH, OW,  # noqa: E741
    in_image, out_image, positions, down, across, tasks, run, steps, x_step,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, INDEX: tl.constexpr,
    OPERAND: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of output channels by taps; a program sums ``run`` blocks of positions of one or all tasks."""
    number = tl.program_id(0)
    tap = number % across * COLUMNS + tl.arange(0, COLUMNS)
    o = number // across % down * ROWS + tl.arange(0, ROWS)
    number //= across * down
    group = (number % groups).to(INDEX)
    number //= groups
    task = (number % tasks).to(tl.int64)
    split = number // tasks
    blocks = tl.cdiv(positions, DEPTH)
    total = tl.zeros([ROWS, COLUMNS], ACC)
    for step in range(split * run, min((split + 1) * run, steps)):
        source = task + step // blocks
        position = tl.cast(step % blocks, INDEX) * DEPTH + tl.arange(0, DEPTH)
        valid = position < positions
        n = (position // (OH * OW)).to(tl.int64)
        pixel = position % (OH * OW)
        v = (pixel // OW * SH - PH)[:, None] + (tap // KW % KH * DH)[None, :]
        u = (pixel % OW * SW - PW)[:, None] + (tap % KW * DW)[None, :]
        inside = valid[:, None] & (tap < I * KH * KW)[None, :] & (v >= 0) & (v < H) & (u >= 0) & (u < W)
        place = (tap // (KH * KW)).to(INDEX)[None, :] * (H * W) + v * W + u
        images = x + source * x_step + n * in_image + group * I * H * W
        patches = tl.load(images[:, None] + place, mask=inside, other=0.0)
        image = g + (source * N + n) * out_image + pixel
        kept = (o < O)[:, None] & valid[None, :]
        grads = tl.load(image[None, :] + ((group * O + o) * (OH * OW))[:, None], mask=kept, other=0.0)
        total = tl.dot(
            grads.to(OPERAND), patches.to(OPERAND), total, input_precision=PRECISION, out_dtype=ACC
        )
    channel = (split * tl.cast(tasks, tl.int64) + task) * (groups * O) + group * O + o
    out = parts + channel[:, None] * (I * KH * KW) + tap[None, :]
    tl.store(out, total.to(parts.dtype.element_ty), mask=(o < O)[:, None] & (tap < I * KH * KW)[None, :])
