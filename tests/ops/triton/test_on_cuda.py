"""The sharing operators on a GPU: the kernels are chosen, agree with the CPU, repeat, and never wait."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rotfast import backend, functional
from rotfast.testing import TOLERANCES

DEVICE = "cuda"
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(backend.why_not_compiled() is not None, reason="needs the compiled extension"),
]
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def strided_conv2d(*tensors: Tensor) -> Tensor:
    return functional.share_conv2d(*tensors, stride=(2, 1), padding=(1, 2), dilation=(1, 2))


# An operator and the shapes of its arguments, at sizes that the kernels are chosen for.
CASES: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "dense": (functional.expand_dense, ((30000, 3), (3,))),
    "dense-tasks": (functional.expand_dense, ((3000, 30), (5, 30))),
    "kronecker": (functional.expand_kronecker, ((100, 3, 9), (100, 100), (3, 3), (9, 9))),
    "linear": (functional.share_linear, ((19, 4096), (40960, 3), (3,), (10,))),
    "linear-tasks": (functional.share_linear, ((5, 19, 4096), (40960, 3), (5, 3), (5, 10))),
    "conv2d": (functional.share_conv2d, ((20, 1, 28, 28), (32, 1, 3, 3), (32, 32), (1, 1), (9, 9), (32,))),
    "conv2d-strided": (
        strided_conv2d,
        ((8, 3, 29, 30), (70, 3, 3, 3), (70, 70), (3, 3), (9, 9), (70,)),
    ),
    "conv2d-tasks": (
        functional.share_conv2d,
        ((5, 20, 1, 28, 28), (5, 32, 1, 3, 3), (32, 32), (1, 1), (9, 9), (5, 32)),
    ),
}
each_case = pytest.mark.parametrize("name", CASES)


def draw(name: str) -> list[Tensor]:
    return [torch.randn(shape, dtype=torch.float64) for shape in CASES[name][1]]


def place(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [t.to(DEVICE, dtype).requires_grad_() for t in tensors]


def derivatives(function: Callable[..., Tensor], tensors: list[Tensor], second: bool) -> list[Tensor]:
    """The value, and its gradients for a fixed cotangent, or the gradients of their squares."""
    y = function(*tensors)
    g = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).to(y).reshape(y.shape)
    grads = torch.autograd.grad(y, tensors, g, create_graph=second)
    if second:
        penalty = sum(t.square().mean() for t in grads)
        grads = torch.autograd.grad(penalty, tensors, materialize_grads=True)  # none for a bias
    return [y.detach(), *grads]


def compare(actual: list[Tensor], expected: list[Tensor]) -> None:
    """Up to the tolerance of the dtype, relative to the largest element: sums are long here."""
    for a, e in zip(actual, expected, strict=True):
        size = e.abs().max().clamp_min(1e-30)
        _, atol = TOLERANCES[a.dtype]
        torch.testing.assert_close(a.cpu().double() / size, e / size, rtol=0, atol=atol)


@each_case
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_and_gradients_equal_the_cpus(name: str, dtype: torch.dtype) -> None:
    tensors = [t.to(dtype).double() for t in draw(name)]
    expected = derivatives(CASES[name][0], [t.requires_grad_() for t in tensors], second=False)
    compare(derivatives(CASES[name][0], place(tensors, dtype), second=False), expected)


@each_case
def test_second_derivatives_equal_the_cpus(name: str) -> None:
    tensors = draw(name)
    expected = derivatives(CASES[name][0], [t.requires_grad_() for t in tensors], second=True)
    compare(derivatives(CASES[name][0], place(tensors, torch.float64), second=True), expected)


@each_case
def test_the_kernels_are_chosen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[tuple[str, str, str]] = []
    monkeypatch.setattr(backend, "explain", lambda *choice: chosen.append(choice))
    with torch.no_grad():
        CASES[name][0](*place(draw(name), torch.float32))
    assert {choice[1] for choice in chosen} == {"Triton"}


@each_case
def test_results_are_repeatable_and_nothing_waits(name: str) -> None:
    tensors = place(draw(name), torch.float32)

    def run() -> list[Tensor]:
        y = CASES[name][0](*tensors)
        return [y, *torch.autograd.grad(y, tensors, torch.ones_like(y))]

    first = run()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ["kronecker", "linear", "conv2d"])
def test_tf32_is_used_only_where_it_is_allowed(name: str) -> None:
    tensors = draw(name)
    expected = CASES[name][0](*tensors)
    there = [t.detach() for t in place(tensors, torch.float32)]
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        exact = CASES[name][0](*there).cpu()
        torch.set_float32_matmul_precision("high")
        rounded = CASES[name][0](*there).cpu()
    finally:
        torch.set_float32_matmul_precision(before)
    error, rounded_error = ((y - expected).abs().max() / expected.abs().max() for y in (exact, rounded))
    assert error < 1e-5 < rounded_error < 1e-2
