"""The contract of the quarter turns: values bit for bit, any derivative, vmap, dtypes, layouts, sizes."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from rotfast import backend, ops, reference
from rotfast.testing import check_derivatives

DTYPES = (
    *(torch.uint8, torch.bool, torch.int16, torch.int64, torch.float16, torch.bfloat16),
    *(torch.float32, torch.float64, torch.complex64, torch.complex128),
)
# Below, at and above a tile of every element size; several strips of rows, and several blocks in a strip.
SQUARE = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 28, 33, 65, 150, 400]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.mT.contiguous().mT,
    "every-second": lambda x: torch.stack([x, torch.zeros_like(x)], -1)[..., 0],
    "slice": lambda x: torch.cat([x, x], 3)[..., x.shape[3] :],
    "channels_last-slice": lambda x: torch.cat([x, x], 1).to(memory_format=torch.channels_last)[
        :, x.shape[1] :
    ],
    "expanded": lambda x: x[:, :1, :1].expand_as(x),
}
kernels = pytest.mark.skipif(backend.why_not_compiled() is not None, reason="compiled kernels are not in use")


def images(N: int, C: int, H: int, W: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return (100 * torch.rand(N, C, H, W)).to(dtype)


def turns(*shape: int, step: int = 1) -> Tensor:
    """All residues, of negative numbers, too."""
    return (torch.arange(-3, torch.Size(shape).numel() - 3) * step).reshape(shape)


def loop(x: Tensor, k: Tensor) -> Tensor:
    """The definition, one image at a time."""
    return torch.stack([torch.rot90(image, int(q), (-2, -1)) for image, q in zip(x, k, strict=True)])


def all_turns(x: Tensor) -> Tensor:
    return torch.cat([torch.rot90(x, q, (-2, -1)) for q in range(4)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SQUARE)
def test_value_is_rot90(size: int, dtype: torch.dtype) -> None:
    x = images(5, 2, size, size, dtype)
    assert torch.equal(ops.rotate90(x, turns(5)), loop(x, turns(5)))
    assert torch.equal(ops.rotate90_all(x), all_turns(x))


@pytest.mark.parametrize(("size", "dtype"), [(503, torch.float32), (1001, torch.uint8)], ids=str)
def test_large_results_in_new_and_in_used_memory(size: int, dtype: torch.dtype) -> None:
    x = images(3, 1, size, size, dtype)
    expected, k = all_turns(x), turns(3, 4)
    for _ in range(4):  # freed memory is handed out again
        assert torch.equal(ops.rotate90_all(x), expected)
        assert torch.equal(ops.rotate90(x, k)[:, 2], loop(x, k[:, 2]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [(1, 9), (3, 2), (40, 17), (16, 300), (300, 4)], ids=str)
def test_half_turns_of_rectangles(size: tuple[int, int], dtype: torch.dtype) -> None:
    x = images(4, 3, *size, dtype)
    assert torch.equal(ops.rotate90(x, turns(4, step=2)), loop(x, turns(4, step=2)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout: str, channels: int, dtype: torch.dtype) -> None:
    for size in (3, 20):
        x = LAYOUTS[layout](images(4, channels, size, size, dtype))
        assert torch.equal(ops.rotate90(x, turns(4)), loop(x, turns(4)))
        assert torch.equal(ops.rotate90_all(x), all_turns(x))
    x = LAYOUTS[layout](images(4, channels, 5, 21, dtype))
    assert torch.equal(ops.rotate90(x, turns(4, step=2)), loop(x, turns(4, step=2)))


@kernels
def test_channels_last_is_kept() -> None:
    x = images(2, 3, 9, 9).to(memory_format=torch.channels_last)
    for y in (ops.rotate90(x, turns(2)), ops.rotate90_all(x), ops.rotate90(x, turns(2, 3))[1]):
        assert y.is_contiguous(memory_format=torch.channels_last)
    assert ops.rotate90(images(2, 1, 9, 9), turns(2)).is_contiguous()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_several_turns_of_every_image(layout: str) -> None:
    x, k = LAYOUTS[layout](images(3, 2, 6, 6)), turns(3, 5)
    y = ops.rotate90(x, k)
    assert y.shape == (3, 5, 2, 6, 6)
    for column in range(5):
        assert torch.equal(y[:, column], loop(x, k[:, column]))


def test_strided_turns() -> None:
    x, k = images(3, 1, 5, 5), turns(5, 3).mT
    assert torch.equal(ops.rotate90(x, k), ops.rotate90(x, k.contiguous()))
    assert torch.equal(ops.rotate90(x, k[:, 2]), loop(x, k[:, 2]))
    one = torch.tensor([3]).expand(3)
    assert torch.equal(ops.rotate90(x, one), loop(x, one))


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 3, 3), (2, 1, 0, 0)], ids=str)
def test_nothing_to_turn(shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, requires_grad=True)
    y, z, w = ops.rotate90(x, turns(shape[0])), ops.rotate90_all(x), ops.rotate90(x, turns(shape[0], 0))
    assert y.shape == shape
    assert z.shape == (4 * shape[0], *shape[1:])
    assert w.shape == (shape[0], 0, *shape[1:])
    assert all(torch.autograd.grad(t.sum(), x)[0].shape == shape for t in (y, z, w))


def test_no_turns_of_images_have_a_zero_gradient() -> None:
    x = images(2, 1, 3, 3).requires_grad_()
    y = ops.rotate90(x, torch.empty(2, 0, dtype=torch.int64))
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.zeros_like(x))


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_first_and_second_derivatives(size: int) -> None:
    x = images(2, 2, size, size)
    check_derivatives(lambda x: ops.rotate90(x, turns(2)).sin(), [x])
    check_derivatives(lambda x: ops.rotate90(x, turns(2, 3)).sin(), [x])
    check_derivatives(lambda x: ops.rotate90_all(x).sin(), [x])


@pytest.mark.parametrize(
    ("ours", "definition"),
    [(lambda x: ops.rotate90(x, turns(2)), lambda x: loop(x, turns(2))), (ops.rotate90_all, all_turns)],
    ids=["rotate90", "rotate90_all"],
)
def test_fourth_derivative(ours: Callable[[Tensor], Tensor], definition: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(2, 2, 5, 5, dtype=torch.float64).requires_grad_()
    weights = torch.rand(definition(x).shape, dtype=torch.float64)

    def fourth(function: Callable[[Tensor], Tensor]) -> Tensor:
        value = (function(x).pow(5) * weights).sum()
        for _ in range(3):
            (grad,) = torch.autograd.grad(value, x, create_graph=True)
            value = function(grad).pow(2).sum()
        return torch.autograd.grad(value, x)[0]

    torch.testing.assert_close(fourth(ours), fourth(definition), rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.complex128], ids=str)
def test_gradient_is_the_adjoint(dtype: torch.dtype) -> None:
    x = images(3, 2, 20, 20, dtype).requires_grad_()
    numbers = torch.arange(x.numel()).reshape(x.shape)
    functions = (
        lambda x: ops.rotate90(x, turns(3)),
        lambda x: ops.rotate90(x, turns(3, 2)),
        ops.rotate90_all,
    )
    for function in functions:
        y = function(x)
        g = torch.randint(-8, 8, y.shape).to(dtype)  # sums of them are exact
        expected = torch.zeros_like(x).flatten().index_add(0, function(numbers).flatten(), g.flatten())
        assert torch.equal(torch.autograd.grad(y, x, g)[0], expected.reshape(x.shape))


def test_gradient_of_a_strided_cotangent() -> None:
    x = images(3, 2, 6, 6).requires_grad_()
    for function in (lambda x: ops.rotate90(x, turns(3)), ops.rotate90_all):
        y = function(x)
        g = torch.randn_like(y)
        expected = torch.autograd.grad(y, x, g, retain_graph=True)[0]
        assert torch.equal(torch.autograd.grad(y, x, g.mT.contiguous().mT)[0], expected)


@pytest.mark.parametrize(("x_dim", "k_dim"), list(product((0, -1, None), repeat=2))[:-1])
def test_vmap_over_every_subset(x_dim: int | None, k_dim: int | None) -> None:
    for shape in ((2,), (2, 5)):
        many_x, many_k = images(3 * 2, 2, 4, 4).unflatten(0, (3, 2)), turns(3, *shape)
        x = many_x[0] if x_dim is None else many_x.movedim(0, x_dim)
        k = many_k[0] if k_dim is None else many_k.movedim(0, k_dim)
        expected = [
            ops.rotate90(many_x[0 if x_dim is None else b], many_k[0 if k_dim is None else b])
            for b in range(3)
        ]
        actual = torch.vmap(ops.rotate90, (x_dim, k_dim))(x, k)
        assert torch.equal(actual, torch.stack(expected))


@pytest.mark.parametrize("dim", [0, 2, -1])
def test_vmap_of_all_turns(dim: int) -> None:
    x = images(3 * 2, 2, 4, 4).unflatten(0, (3, 2))
    actual = torch.vmap(ops.rotate90_all, dim)(x.movedim(0, dim))
    assert torch.equal(actual, torch.stack([all_turns(one) for one in x]))


def test_nested_vmap_of_second_derivatives() -> None:
    x, k = images(2 * 3, 2, 4, 4).unflatten(0, (2, 3, 1)), turns(5, 1)

    def hessian_times_ones(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        grad = torch.func.grad(lambda x: function(x).pow(3).sum())
        return torch.func.grad(lambda x: grad(x).sum())

    def turned(x: Tensor, k: Tensor) -> Tensor:
        return hessian_times_ones(lambda x: ops.rotate90(x, k) * torch.arange(4.0))(x)

    inner = torch.vmap(turned, (None, 0))
    actual = torch.vmap(torch.vmap(inner, (0, None)), (0, None))(x, k)
    alls = torch.vmap(torch.vmap(hessian_times_ones(lambda x: ops.rotate90_all(x) * torch.arange(4.0))))(x)
    for i, j in product(range(2), range(3)):
        expected = hessian_times_ones(lambda x: all_turns(x) * torch.arange(4.0))(x[i, j])
        torch.testing.assert_close(alls[i, j], expected)
        for q in range(5):
            expected = hessian_times_ones(lambda x: loop(x, k[q]) * torch.arange(4.0))(x[i, j])  # noqa: B023
            torch.testing.assert_close(actual[i, j, q], expected)


@kernels
@pytest.mark.parametrize("size", [28, 150])
def test_result_does_not_depend_on_the_number_of_threads(size: int) -> None:
    x, k = images(50, 3, size, size, torch.float32), turns(50)
    single = ops.rotate90(x, k), ops.rotate90_all(x)
    torch.set_num_threads(2)
    try:
        double = ops.rotate90(x, k), ops.rotate90_all(x)
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(single, double, strict=True))


def test_the_reference_turns_rectangles_by_halves() -> None:
    x = torch.rand(3, 1, 2, 5)
    k = torch.tensor([-1, 0, 3])
    assert torch.equal(reference.rotate90(x, k), reference.rotate90(x, torch.tensor([2, 0, 2])))


@kernels
def test_arguments_of_the_raw_operators() -> None:
    raw, x = torch.ops.rotfast, torch.rand(2, 1, 3, 4)
    with pytest.raises(RuntimeError, match="k must be even where images are not square, got -1"):
        raw.rotate90(x, torch.tensor([2, -1]))
    with pytest.raises(RuntimeError, match="images must be square"):
        raw.rotate90_all(x)
    with pytest.raises(RuntimeError, match="k must be int64"):
        raw.rotate90(x, torch.zeros(2))
    for k in (torch.tensor(1), turns(3), turns(2, 1, 1)):
        with pytest.raises(RuntimeError, match=r"k must be \(N\) or \(N, K\)"):
            raw.rotate90(x, k)
    with pytest.raises(RuntimeError, match=r"x must be \(N, C, H, W\)"):
        raw.rotate90(x[0], turns(1))
    with pytest.raises(RuntimeError, match=r"x must be \(N, C, H, W\)"):
        raw.rotate90_all(x[0])


@kernels
def test_forward_mode_is_refused() -> None:
    x = images(1, 1, 2, 2)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(RuntimeError, match="jvp"):
            ops.rotate90(dual, turns(1))
        with pytest.raises(RuntimeError, match="jvp"):
            ops.rotate90_all(dual)


@kernels
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 2, 5, 5), (1, 3, 1, 1), (0, 2, 3, 3), (2, 1, 4, 4)], ids=str)
def test_opcheck(shape: tuple[int, ...], layout: str) -> None:
    x, utilities = LAYOUTS[layout](torch.rand(shape)), ("test_schema", "test_faketensor")
    for k in (turns(shape[0]), turns(shape[0], 3)):
        torch.library.opcheck(torch.ops.rotfast.rotate90.default, (x, k), test_utils=utilities)
    torch.library.opcheck(torch.ops.rotfast.rotate90_all.default, (x,), test_utils=utilities)


@pytest.mark.slow
def test_compiles_as_one_graph() -> None:
    def function(x: Tensor, k: Tensor) -> Tensor:
        return ops.rotate90(ops.rotate90_all(x).sin(), k).sin()

    for size in (6, 9):
        torch.compiler.reset()
        x, k = images(2, 1, size, size).requires_grad_(), turns(8)
        y = torch.compile(function, fullgraph=True, backend="aot_eager")(x, k)
        expected = loop(all_turns(x).sin(), k).sin()
        torch.testing.assert_close(y, expected)
        direction = torch.randn_like(y)
        for a, e in zip(*(torch.autograd.grad(t, x, direction) for t in (y, expected)), strict=True):
            torch.testing.assert_close(a, e)


def test_references_agree_with_the_definition() -> None:
    x = images(5, 2, 6, 6)
    assert torch.equal(reference.rotate90(x, turns(5)), loop(x, turns(5)))
    assert torch.equal(reference.rotate90(x, turns(5, 2))[:, 1], loop(x, turns(5, 2)[:, 1]))
    assert torch.equal(reference.rotate90_all(x), all_turns(x))
