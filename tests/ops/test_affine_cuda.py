"""The CUDA kernels of the resampling and of its derivatives against those of the CPU."""

from itertools import product

import pytest
import torch
from torch import Tensor

from rotfast import ops
from rotfast.ops.affine import INTERPOLATIONS, PADDING_MODES
from rotfast.testing import check_derivatives

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
MODES = list(product(INTERPOLATIONS, PADDING_MODES))
SMOOTH = [mode for mode in MODES if mode[0] != "nearest"]
HALF = (torch.float16, torch.bfloat16)
FLOATS = (torch.float64, torch.float32, *HALF)
# N, K, C, H, W, OH, OW: single pixels and lines, channels beside and over a group of four, more than a tile;
# nearly all the shared memory that images are staged in, and images too large for it.
SHAPES = [
    *((1, 1, 1, 1, 1, 3, 2), (2, 2, 3, 5, 4, 6, 7), (1, 2, 5, 9, 1, 4, 5), (1, 1, 4, 1, 7, 5, 3)),
    *((2, 1, 1, 13, 17, 16, 33), (1, 1, 2, 2, 2, 9, 9), (3, 2, 1, 28, 28, 28, 28)),
    *((1, 2, 3, 64, 64, 61, 64), (1, 1, 2, 130, 140, 33, 130)),
]


def matrices(N: int, K: int, H: int, W: int) -> Tensor:
    """Turned, sheared, stretched, and shifted so that parts of the image and of its outside are seen."""
    angle = 6.3 * torch.rand(N, K, dtype=torch.float64)
    shift = torch.randn(2, N, K, dtype=torch.float64) * 2 + torch.tensor([W / 2, H / 2])[:, None, None]
    first = torch.stack([1.1 * angle.cos(), angle.sin(), shift[0]], -1)
    return torch.stack([first, torch.stack([-angle.sin(), 0.8 * angle.cos(), shift[1]], -1)], -2)


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (200 * torch.rand(shape, dtype=torch.float64)).to(dtype)


def tolerance(dtype: torch.dtype) -> float:
    """Relative to the largest value: of sums of a few products; a last bit of a byte."""
    known = {torch.float64: 1e-12, torch.float32: 3e-6, torch.uint8: 1 / 128}
    return known[dtype] if dtype in known else 2 * torch.finfo(dtype).eps


def assert_near(there: Tensor, here: Tensor, scale: float = 0.0, factor: float = 1.0) -> None:
    assert there.is_cuda
    assert there.dtype == here.dtype
    assert there.shape == here.shape
    if here.numel() == 0:
        return
    error = (there.cpu().double() - here.double()).abs().max()
    assert error <= factor * tolerance(here.dtype) * max(here.double().abs().max().item(), scale)


def run(operator: str, *args: Tensor | list[int] | int | None) -> tuple[Tensor, Tensor]:
    """The kernel of the device and that of the CPU."""
    kernel = getattr(torch.ops.rotfast, operator)
    return kernel(*(a.cuda() if isinstance(a, Tensor) else a for a in args)), kernel(*args)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    N, K, C, H, W, *size = shape
    x, matrix, fill = images(N, C, H, W, dtype=dtype), matrices(N, K, H, W), images(C, dtype=torch.float64)
    orders = [[0, 0], [1, 0], [1, 2]] if dtype.is_floating_point else [[0, 0]]
    for kind, padding, order in product(range(3), range(3), orders):
        for image in (x, x.to(memory_format=torch.channels_last), torch.stack([x, x], -1)[..., 0]):
            for outside in (fill, None):
                args = (image, matrix, outside, None, None, size, kind, padding, order)
                there, here = run("affine", *args)
                assert there.stride() == here.stride()
                assert_near(there, here, scale=200)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8], ids=str)
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_normalized_values(mode: str, padding: str, dtype: torch.dtype) -> None:
    x, matrix = images(2, 3, 20, 33, dtype=dtype), matrices(2, 2, 20, 33)
    mean, std = torch.tensor([[0.1, 0.5, 0.2], [0.3, 0.25, 1.5]], dtype=torch.float64)
    fill = torch.tensor([0.0, 255.0, 40.0], dtype=torch.float64)
    for given in ({"mean": mean, "std": std, "fill": fill}, {"mean": mean}, {"std": std}):
        options = {"size": (21, 30), "interpolation": mode, "padding_mode": padding}
        there = ops.affine(x.cuda(), matrix.cuda(), **{k: t.cuda() for k, t in given.items()}, **options)
        assert_near(there, ops.affine(x, matrix, **given, **options))


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8], ids=str)
@pytest.mark.parametrize("mode", INTERPOLATIONS)
def test_quarter_turns_are_exact(mode: str, dtype: torch.dtype) -> None:
    x = images(1, 3, 37, 37, dtype=dtype)
    for quarter, (cos, sin) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        shift = [18 - cos * 18 + sin * 18, 18 - sin * 18 - cos * 18]
        matrix = torch.tensor([[[[cos, -sin, shift[0]], [sin, cos, shift[1]]]]], dtype=torch.float64)
        for padding in PADDING_MODES:
            y = ops.affine(x.cuda(), matrix.cuda(), size=(37, 37), interpolation=mode, padding_mode=padding)
            assert torch.equal(y[:, 0].cpu(), torch.rot90(x, quarter, (-2, -1)))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_image_gradients(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    N, K, C, H, W, *size = shape
    g, matrix = torch.randn(N, K, C, *size).to(dtype), matrices(N, K, H, W)
    for kind, padding, order in product(range(3), range(3), [[0, 0], [0, 1], [2, 1]]):
        assert_near(*run("affine_image_grad", g, matrix, [H, W], kind, padding, order), scale=1)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 2, 2, 20, 20, 300, 310)], ids=str)
