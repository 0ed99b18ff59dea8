"""The contract of the affine operator: values, any derivative, vmap, dtypes, layouts, sizes, compile."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast import backend, ops, reference
from rotfast.testing import assert_close, check_derivatives, check_vmap

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
PADDING_MODES = ("constant", "border", "reflection")
MODES = list(product(INTERPOLATIONS, PADDING_MODES))
HALF = (torch.float16, torch.bfloat16)
kernels = pytest.mark.skipif(backend.why_not_compiled() is not None, reason="needs the compiled kernels")


def turn(angle: float, in_size: tuple[int, int], out_size: tuple[int, int], scale: float = 1.0) -> Tensor:
    """Output to source about the centres: degrees, and how many source pixels an output pixel is wide."""
    cos, sin = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    (h, w), (oh, ow) = (((n - 1) / 2 for n in size) for size in (in_size, out_size))
    return torch.tensor(
        [[cos, -sin, w - cos * ow + sin * oh], [sin, cos, h - sin * ow - cos * oh]], dtype=torch.float64
    )


def matrices(N: int, K: int, in_size: tuple[int, int], out_size: tuple[int, int], seed: int = 0) -> Tensor:
    """Turned, sheared, stretched and shifted, differently for each, and never at the kernel's kinks."""
    generator = torch.Generator().manual_seed(seed)
    angles = torch.rand(N * K, generator=generator) * 360
    m = torch.stack([turn(float(a), in_size, out_size) for a in angles])
    return (m + 0.1 * torch.randn(m.shape, dtype=torch.float64, generator=generator)).unflatten(0, (N, K))


