"""First derivatives of resampling on every path of the CPU kernels, against the reference in float64."""

import math

import pytest
import torch
from torch import Tensor

from rotfast import backend, ops, reference

PADDING_MODES = ("constant", "border", "reflection")
MODES = ("nearest", "bilinear")
FLOATS = (torch.float32, torch.float64)
kernels = pytest.mark.skipif(backend.why_not_compiled() is not None, reason="needs the compiled kernels")


def about_centres(
    linear: Tensor, in_size: tuple[int, int], out_size: tuple[int, int], off: float = 0.237
) -> Tensor:
    """Linear parts (N, K, 2, 2) as maps of the output's centre to the source's, off which no kink is met."""
    source, out = (torch.tensor([(w - 1) / 2, (h - 1) / 2]).double() for h, w in (in_size, out_size))
    return torch.cat([linear, (source + off - linear @ out)[..., None]], -1)


def turns(N: int, K: int, scale: float = 1.0) -> Tensor:
    angle = torch.rand(N, K, dtype=torch.float64) * 2 * math.pi
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return torch.stack([cos, -sin, sin, cos], -1).view(N, K, 2, 2)


def gradients(x: Tensor, matrix: Tensor, g: Tensor, mode: str, padding: str, how=ops) -> list[Tensor]:
    """In the image, and in the matrix where it is differentiable."""
    x, matrix = x.detach().requires_grad_(), matrix.detach().requires_grad_(mode != "nearest")
    y = how.affine(x, matrix, size=tuple(g.shape[-2:]), interpolation=mode, padding_mode=padding)
    return list(torch.autograd.grad(y, [x, matrix] if mode != "nearest" else [x], g))


def check(x: Tensor, matrix: Tensor, size: tuple[int, int], mode: str, padding: str) -> None:
    """Errors are relative to the same sums of magnitudes, so that nothing hides behind a large pixel."""
    g = torch.randn(*matrix.shape[:2], x.shape[1], *size, dtype=x.dtype)
    actual = gradients(x, matrix, g, mode, padding)
    expected = gradients(x.double(), matrix, g.double(), mode, padding, reference)
    bound, *_ = gradients(x.double(), matrix, g.double().abs(), mode, padding, reference)
    eps = 2e-5 if x.dtype == torch.float32 else 1e-12
    assert ((actual[0].double() - expected[0]).abs() <= eps * (bound + g.double().abs().mean())).all()
    if mode != "nearest":
        scale = g.double().abs().sum((2, 3, 4)).amax() * x.double().abs().amax() * max(size)
        assert (actual[1] - expected[1]).abs().max() <= eps * 0.1 * scale


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65])
def test_widths(width: int, mode: str, padding: str, dtype: torch.dtype) -> None:
    for size, out in [((6, width), (5, 11)), ((width, 3), (9, width)), ((7, 10), (4, width))]:
        x = torch.randn(2, 2, *size, dtype=dtype)
        check(x, about_centres(turns(2, 1), size, out), out, mode, padding)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (70, 64)], ids=str)
def test_shapes_and_several_matrices(size: tuple[int, int], padding: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, *size, dtype=dtype)
    matrix = about_centres(turns(2, 3) + 0.1 * torch.randn(2, 3, 2, 2).double(), size, (40, 37))
    for mode in MODES:
        check(x, matrix, (40, 37), mode, padding)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("scale", [0.01, 0.3, 3.1, 40.7])
def test_zooms(scale: float, padding: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, 2, 33, 28, dtype=dtype)
    for mode in MODES:
        check(x, about_centres(turns(2, 1, scale), (33, 28), (31, 40)), (31, 40), mode, padding)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize(
    "linear", [[[0, 0], [0, 0]], [[1.3, 2.6], [0.5, 1]], [[1e-40, 1], [1, -1e-9]]], ids=str
)
def test_singular_and_nearly_singular_matrices(
    linear: list[list[float]], padding: str, dtype: torch.dtype
) -> None:
    matrix = about_centres(torch.tensor([[linear]]).double(), (20, 18), (19, 35))
    x = torch.randn(1, 2, 20, 18, dtype=dtype)
    for mode in MODES:
        check(x, matrix, (19, 35), mode, padding)


