"""The Triton launchers of share_linear against a formula, and under the autograd Functions."""

import sys

import pytest
import torch
from torch import Tensor

from rotfast.ops.share_linear import Linear, ShareLinear
from rotfast.ops.share_linear_orders import form_grad
from rotfast.testing import assert_close, check_derivatives, check_vmap

kernels = pytest.importorskip("rotfast.ops.triton.share_linear")
tuning = pytest.importorskip("rotfast.ops.triton.tuning")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# N, I, O: one entry, odd sizes, a head whose sum is split, several tiles each way.
SIZES = [(1, 1, 1), (7, 5, 3), (19, 1203, 10), (70, 33, 130)]


def draw(
    sizes: tuple[int, int, int], device: torch.device, dtype: torch.dtype, batched: str = ""
) -> list[Tensor]:
    """x, W, bias and a cotangent g; those named in ``batched`` for three tasks."""
    N, I, O = sizes  # noqa: E741
    shapes = {"x": (N, I), "W": (O, I), "b": (O,), "g": (N, O)}
    tensors = (torch.randn((3,) * (n in batched) + s, dtype=torch.float64) for n, s in shapes.items())
    return [(0.3 * t).to(device, dtype) for t in tensors]


def check_all(x: Tensor, W: Tensor, bias: Tensor, g: Tensor) -> None:
    X, V, b, G = (t.double() for t in (x, W, bias, g))
    shift = b.unsqueeze(-2)
    assert_close(kernels.linear(x, W, bias), (X @ V.mT + shift).to(x.dtype))
    if x.dim() > 2 or W.dim() > 2 or bias.dim() < 2:
        assert_close(kernels.linear(x, W, None), (X @ V.mT).to(x.dtype))
    for launcher, a, b in ((kernels.linear_input_grad, g, W), (kernels.linear_weight_grad, g, x)):
        product = (G.mT if launcher is kernels.linear_weight_grad else G) @ b.double()
        tasks = product.dim() > 2
        assert_close(launcher(a, b, False), (product.sum(0) if tasks else product).to(x.dtype))
        if tasks:
            assert_close(launcher(a, b, True), product.to(x.dtype))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values(sizes: tuple[int, int, int], device: torch.device) -> None:
    check_all(*draw(sizes, device, torch.float32))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype: torch.dtype, device: torch.device) -> None:
    check_all(*draw((20, 400, 3), device, dtype, "Wg"))


@pytest.mark.parametrize("batched", ["x", "W", "b", "g", "xW", "xg", "xWbg"])
def test_tasks(batched: str, device: torch.device) -> None:
    check_all(*draw((7, 40, 5), device, torch.float32, batched))


def check_contraction(x: Tensor, U: Tensor, q: Tensor) -> None:
    L = U.shape[1]
    X, columns, Q = x.double(), U.double().unflatten(0, (-1, x.shape[1])), q.double().unflatten(1, (-1, L))
    z = torch.einsum("ni,oil->nol", X, columns).flatten(1)
    assert_close(kernels.contract(x, U), z.to(x.dtype))
    assert_close(kernels.contract_input_grad(q, U), torch.einsum("nol,oil->ni", Q, columns).to(x.dtype))
    gU = torch.einsum("nol,ni->oil", Q, X).flatten(0, 1)
    assert_close(kernels.contract_sharing_grad(q, x, L), gU.to(x.dtype))


# N, I, O, L: one entry, odd sizes, a head whose sum is split, tiles that cut through a run of L.
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (7, 5, 3, 2), (19, 1203, 10, 3), (3, 33, 13, 6)], ids=str)
def test_contraction(sizes: tuple[int, int, int, int], device: torch.device) -> None:
    N, I, O, L = sizes  # noqa: E741
    shapes = ((N, I), (O * I, L), (N, O * L))
    check_contraction(*((0.3 * torch.randn(shape)).to(device) for shape in shapes))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_contraction_of_strided_arguments(dtype: torch.dtype, device: torch.device) -> None:
    x, U, q = (
        (0.3 * torch.randn(shape, dtype=torch.float64)).to(device, dtype).mT
        for shape in ((40, 7), (3, 120), (9, 7))
    )
    check_contraction(x, U, q)


def test_strided_and_empty_arguments(device: torch.device) -> None:
    x, W, bias, g = draw((7, 40, 5), device, torch.float32)
    check_all(x.mT.contiguous().mT, torch.stack([W, W], -1)[..., 0], torch.stack([bias, bias], 1)[:, 0], g)
    assert kernels.linear(x[:0], W, bias).shape == (0, 5)
    assert kernels.linear(x.expand(0, 7, 40), W, bias).shape == (0, 7, 5)
    assert kernels.contract(x[:0], W.view(200, 1)).shape == (0, 5)
    assert torch.equal(kernels.contract_sharing_grad(g[:0], x[:0], 1), torch.zeros(200, 1, device=device))
    zeros = torch.zeros(5, 40, device=device)
    assert torch.equal(kernels.linear_weight_grad(g[:0], x[:0], False), zeros)
    assert torch.equal(kernels.linear_weight_grad(g.expand(0, 7, 5), x, False), zeros)


def test_split_sums_are_repeatable(device: torch.device) -> None:
    x, W, bias, _ = draw((3, 5000, 2), device, torch.float32)
    y = kernels.linear(x, W, bias)
    torch.testing.assert_close(y, x @ W.T + bias, rtol=1e-4, atol=1e-4)
    assert torch.equal(y, kernels.linear(x, W, bias))


def test_functions_differentiate_through_the_launchers(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    for name in ("linear", "linear_input_grad", "linear_weight_grad"):
        monkeypatch.setattr(torch.ops.rotfast, name, getattr(kernels, name))
    x, W, bias, _ = draw((2, 3, 2), device, torch.float64)
    check_derivatives(Linear.apply, [x, W])
    check_vmap(Linear.apply, [x, W])
    U = torch.randn(6, 1, dtype=torch.float64, device=device)
    check_vmap(ShareLinear.apply, [x, U, U[0], bias])


@pytest.mark.parametrize("position", range(4), ids=["value", "x", "U", "v"])
def test_contracted_derivatives(position: int, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    for name in ("contract", "contract_input_grad", "contract_sharing_grad"):
        monkeypatch.setattr(torch.ops.rotfast, name, getattr(kernels, name))
    monkeypatch.setattr(sys.modules[form_grad.__module__], "contracts", lambda shape, device: True)
    g, x, U, v = (
        torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)
        for shape in ((5, 3, 2), (3, 4), (8, 3), (5, 3))
    )
    form = torch.einsum("tno,ni,oil,tl->", g, x, U.view(2, 4, 3), v)
    (expected,) = torch.autograd.grad(form, (g, x, U, v)[position])
    assert_close(form_grad(g, x, U, v, position), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_candidate_computes_the_same(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    tensors = draw((19, 130, 40), device, dtype)
    for position in range(4):
        monkeypatch.setattr(tuning, "run", lambda key, tiles, launch: launch(tiles[position % len(tiles)]))  # noqa: B023
        check_all(*tensors)