def test_matrix_gradients(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    N, K, C, H, W, *size = shape
    g, x = torch.randn(N, K, C, *size).to(dtype), torch.rand(N, C, H, W).to(dtype)
    matrix, fill = matrices(N, K, H, W), torch.rand(C, dtype=torch.float64)
    factor = 1 if dtype == torch.float64 else 1e6  # the result is float64, the products are of float32
    for kind, padding, order in product(range(3), range(3), [[0, 0], [1, 0]]):
        there, here = run("affine_matrix_grad", g, x, matrix, fill, kind, padding, order)
        assert_near(there, here, scale=sum(size), factor=10 * factor)


@pytest.mark.parametrize(("mode", "padding"), SMOOTH)
def test_second_derivatives(mode: str, padding: str) -> None:
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, device="cuda")
    matrix = matrices(1, 2, 4, 3).cuda()
    check_derivatives(
        lambda x, m: ops.affine(x, m, size=(3, 3), interpolation=mode, padding_mode=padding), [x, matrix]
    )


@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_adjoint_identity(mode: str, padding: str) -> None:
    x = torch.randn(2, 3, 41, 34, dtype=torch.float64, device="cuda", requires_grad=True)
    matrix = matrices(2, 2, 41, 34).cuda()
    y = ops.affine(x, matrix, size=(45, 39), interpolation=mode, padding_mode=padding)
    g = torch.randn_like(y)
    (gx,) = torch.autograd.grad(y, x, g)
    assert ((g * y).sum() - (gx * x).sum()).abs() <= 1e-12 * (g.abs() * y.abs()).sum()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("mode", "padding"), SMOOTH)
def test_gradients_are_the_same_every_time(mode: str, padding: str, dtype: torch.dtype) -> None:
    x = images(8, 3, 64, 64, dtype=dtype).cuda().requires_grad_()
    matrix = matrices(8, 2, 64, 64).cuda().requires_grad_()
    y = ops.affine(x, matrix, size=(70, 61), interpolation=mode, padding_mode=padding)
    g = torch.randn_like(y)
    first = torch.autograd.grad(y, [x, matrix], g, retain_graph=True)
    for _ in range(3):
        again = torch.autograd.grad(y, [x, matrix], g, retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("shift", [1e4, -3e9, 1e30, float("inf"), float("nan")])
def test_wild_positions_read_nothing_outside(shift: float, padding: str) -> None:
    x = torch.rand(1, 2, 5, 6, device="cuda", requires_grad=True)
    matrix = torch.tensor([[[[1.0, 0.0, shift], [0.0, 1.0, -shift]]]], dtype=torch.float64, device="cuda")
    matrix.requires_grad_()
    for mode in INTERPOLATIONS:
        y = ops.affine(x, matrix, size=(5, 6), interpolation=mode, padding_mode=padding)
        assert ((y >= -0.5) & (y <= 1.5)).all()
        assert all(t.isfinite().all() for t in torch.autograd.grad(y.sum(), [x, matrix]))


@pytest.mark.parametrize("padding", range(3))
@pytest.mark.parametrize("scale", [50.3, -1e7, 1e11, 1e200])
def test_gradients_at_wild_scales(scale: float, padding: int) -> None:
    matrix = torch.tensor([[[[scale, 0.0, 0.3], [0.0, 1.1, 0.2]]]], dtype=torch.float64)
    g = torch.randn(1, 1, 1, 4, 5, dtype=torch.float64)
    for kind in range(3):
        assert_near(*run("affine_image_grad", g, matrix, [5, 6], kind, padding, [0, 0]), scale=1)


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (2, 0, 5, 5)], ids=str)
@pytest.mark.parametrize("size", [(4, 6), (0, 3), (40, 60)], ids=str)  # the last one in several shares
def test_nothing_to_resample(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    x = torch.randn(shape, device="cuda", requires_grad=True)
    matrix = torch.zeros(shape[0], 2, 2, 3, dtype=torch.float64, device="cuda", requires_grad=True)
    y = ops.affine(x, matrix, size=size, interpolation="bilinear", padding_mode="constant")
    assert y.shape == (shape[0], 2, shape[1], *size)
    gx, gm = torch.autograd.grad(y.sum(), [x, matrix])
    assert gx.count_nonzero() + gm.count_nonzero() == 0


def test_arguments_on_two_devices() -> None:
    x, matrix, fill = torch.rand(1, 1, 3, 3), matrices(1, 1, 3, 3), torch.zeros(1, dtype=torch.float64)
    options = (None, None, [3, 3], 1, 0, [0, 0])
    with pytest.raises(RuntimeError, match="matrix must be on the device of the images"):
        torch.ops.rotfast.affine(x.cuda(), matrix, None, *options)
    with pytest.raises(RuntimeError, match="fill, mean and std must be on the device of the images"):
        torch.ops.rotfast.affine(x.cuda(), matrix.cuda(), fill, *options)
