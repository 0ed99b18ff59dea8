"""Special paths of the resampling: sizes around whole vectors and tiles, wild maps, ties, strides, groups."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from rotfast import ops, reference

MODES = list(product(("nearest", "bilinear", "bicubic"), ("constant", "border", "reflection")))
FILL = torch.tensor([0.25, -0.5, 0.75], dtype=torch.float64)


def about_center(
    angle: float, in_size: tuple[int, int], out_size: tuple[int, int], scale: float = 1.0
) -> Tensor:
    """(1, 1, 2, 3), output to source: degrees, and how many source pixels an output pixel is wide."""
    cos, sin = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    (h, w), (oh, ow) = (((n - 1) / 2 for n in size) for size in (in_size, out_size))
    rows = [[cos, -sin, w - cos * ow + sin * oh], [sin, cos, h - sin * ow - cos * oh]]
    return torch.tensor([[rows]], dtype=torch.float64)


def check(
    x: Tensor,
    matrix: Tensor,
    size: tuple[int, int],
    mode: str,
    padding: str,
    fill: Tensor | None = None,
    atol: float = 1e-5,
) -> Tensor:
    """The operator's result, which is that of the reference in float64."""
    how = {"size": size, "interpolation": mode, "padding_mode": padding}
    y = ops.affine(x, matrix, fill, **how)
    expected = reference.affine(x.double(), matrix, fill, **how)
    atol = 1e-11 if x.dtype == torch.float64 else atol
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=atol, equal_nan=True)
    return y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("in_size", "out_size"),
    [
        ((1, 1), (1, 1)),
        ((1, 1), (3, 9)),
        ((1, 2), (2, 1)),
        ((2, 1), (7, 2)),
        ((3, 3), (5, 3)),
        ((4, 7), (3, 7)),
        ((8, 5), (2, 8)),
        ((5, 15), (6, 15)),
        ((3, 16), (3, 16)),
        ((6, 17), (31, 17)),
        ((31, 33), (33, 31)),
        ((9, 60), (9, 64)),
        ((2, 1100), (2, 1025)),
        ((1100, 2), (1031, 2)),
        ((7, 11), (3, 2100)),
    ],
    ids=str,
)
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_sizes(
    mode: str, padding: str, in_size: tuple[int, int], out_size: tuple[int, int], dtype: torch.dtype
) -> None:
    x = torch.rand(2, 3, *in_size, dtype=torch.float64).to(dtype)
    angles = (17.0, 100.0, 200.0, 290.0, 44.0, 359.0)
    maps = [about_center(a, in_size, out_size, 0.8 + 0.1 * i) for i, a in enumerate(angles)]
    check(x, torch.cat(maps).view(2, 3, 2, 3), out_size, mode, padding, FILL)


@pytest.mark.parametrize("scale", [1e-3, 9.7, 60.0, 1e5], ids=str)
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_extreme_scales(mode: str, padding: str, scale: float) -> None:
    x = torch.rand(1, 2, 40, 37)
    for angle in (3.0, 93.0, 187.0):
        matrix = about_center(angle, (40, 37), (29, 34), scale)
        check(x, matrix, (29, 34), mode, padding, FILL[:2], atol=1e-5 * max(1.0, scale / 1e3))


@pytest.mark.parametrize("shift", [50.25, -333.4, 4e8, -6e8, 1e12], ids=str)
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_shifts_far_outside(mode: str, padding: str, shift: float) -> None:
    x = torch.rand(1, 3, 12, 13)
    matrix = about_center(20.0, (12, 13), (12, 13))
    for axis in (0, 1):
        moved = matrix.clone()
        moved[..., axis, 2] += shift
        y = check(x, moved, (12, 13), mode, padding, FILL, atol=1e-4)
        if padding == "constant":
            torch.testing.assert_close(y, FILL.float()[:, None, None].expand_as(y), rtol=0, atol=1e-6)


@pytest.mark.parametrize("entry", [1e9, -1e18, 1e300, math.inf, math.nan], ids=str)
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_huge_matrices_stay_inside(mode: str, padding: str, entry: float) -> None:
    x = torch.rand(1, 1, 6, 7)
    for i in range(6):
        matrix = about_center(10.0, (6, 7), (5, 9))
        matrix.view(6)[i] = entry
        y = ops.affine(x, matrix, size=(5, 9), interpolation=mode, padding_mode=padding)
        assert y.isfinite().all()
        assert y.min() >= -0.5
        assert y.max() <= 1.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8], ids=str)
