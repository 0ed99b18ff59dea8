"""The Triton launchers of expand_dense against formulas, and under the autograd Functions."""

import pytest
import torch
from torch import Tensor

from rotfast.ops.expand_dense import ExpandDense
from rotfast.testing import assert_close, check_derivatives, check_vmap

kernels = pytest.importorskip("rotfast.ops.triton.expand_dense")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# M and L: one entry, odd sizes beside a tile's, several tiles.
SIZES = [(1, 1), (7, 3), (513, 4), (683, 3), (1000, 8), (130, 30)]


def draw(device: torch.device, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).to(device, dtype)


def check_all(U: Tensor, v: Tensor, g: Tensor) -> None:
    exact = [t.double() for t in (U, v, g)]
    u, w, m = ("t" if t.dim() > dim else "" for t, dim in ((U, 2), (v, 1), (g, 1)))

    def expected(out: str, left: str, right: str, a: int, b: int) -> Tensor:
        return torch.einsum(f"{left},{right}->{out}", exact[a], exact[b])

    result = "t" if u or w else ""
    assert_close(kernels.expand_dense(U, v), expected(f"{result}m", f"{u}ml", f"{w}l", 0, 1).to(U.dtype))
    for per_task in (False, True):
        t = "t" if per_task else ""
        if u or m or not per_task:
            actual = kernels.expand_dense_latent_grad(U, g, per_task)
            assert_close(actual, expected(f"{t}l", f"{u}ml", f"{m}m", 0, 2).to(U.dtype))
        if m or w or not per_task:
            actual = kernels.expand_dense_sharing_grad(g, v, per_task)
            assert_close(actual, expected(f"{t}ml", f"{m}m", f"{w}l", 2, 1).to(U.dtype))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values(size: tuple[int, int], device: torch.device) -> None:
    M, L = size
    check_all(*(draw(device, torch.float32, *shape) for shape in ((M, L), (L,), (M,))))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype: torch.dtype, device: torch.device) -> None:
    scale = 0.2
    check_all(*(scale * draw(device, dtype, *shape) for shape in ((700, 3), (2, 3), (2, 700))))


@pytest.mark.parametrize("batched", ["U", "v", "g", "Uv", "vg", "Uvg"])
def test_tasks(batched: str, device: torch.device) -> None:
    T, M, L = 11, 300, 5
    shapes = {"U": (M, L), "v": (L,), "g": (M,)}
    check_all(*(draw(device, torch.float32, *((T,) if n in batched else ()), *s) for n, s in shapes.items()))


def test_no_tasks_and_strided_arguments(device: torch.device) -> None:
    U = draw(device, torch.float32, 6, 40).mT
    v = draw(device, torch.float32, 0, 6)
    g = draw(device, torch.float32, 0, 40)
    assert kernels.expand_dense(U, v).shape == (0, 40)
    assert kernels.expand_dense_latent_grad(U, g, True).shape == (0, 6)
    assert torch.equal(kernels.expand_dense_latent_grad(U, g, False), torch.zeros(6, device=device))
    assert torch.equal(kernels.expand_dense_sharing_grad(g, v, False), torch.zeros(40, 6, device=device))
    check_all(U, draw(device, torch.float32, 6, 2)[:, 0], draw(device, torch.float32, 40, 2)[:, 1])


def test_long_sums_are_split_and_repeatable(device: torch.device) -> None:
    U, g = draw(device, torch.float32, 20000, 2), draw(device, torch.float32, 20000)
    first = kernels.expand_dense_latent_grad(U, g, False)
    torch.testing.assert_close(first, (U.double().mT @ g.double()).float(), rtol=1e-4, atol=1e-2)
    assert torch.equal(first, kernels.expand_dense_latent_grad(U, g, False))


def test_functions_differentiate_through_the_launchers(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    for name in ("expand_dense", "expand_dense_latent_grad", "expand_dense_sharing_grad"):
        monkeypatch.setattr(torch.ops.rotfast, name, getattr(kernels, name))
    tensors = [draw(device, torch.float64, 3, 2), draw(device, torch.float64, 2)]
    check_derivatives(ExpandDense.apply, tensors)
    check_vmap(ExpandDense.apply, tensors)
