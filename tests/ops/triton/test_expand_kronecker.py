"""The Triton launchers of expand_kronecker against a formula, and under the autograd Functions."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from rotfast import reference
from rotfast.ops.expand_kronecker import ExpandKronecker
from rotfast.testing import assert_close, check_derivatives, check_vmap

kernels = pytest.importorskip("rotfast.ops.triton.expand_kronecker")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# (P, Q, L), (O, I, K): one entry, rectangles, a study's layer, several blocks of channels, the largest B ⊗ C.
SIZES = [
    ((1, 1, 1), (1, 1, 1)),
    ((3, 2, 4), (5, 3, 2)),
    ((32, 1, 9), (32, 1, 9)),
    ((40, 3, 9), (70, 3, 9)),
    ((17, 4, 8), (33, 32, 1)),
]
RANKS = (3, 2, 2, 2)


def draw(
    sizes: tuple[tuple[int, ...], tuple[int, ...]],
    device: torch.device,
    dtype: torch.dtype,
    batched: str = "",
) -> list[Tensor]:
    """weight, A, B and C; those named in ``batched`` for three tasks."""
    (P, Q, L), (O, I, K) = sizes  # noqa: E741
    shapes = {"w": (P, Q, L), "A": (O, P), "B": (I, Q), "C": (K, L)}
    tensors = (torch.randn((3,) * (n in batched) + s, dtype=torch.float64) for n, s in shapes.items())
    return [(0.3 * t).to(device, dtype) for t in tensors]


def check_all(factors: list[Tensor]) -> None:
    exact = [t.double().requires_grad_() for t in factors]
    W = reference.expand_kronecker(*exact)
    assert_close(kernels.expand_kronecker(*factors), W.to(factors[0].dtype))
    g = (0.1 * torch.randn_like(W)).to(factors[0].dtype)
    expected = torch.autograd.grad(W, exact, g.double())
    for a, e in zip(kernels.expand_kronecker_backward(g, *factors), expected, strict=True):
        assert_close(a, e.to(a.dtype))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_gradients(sizes: tuple[tuple[int, ...], tuple[int, ...]], device: torch.device) -> None:
    check_all(draw(sizes, device, torch.float32))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype: torch.dtype, device: torch.device) -> None:
    check_all(draw(SIZES[1], device, dtype, "w"))


@pytest.mark.parametrize(
    "batched", ["".join(names) for count in (1, 2, 4) for names in combinations("wABC", count)]
)
def test_tasks(batched: str, device: torch.device) -> None:
    check_all(draw(SIZES[1], device, torch.float32, batched))


def test_no_tasks(device: torch.device) -> None:
    weight, *warps = draw(SIZES[1], device, torch.float32)
    none = weight.expand(0, *weight.shape)
    assert kernels.expand_kronecker(none, *warps).shape == (0, 5, 3, 2)
    g = torch.empty(0, 5, 3, 2, device=device)
    gw, *g_warps = kernels.expand_kronecker_backward(g, none, *warps)
    assert gw.shape == (0, 3, 2, 4)
    assert all(torch.equal(a, torch.zeros_like(w)) for a, w in zip(g_warps, warps, strict=True))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter
def test_an_infinite_gradient_stays_in_its_sums(device: torch.device) -> None:
    factors = draw(SIZES[1], device, torch.float32)
    g = torch.ones(5, 3, 2, device=device)
    g[0, 0, 0] = torch.inf
    _, _, gB, gC = kernels.expand_kronecker_backward(g, *factors)
    assert gB[1:].isfinite().all()
    assert gC[1:].isfinite().all()


def test_functions_differentiate_through_the_launchers(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    for name in ("expand_kronecker", "expand_kronecker_backward"):
        monkeypatch.setattr(torch.ops.rotfast, name, getattr(kernels, name))
    tensors = draw(((2, 1, 2), (1, 2, 2)), device, torch.float64)
    check_derivatives(ExpandKronecker.apply, tensors)
    check_vmap(ExpandKronecker.apply, tensors)