def loop(x: Tensor, matrix: Tensor, fill: Tensor, size: tuple[int, int], mode: str, padding: str) -> Tensor:
    """The definition, one pixel at a time."""

    def index(i: int, n: int) -> int | None:
        if 0 <= i < n:
            return i
        if padding == "constant":
            return None
        if padding == "border" or n == 1:
            return min(max(i, 0), n - 1)
        return (n - 1) - abs(i % (2 * (n - 1)) - (n - 1))

    def kernel(t: float) -> float:
        t, a = abs(t), -0.75
        if mode == "bilinear":
            return max(0.0, 1 - t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    N, C, H, W = x.shape
    K = matrix.shape[1]
    y = torch.zeros(N, K, C, *size, dtype=torch.float64)
    for n, k, c, Y, X in product(range(N), range(K), range(C), range(size[0]), range(size[1])):
        u, v = (matrix[n, k] @ torch.tensor([X, Y, 1.0], dtype=torch.float64)).tolist()
        if mode == "nearest":
            taps = [(round(v), round(u), 1.0)]
        else:
            columns, rows = (range(math.floor(p) - 1, math.floor(p) + 3) for p in (u, v))
            taps = [(j, i, kernel(v - j) * kernel(u - i)) for j in rows for i in columns]
        for j, i, weight in taps:
            row, column = index(j, H), index(i, W)
            outside = row is None or column is None
            y[n, k, c, Y, X] += weight * float(fill[c] if outside else x[n, c, row, column])
    return y


def resample(
    x: Tensor, matrix: Tensor, mode: str = "bilinear", padding: str = "constant", size=(4, 6), **options
) -> Tensor:
    return ops.affine(x, matrix, size=size, interpolation=mode, padding_mode=padding, **options)


@pytest.mark.parametrize("in_size", [(5, 4), (1, 1), (1, 3), (2, 1)], ids=str)
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_value_is_the_definition(mode: str, padding: str, in_size: tuple[int, int]) -> None:
    x = torch.randn(2, 2, *in_size, dtype=torch.float64)
    matrix, fill = matrices(2, 3, in_size, (4, 6)), torch.tensor([0.5, -2.0], dtype=torch.float64)
    y = resample(x, matrix, mode, padding, fill=fill)
    assert_close(y, loop(x, matrix, fill, (4, 6), mode, padding))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF, torch.uint8], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 28, 28), (2, 3, 33, 31), (1, 4, 64, 17), (3, 2, 9, 130)], ids=str)
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_value_is_the_reference_in_float64(
    mode: str, padding: str, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    x = (256 * x).to(dtype) if dtype == torch.uint8 else x.to(dtype)
    size = (shape[2] + 5, shape[3] - 4)
    matrix = matrices(shape[0], 2, shape[2:], size)
    fill = torch.rand(shape[1], dtype=torch.float64)
    y = resample(x, matrix, mode, padding, size, fill=fill)
    expected = reference.affine(x.double(), matrix, fill, size=size, interpolation=mode, padding_mode=padding)
    assert y.dtype == dtype
    if dtype == torch.uint8:
        expected = expected.clamp(0, 255)
        assert (y.double() - expected).abs().max() <= 0.5 + 1e-4
    elif dtype in HALF:  # one rounding of the float32 result
        assert ((y.double() - expected).abs() <= torch.finfo(dtype).eps * (expected.abs() + 1e-3)).all()
    else:
        atol = 1e-5 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(y, expected.to(dtype), rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
def test_large_images_keep_their_precision(dtype: torch.dtype) -> None:
    x = torch.rand(1, 1, 1024, 1024).to(dtype)
    matrix = turn(33.3, (1024, 1024), (1024, 1024)).expand(1, 1, 2, 3)
    y = resample(x, matrix, size=(1024, 1024))
    expected = reference.affine(
        x.double(), matrix, size=(1024, 1024), interpolation="bilinear", padding_mode="constant"
    )
    bound = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps * 0.5 + 1e-5
    assert (y.double() - expected).abs().max() <= bound


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("mode", INTERPOLATIONS)
def test_value_is_that_of_grid_sample(mode: str, align_corners: bool) -> None:
    x = torch.rand(3, 2, 12, 17, dtype=torch.float64)
    matrix = matrices(3, 1, (12, 17), (12, 17))
    u, v = (p.squeeze(1) for p in reference.positions(matrix, (12, 17)))
    if align_corners:
        grid = torch.stack([2 * u / 16 - 1, 2 * v / 11 - 1], -1)
    else:
        grid = torch.stack([(2 * u + 1) / 17 - 1, (2 * v + 1) / 12 - 1], -1)
    for ours, theirs in zip(PADDING_MODES, ("zeros", "border", "reflection"), strict=True):
        if ours == "reflection" and not align_corners:
            continue
        expected = F.grid_sample(x, grid, mode, theirs, align_corners)
        assert_close(resample(x, matrix, mode, ours, (12, 17)).squeeze(1), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF, torch.uint8], ids=str)
@pytest.mark.parametrize("mode", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(7, 7), (8, 8), (5, 9)], ids=str)
def test_quarter_turns_are_exact(size: tuple[int, int], mode: str, dtype: torch.dtype) -> None:
    x = (256 * torch.rand(1, 3, *size)).to(dtype)
    for quarter, (cos, sin) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        out = size if quarter % 2 == 0 else size[::-1]
        (h, w), (oh, ow) = (((n - 1) / 2 for n in s) for s in (size, out))
        matrix = torch.tensor(
            [[[[cos, -sin, w - cos * ow + sin * oh], [sin, cos, h - sin * ow - cos * oh]]]],
            dtype=torch.float64,
        )
        y = resample(x, matrix, mode, size=out)[:, 0]
        assert torch.equal(y, torch.rot90(x, quarter, (-2, -1)))