@pytest.mark.parametrize("padding", ["constant", "border", "reflection"])
def test_nearest_decides_ties_as_the_reference(padding: str, dtype: torch.dtype) -> None:
    x = torch.arange(16 * 16).view(1, 1, 16, 16).to(dtype)
    angles = torch.arange(0, 360, 5).tolist()
    maps = [about_center(a, (16, 16), (16, 15), s) for a in angles for s in (0.1, 0.5, 1.0)]
    shift = torch.tensor([[[[1.0, 0.0, 0.5], [0.0, 1.0, -1.5]]]], dtype=torch.float64)
    matrix = torch.cat([*maps, shift], 1)
    how = {"size": (16, 15), "interpolation": "nearest", "padding_mode": padding}
    assert torch.equal(ops.affine(x, matrix, **how), reference.affine(x, matrix, **how))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_wide_images_keep_their_precision(mode: str) -> None:
    x = torch.rand(1, 1, 3, 5000)
    for matrix in (about_center(0.01, (3, 5000), (3, 4500)), about_center(0.003, (3, 5000), (3, 4500), 1.1)):
        check(x, matrix, (3, 4500), mode, "constant")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_far_outside_an_infinite_border_stays_infinite(dtype: torch.dtype) -> None:
    x = torch.tensor([[[[math.inf, 1.0], [2.0, -math.inf]]]], dtype=dtype)
    for shift, expected in ((-1000.3, math.inf), (1000.3, -math.inf)):
        matrix = torch.tensor([[[[1.0, 0.25, shift], [0.0, 1.0, shift]]]], dtype=torch.float64)
        y = ops.affine(x, matrix, size=(3, 4), interpolation="bilinear", padding_mode="border")
        assert (y == expected).all()


@pytest.mark.parametrize("padding", ["constant", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_infinite_border_pixels(mode: str, padding: str) -> None:
    x = torch.rand(1, 1, 10, 11)
    x[0, 0, 0, 5], x[0, 0, 4, 0], x[0, 0, 9, 10], x[0, 0, 5, 10] = math.inf, -math.inf, math.nan, math.inf
    y = check(x, about_center(31.0, (10, 11), (24, 25)), (24, 25), mode, padding, FILL[:1])
    if padding == "constant":
        assert (y - 0.25).abs().lt(1e-6).sum() > 300


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_any_strides(mode: str, padding: str, dtype: torch.dtype) -> None:
    x = (256 * torch.rand(3, 4, 21, 30)).to(dtype)
    how = {"size": (19, 23), "interpolation": mode, "padding_mode": padding}
    matrix = torch.cat([about_center(a, (21, 30), (19, 23)) for a in (10.0, 20.0, 100.0)])
    views = {
        "sliced": (x[:, ::2, 1:, 3:], matrix),
        "transposed": (x.transpose(2, 3), matrix),
        "channels last": (x.to(memory_format=torch.channels_last), matrix),
        "repeated": (x[:1].expand(3, -1, -1, -1), matrix),
        "single pixels": (x[:, :1, :1, :1].expand(-1, 2, 9, 9), matrix),
    }
    for name, (view, m) in views.items():
        assert torch.equal(ops.affine(view, m, **how), ops.affine(view.contiguous(), m, **how)), name


def test_channels_beyond_the_cache() -> None:
    x = torch.rand(1, 5, 330, 310)
    matrix = about_center(33.0, (330, 310), (320, 300)).expand(1, 2, 2, 3)
    how = {"size": (320, 300), "interpolation": "bilinear", "padding_mode": "constant"}
    y = ops.affine(x, matrix, torch.arange(5, dtype=torch.float64), **how)
    for c in range(5):
        single = ops.affine(x[:, c : c + 1], matrix, torch.tensor([c], dtype=torch.float64), **how)
        assert torch.equal(y[:, :, c : c + 1], single)


@pytest.mark.parametrize("shape", [(1, 1, 150, 140), (3, 2, 70, 9)], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_tiles_do_not_depend_on_threads(mode: str, shape: tuple[int, int, int, int]) -> None:
    x = torch.rand(shape)
    matrix = about_center(77.0, shape[2:], (151, 133)).expand(shape[0], 2, 2, 3)

    def run() -> Tensor:
        return ops.affine(x, matrix, size=(151, 133), interpolation=mode, padding_mode="constant")

    one = run()
    torch.set_num_threads(2)
    try:
        two = run()
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one, two)
