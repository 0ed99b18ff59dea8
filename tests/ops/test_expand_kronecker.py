"""expand_kronecker's two ways, the fused kernel and three matrix products."""

import importlib
from itertools import product

import pytest
import torch
from torch import Tensor

from rotfast import backend, functional, reference
from rotfast.ops.autograd import call
from rotfast.testing import assert_close, check_derivatives, check_vmap

# The package gives the module's name to its function.
module = importlib.import_module("rotfast.ops.expand_kronecker")
kernels = pytest.mark.skipif(backend.why_not_compiled() is not None, reason="compiled kernels are not in use")
SHAPES = ((3, 2, 4), (5, 3), (2, 2), (3, 4))
LARGE = ((24, 16, 9), (24, 24), (16, 16), (9, 9))


def kernel(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The fused kernel, also where a transform would rather take the products."""
    return call(module.ExpandKronecker, weight, A, B, C)


@pytest.mark.parametrize("tasks", [*product([False, True], repeat=4)])
def test_products_equal_the_reference_with_any_task_dimensions(tasks: tuple[bool, ...]) -> None:
    tensors = [
        torch.randn((6, *shape) if tasked else shape, dtype=torch.float64)
        for shape, tasked in zip(LARGE, tasks, strict=True)
    ]
    assert_close(functional.expand_kronecker(*tensors), reference.expand_kronecker(*tensors))


@pytest.mark.parametrize("sizes", [*product([0, 2], repeat=2)])
def test_products_of_empty_dimensions(sizes: tuple[int, int]) -> None:
    tasks, P = sizes
    tensors = (torch.randn(tasks, P, 100, 9), torch.randn(30, P), torch.randn(100, 100), torch.randn(9, 9))
    assert_close(functional.expand_kronecker(*tensors), reference.expand_kronecker(*tensors))


@kernels
def test_size_and_transforms_choose_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr(backend, "explain", lambda operator, way, reason: taken.append(way))
    functional.expand_kronecker(*(torch.randn(shape) for shape in SHAPES))
    functional.expand_kronecker(*(torch.randn(shape) for shape in LARGE))
    weight, *warps = (torch.randn(shape) for shape in SHAPES)
    torch.func.grad(lambda weight: functional.expand_kronecker(weight, *warps).sum())(weight)
    assert taken == ["cpu", "torch's products", "torch's products"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_of_low_precision_compute_in_float32(dtype: torch.dtype) -> None:
    tensors = [torch.randn(shape).to(dtype) for shape in LARGE]
    actual = functional.expand_kronecker(*tensors)
    if backend.why_not_compiled() is None:
        assert torch.equal(actual, functional.expand_kronecker(*(t.float() for t in tensors)).to(dtype))
    assert actual.dtype == dtype


def test_products_keep_their_dtype_under_autocast() -> None:
    tensors = [torch.randn(shape, requires_grad=True) for shape in LARGE]
    expected = functional.expand_kronecker(*tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(functional.expand_kronecker(*tensors), expected)


def test_the_kernel_has_derivatives_and_vmap() -> None:
    if not backend.kernels_loaded:
        pytest.skip("compiled kernels are missing")
    tensors = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
    check_derivatives(kernel, tensors)
    check_vmap(kernel, tensors)