@kernels
def test_quarter_turns_of_infinite_pixels_are_exact() -> None:
    x = torch.tensor([[[[math.inf, 1.0], [math.nan, -math.inf]]]])
    matrix = torch.tensor([[[[0.0, -1.0, 1.0], [1.0, 0.0, 0.0]]]], dtype=torch.float64)
    expected = torch.rot90(x, 1, (-2, -1))[:, None]
    torch.testing.assert_close(resample(x, matrix, size=(2, 2)), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("padding", ["constant", "border"])
def test_infinite_pixels_spread_as_in_grid_sample(padding: str) -> None:
    x = torch.rand(2, 1, 9, 9)
    x[0, 0, 0, 4], x[0, 0, 8, 8], x[1, 0, 4, 0] = math.inf, math.nan, -math.inf
    matrix = matrices(2, 1, (9, 9), (9, 9))
    u, v = (p.squeeze(1).float() for p in reference.positions(matrix, (9, 9)))
    grid = torch.stack([(2 * u + 1) / 9 - 1, (2 * v + 1) / 9 - 1], -1)
    theirs = F.grid_sample(x, grid, "bilinear", padding.replace("constant", "zeros"), False)
    ours = resample(x, matrix, "bilinear", padding, (9, 9)).squeeze(1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("shift", [1e4, -3e9, 1e30, math.inf, math.nan])
def test_wild_positions_read_nothing_outside(shift: float, padding: str) -> None:
    x = torch.rand(1, 2, 5, 6)
    matrix = torch.tensor([[[[1.0, 0.0, shift], [0.0, 1.0, -shift]]]], dtype=torch.float64)
    for mode in INTERPOLATIONS:
        y = resample(x, matrix, mode, padding, (5, 6))
        assert y.isfinite().all()
        assert y.min() >= -0.5
        assert y.max() <= 1.5


@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("scale", [50.3, -1e7, 1e11, 1e200])
def test_gradients_at_wild_scales(scale: float, padding: str) -> None:
    x = torch.rand(1, 1, 5, 6, dtype=torch.float64)
    matrix = torch.tensor([[[[scale, 0.0, 0.3], [0.0, 1.1, 0.2]]]], dtype=torch.float64)
    for mode in INTERPOLATIONS:
        pixels, same = (x.clone().requires_grad_() for _ in range(2))
        y = resample(pixels, matrix, mode, padding, (4, 5))
        expected = reference.affine(same, matrix, size=(4, 5), interpolation=mode, padding_mode=padding)
        g = torch.rand_like(y)
        for a, e in zip(
            torch.autograd.grad(y, pixels, g), torch.autograd.grad(expected, same, g), strict=True
        ):
            assert_close(a, e)


def case(
    mode: str, padding: str, size: tuple[int, int] = (3, 4)
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    fill = torch.tensor([0.3, -0.7], dtype=torch.float64)

    def function(x: Tensor, matrix: Tensor) -> Tensor:
        return resample(x, matrix, mode, padding, size, fill=fill)

    return function, [torch.randn(2, 2, 4, 3, dtype=torch.float64), matrices(2, 2, (4, 3), size)]


@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_first_and_second_derivatives(mode: str, padding: str) -> None:
    function, tensors = case(mode, padding)
    if mode == "nearest":
        check_derivatives(lambda x: function(x, tensors[1]), tensors[:1])
        y = function(tensors[0], tensors[1].requires_grad_())
        assert torch.autograd.grad(y.sum(), tensors[1])[0].count_nonzero() == 0
        return
    check_derivatives(function, tensors)


@pytest.mark.parametrize(("mode", "padding"), [m for m in MODES if m[0] != "nearest"])
def test_third_derivative(mode: str, padding: str) -> None:
    _, tensors = case(mode, padding)
    leaves = [t.requires_grad_() for t in tensors]

    def third(affine: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        y = affine(*leaves, size=(3, 4), interpolation=mode, padding_mode=padding)
        value = y.pow(3).sum()
        for _ in range(2):
            value = sum(g.pow(2).sum() for g in torch.autograd.grad(value, leaves, create_graph=True))
        return torch.autograd.grad(value, leaves)

    for a, e in zip(third(ops.affine), third(reference.affine), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF], ids=str)
@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (1, 3, 33, 31), (2, 2, 9, 70)], ids=str)
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_gradients_at_kernel_sizes(
    mode: str, padding: str, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    x = torch.rand(shape, dtype=torch.float64).to(dtype).requires_grad_()
    matrix = matrices(shape[0], 2, shape[2:], (30, 27)).requires_grad_()
    y = resample(x, matrix, mode, padding, (30, 27))
    g = torch.rand(y.shape, dtype=torch.float64).to(dtype)
    wide = x.detach().double().requires_grad_()
    expected = reference.affine(wide, matrix, size=(30, 27), interpolation=mode, padding_mode=padding)
    inputs = [[x, matrix], [wide, matrix]] if mode != "nearest" else [[x], [wide]]
    actual = torch.autograd.grad(y, inputs[0], g)
    for a, e in zip(actual, torch.autograd.grad(expected, inputs[1], g.double()), strict=True):
        tolerance = {torch.float64: 1e-11, torch.float32: 2e-5}.get(dtype, 2 * torch.finfo(dtype).eps)
        assert ((a.double() - e).abs().max() / e.abs().max()) <= tolerance


@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_adjoint_identity(mode: str, padding: str) -> None:
    x = torch.randn(2, 3, 21, 34, dtype=torch.float64, requires_grad=True)
    y = resample(x, matrices(2, 2, (21, 34), (25, 19)), mode, padding, (25, 19))
    g = torch.randn_like(y)
    (gx,) = torch.autograd.grad(y, x, g)
    scale = (g.abs() * y.abs()).sum()
    assert ((g * y).sum() - (gx * x).sum()).abs() <= 1e-12 * scale


@pytest.mark.parametrize(("mode", "padding"), [("bilinear", "constant"), ("bicubic", "reflection")])
def test_vmap(mode: str, padding: str) -> None:
    function, tensors = case(mode, padding)
    check_vmap(function, tensors)
    grad = torch.func.grad(lambda x, m: function(x, m).pow(3).sum(), argnums=(0, 1))
    for in_dims in [(0, None), (None, 0), (0, 0)]:
        many = [
            torch.stack([t + 0.01 * i for i in range(3)]) if d == 0 else t
            for t, d in zip(tensors, in_dims, strict=True)
        ]
        batched = torch.vmap(grad, in_dims=in_dims)(*many)
        for i in range(3):
            single = grad(*(t[i] if d == 0 else t for t, d in zip(many, in_dims, strict=True)))
            for b, s in zip(batched, single, strict=True):
                assert_close(b[i], s)


def test_nested_vmap_of_second_derivatives() -> None:
    _, (x, matrix) = case("bilinear", "border")

    def second(affine: Callable[..., Tensor], x: Tensor, matrix: Tensor) -> tuple[Tensor, ...]:
        def norm(x: Tensor, matrix: Tensor) -> Tensor:
            grads = torch.func.grad(
                lambda a, m: (
                    affine(a, m, size=(3, 4), interpolation="bilinear", padding_mode="border").pow(3).sum()
                ),
                argnums=(0, 1),
            )(x, matrix)
            return sum(g.pow(2).sum() for g in grads)

        return torch.func.grad(norm, argnums=(0, 1))(x, matrix)

    xs = torch.stack([x, x + 1])
    ms = torch.stack([matrix, matrix + 0.01, matrix - 0.02])
    inner = torch.vmap(lambda a, m: second(ops.affine, a, m), in_dims=(None, 0))
    actual = torch.vmap(inner, in_dims=(0, None))(xs, ms)
    for i, j in product(range(2), range(3)):
        for a, e in zip(actual, second(reference.affine, xs[i], ms[j]), strict=True):
            torch.testing.assert_close(a[i, j], e, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float16], ids=str)
def test_layouts(dtype: torch.dtype) -> None:
    x = (256 * torch.rand(2, 3, 9, 8)).to(dtype)
    matrix = matrices(2, 1, (9, 8), (9, 8))
    expected = resample(x, matrix, size=(9, 8))
    last = resample(x.to(memory_format=torch.channels_last), matrix, size=(9, 8))
    assert torch.equal(last, expected)
    assert last[:, 0].is_contiguous(memory_format=torch.channels_last)
    strided = torch.stack([x, x], -1)[..., 0]
    assert torch.equal(resample(strided, matrix.mT.contiguous().mT, size=(9, 8)), expected)


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (2, 0, 5, 5)], ids=str)
def test_empty_batches(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    matrix = torch.zeros(shape[0], 2, 2, 3, dtype=torch.float64, requires_grad=True)
    y = resample(x, matrix)
    assert y.shape == (shape[0], 2, shape[1], 4, 6)
    gx, gm = torch.autograd.grad(y.sum(), [x, matrix])
    assert gx.shape == x.shape
    assert gm.count_nonzero() == 0


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_bytes_to_normalized_floats(mode: str, padding: str, channels_last: bool) -> None:
    x = torch.randint(256, (2, 3, 20, 33), dtype=torch.uint8)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    mean, std = torch.tensor([[0.1, 0.5, 0.2], [0.3, 0.25, 1.5]], dtype=torch.float64)
    fill = torch.tensor([0.0, 255.0, 40.0], dtype=torch.float64)
    matrix = matrices(2, 2, (20, 33), (21, 30))
    y = resample(x, matrix, mode, padding, (21, 30), fill=fill, mean=mean, std=std)
    raw = reference.affine(
        x.double() / 255, matrix, fill / 255, size=(21, 30), interpolation=mode, padding_mode=padding
    )
    expected = (raw - mean[:, None, None]) / std[:, None, None]
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected.float(), rtol=0, atol=2e-5)
    only_mean = resample(x, matrix, mode, padding, (21, 30), mean=mean)
    zero_fill = reference.affine(
        x.double() / 255, matrix, size=(21, 30), interpolation=mode, padding_mode=padding
    )
    torch.testing.assert_close(only_mean, (zero_fill - mean[:, None, None]).float(), rtol=0, atol=2e-5)