@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("shift", [-17.3, 29.6, 1e5 + 0.3])
def test_shifts_far_outside(shift: float, padding: str) -> None:
    x = torch.randn(1, 2, 16, 17, dtype=torch.float64)
    for axis in (0, 1):
        matrix = about_centres(turns(1, 1), (16, 17), (16, 40))
        matrix[..., axis, 2] += shift
        g = torch.randn(1, 1, 2, 16, 40, dtype=torch.float64)
        actual = gradients(x, matrix, g, "bilinear", padding)
        expected = gradients(x, matrix, g, "bilinear", padding, reference)
        for a, e in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-8)


@kernels
@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("entry", [1e7, -1e19, 1e300, math.inf, math.nan])
def test_huge_matrices_stay_inside(entry: float, padding: str) -> None:
    x, g = torch.randn(1, 2, 6, 9), torch.randn(1, 6, 2, 5, 12)
    matrix = about_centres(turns(1, 6), (6, 9), (5, 12))
    for k in range(6):
        matrix[0, k].view(-1)[k] = entry
    for mode in MODES:
        gx, *_ = gradients(x, matrix, g, mode, padding)
        assert gx.isfinite().all()
        assert gx.abs().sum() <= g.abs().sum() * 1.001


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("linear", [[[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[2, 1], [0, 3]]], ids=str)
def test_adjoint_of_permutations_is_exact(linear: list[list[int]], mode: str) -> None:
    matrix = about_centres(torch.tensor([[linear]]).double(), (9, 9), (9, 9), off=0)
    g = torch.randn(1, 1, 2, 9, 9)
    (gx, *_) = gradients(torch.zeros(1, 2, 9, 9), matrix, g, mode, "constant")
    (expected, *_) = gradients(torch.zeros(1, 2, 9, 9), matrix, g, "nearest", "constant", reference)
    assert torch.equal(gx, expected)


@kernels
def test_infinite_gradients_of_quarter_turns_stay_single() -> None:
    g = torch.randn(1, 1, 1, 3, 3)
    g[..., 0, 1], g[..., 2, 2] = math.inf, math.nan
    matrix = about_centres(torch.tensor([[[[0, -1], [1, 0]]]]).double(), (3, 3), (3, 3), off=0)
    (gx, *_) = gradients(torch.zeros(1, 1, 3, 3), matrix, g, "bilinear", "constant")
    expected = torch.rot90(g[:, 0], -1, (-2, -1))
    torch.testing.assert_close(gx, expected, rtol=0, atol=0, equal_nan=True)


@kernels
@pytest.mark.parametrize("padding", PADDING_MODES)
def test_an_image_does_not_disturb_another(padding: str) -> None:
    x, matrix = torch.randn(3, 2, 11, 13), about_centres(turns(3, 1), (11, 13), (11, 13))
    g = torch.randn(3, 1, 2, 11, 13)
    clean = gradients(x, matrix, g, "bilinear", padding)
    x[1], g[1] = math.inf, math.nan
    for a, e in zip(gradients(x, matrix, g, "bilinear", padding), clean, strict=True):
        assert torch.equal(a[[0, 2]], e[[0, 2]])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("mode", MODES)
def test_adjoint_identity(mode: str, padding: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 45, 52, dtype=dtype)
    matrix = about_centres(turns(2, 2), (45, 52), (50, 47))
    y = ops.affine(x, matrix, size=(50, 47), interpolation=mode, padding_mode=padding)
    g = torch.randn_like(y)
    gx = gradients(x, matrix, g, mode, padding)[0]
    error = (g.double() * y.double()).sum() - (gx.double() * x.double()).sum()
    assert error.abs() <= (1e-12 if dtype == torch.float64 else 1e-5) * (g * y).abs().sum()


@kernels
@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("shape", [(7, 1, 28, 28), (1, 5, 90, 120), (2, 40, 64, 65)], ids=str)
def test_gradients_do_not_depend_on_threads(shape: tuple[int, int, int, int], padding: str) -> None:
    x, size = torch.randn(shape), (shape[2], shape[3])
    matrix = about_centres(turns(shape[0], 2), size, size)
    g = torch.randn(shape[0], 2, *shape[1:])
    one = gradients(x, matrix, g, "bilinear", padding)
    torch.set_num_threads(2)
    try:
        two = gradients(x, matrix, g, "bilinear", padding)
    finally:
        torch.set_num_threads(1)
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)


def test_channels_beyond_the_cache() -> None:
    x = torch.randn(1, 9, 150, 160)
    check(x, about_centres(turns(1, 2), (150, 160), (33, 40)), (33, 40), "bilinear", "constant")