def test_normalization_keeps_gradients() -> None:
    mean, std = torch.tensor([[0.1, 0.5], [0.3, 0.25]], dtype=torch.float64)
    _, tensors = case("bilinear", "constant")
    check_derivatives(lambda x, m: resample(x, m, size=(3, 4), mean=mean, std=std), tensors)


@kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize(("mode", "padding"), [("bilinear", "constant"), ("bicubic", "border")])
def test_results_do_not_depend_on_threads(mode: str, padding: str, dtype: torch.dtype) -> None:
    x = torch.rand(5, 2, 40, 37).to(dtype).requires_grad_()
    matrix = matrices(5, 3, (40, 37), (41, 39)).requires_grad_()

    def run() -> list[Tensor]:
        y = resample(x, matrix, mode, padding, (41, 39))
        return [y, *torch.autograd.grad(y, [x, matrix], torch.ones_like(y) * y.detach())]

    one = run()
    torch.set_num_threads(2)
    try:
        two = run()
    finally:
        torch.set_num_threads(1)
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)


@kernels
def test_opcheck() -> None:
    x, matrix = torch.rand(2, 3, 6, 5), matrices(2, 2, (6, 5), (4, 7))
    fill = torch.rand(3, dtype=torch.float64)
    check = torch.library.opcheck
    utilities = ("test_schema", "test_faketensor")
    affine = torch.ops.rotfast.affine.default
    line = torch.rand(2, 6, 3).mT.unsqueeze(-1)  # channels_last by all strides that matter
    for image in (x, x.to(memory_format=torch.channels_last), (255 * x).to(torch.uint8), line):
        check(affine, (image, matrix, fill, None, None, [4, 7], 1, 0, [0, 0]), test_utils=utilities)
        check(affine, (image, matrix, None, fill, fill, [4, 7], 2, 1, [0, 1]), test_utils=utilities)
    g = torch.rand(2, 2, 3, 4, 7)
    image_grad = torch.ops.rotfast.affine_image_grad.default
    check(image_grad, (g, matrix, [6, 5], 1, 0, [0, 0]), test_utils=utilities)
    matrix_grad = torch.ops.rotfast.affine_matrix_grad.default
    check(matrix_grad, (g, x, matrix, fill, 1, 2, [0, 0]), test_utils=utilities)


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [False, True])
def test_compiles_whole(recorded: bool) -> None:
    x = torch.rand(2, 1, 8, 8, requires_grad=recorded)
    matrix = matrices(2, 1, (8, 8), (8, 8)).requires_grad_(recorded)

    def run(x: Tensor, matrix: Tensor) -> Tensor:
        return resample(x, matrix, size=(8, 8)).sin()

    compiled = torch.compile(run, fullgraph=True)
    assert_close(compiled(x, matrix), run(x, matrix))
    if recorded:
        actual = torch.autograd.grad(compiled(x, matrix).sum(), [x, matrix])
        for a, e in zip(actual, torch.autograd.grad(run(x, matrix).sum(), [x, matrix]), strict=True):
            torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_normalized_half_types_are_rounded_once(dtype: torch.dtype) -> None:
    x = torch.rand(2, 1, 20, 20).to(dtype)
    mean, std = torch.tensor([[0.45], [0.225]], dtype=torch.float64)
    matrix = matrices(2, 1, (20, 20), (20, 20))
    plain = resample(x, matrix, size=(20, 20), mean=mean, std=std)
    recorded = resample(x.requires_grad_(), matrix, size=(20, 20), mean=mean, std=std)
    wide = resample(x.detach().double(), matrix, size=(20, 20), mean=mean, std=std)
    for y in (plain, recorded):
        assert y.dtype == dtype
        assert ((y.double() - wide).abs() <= 0.51 * torch.finfo(dtype).eps * (wide.abs() + 1e-3)).all()
