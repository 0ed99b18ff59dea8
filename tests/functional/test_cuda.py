"""Every public operator on a GPU: equals the CPU, never waits, in CUDA graphs, on any stream and device."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

import rotfast
from rotfast import functional
from rotfast.testing import TOLERANCES

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
IMAGES = (6, 3, 20, 23)
Operator = Callable[..., Tensor]


def angles(*shape: int) -> Tensor:
    return torch.linspace(-170, 190, torch.Size(shape).numel()).reshape(shape)


def turns(*shape: int) -> Tensor:
    return torch.arange(-3, torch.Size(shape).numel() - 3).reshape(shape)


def levels(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8)


def all_turns(x: Tensor) -> Tensor:
    return functional.rotate90_all(x)[0]


def homographies() -> Tensor:
    return torch.eye(3) + 1e-3 * torch.randn(6, 3, 3)


NUMBERS = {"angle": 20.0, "translate": (1.5, -2.0), "scale": 1.1, "shear": (3.0, 0.0)}
COLOURS = {"mean": (0.4, 0.5, 0.6), "std": 0.25}
# An operator, and what draws its arguments on the CPU, of sizes that kernels are chosen for; those that are
# floating point get gradients.
CASES: dict[str, tuple[Operator, Callable[[], list[Tensor]]]] = {
    "rotate": (functional.rotate, lambda: [torch.rand(IMAGES), angles(6)]),
    "rotate-several": (functional.rotate, lambda: [torch.rand(IMAGES), angles(6, 4)]),
    "rotate-number": (partial(functional.rotate, angle=33.0), lambda: [torch.rand(IMAGES)]),
    "rotate-filled": (
        partial(functional.rotate, fill=(0.1, 0.2, 0.3), interpolation="bicubic"),
        lambda: [torch.rand(IMAGES), angles(6)],
    ),
    "rotate-normalised": (partial(functional.rotate, **COLOURS), lambda: [levels(IMAGES), angles(6)]),
    "affine": (partial(functional.affine, **NUMBERS), lambda: [torch.rand(IMAGES)]),
    "affine-matrix": (
        lambda x, matrix: functional.affine(x, matrix=matrix, padding_mode="reflection"),
        lambda: [torch.rand(IMAGES), torch.eye(2, 3) + 0.1 * torch.randn(6, 2, 3)],
    ),
    "perspective": (functional.perspective, lambda: [torch.rand(IMAGES), homographies()]),
    "rotate90": (functional.rotate90, lambda: [torch.rand(6, 3, 20, 20), turns(6)]),
    "rotate90-rectangles": (functional.rotate90, lambda: [torch.rand(IMAGES), 2 * turns(6, 2)]),
    "rotate90-number": (partial(functional.rotate90, k=3), lambda: [torch.rand(IMAGES)]),
    "rotate90_all": (all_turns, lambda: [torch.rand(6, 3, 20, 20)]),
    "expand_kronecker": (
        functional.expand_kronecker,
        lambda: [torch.randn(*s) for s in ((32, 3, 9), (32, 32), (3, 3), (9, 9))],
    ),
    "expand_dense": (functional.expand_dense, lambda: [torch.randn(30000, 3), torch.randn(3)]),
    "share_conv2d": (
        functional.share_conv2d,
        lambda: [torch.randn(*s) for s in (IMAGES, (32, 3, 3, 3), (32, 32), (3, 3), (9, 9), (32,))],
    ),
    "share_conv2d-tasks": (
        functional.share_conv2d,
        lambda: [torch.randn(*s) for s in ((4, *IMAGES), (4, 8, 3, 3, 3), (8, 8), (3, 3), (9, 9))],
    ),
    "share_conv2d_full": (
        partial(functional.share_conv2d_full, weight_shape=(8, 3, 3, 3)),
        lambda: [torch.randn(*s) for s in (IMAGES, (216, 5), (5,), (8,))],
    ),
    "share_linear": (
        functional.share_linear,
        lambda: [torch.randn(*s) for s in ((19, 4096), (40960, 3), (3,), (10,))],
    ),
    "share_linear-tasks": (
        functional.share_linear,
        lambda: [torch.randn(*s) for s in ((4, 19, 4096), (40960, 3), (4, 3), (4, 10))],
    ),
    "conv_relu_linear": (
        functional.conv_relu_linear,
        lambda: [torch.randn(*s) for s in ((6, 1, 12, 12), (8, 1, 3, 3), (8,), (10, 800), (10,))],
    ),
}
each_case = pytest.mark.parametrize("name", CASES)


@pytest.fixture(autouse=True)
def _repeatable_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to cuDNN is to repeat, and its convolutions round to TF32 by default."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def draw(name: str, device: str = "cuda") -> list[Tensor]:
    """Arguments; those of numbers that can change get gradients."""
    tensors = (t.to(device) for t in CASES[name][1]())
    return [t.requires_grad_() if t.is_floating_point() else t for t in tensors]


def forward_and_backward(name: str, tensors: list[Tensor]) -> list[Tensor]:
    y = CASES[name][0](*tensors)
    return [y.detach(), *torch.autograd.grad(y, [t for t in tensors if t.requires_grad], torch.ones_like(y))]


def assert_near(actual: list[Tensor], expected: list[Tensor]) -> None:
    """Up to the tolerance of the dtype, relative to the largest element."""
    for a, e in zip(actual, expected, strict=True):
        size = e.abs().max().clamp_min(1.0)
        torch.testing.assert_close(a.cpu() / size, e / size, rtol=0, atol=TOLERANCES[a.dtype][1])


def assert_same(name: str, actual: list[Tensor], expected: list[Tensor]) -> None:
    """Bit for bit, but for plain PyTorch, whose gradient of a gather adds in any order."""
    if name == "perspective":
        assert_near(actual, [e.cpu() for e in expected])
    else:
        assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))


def test_every_public_operator_is_here() -> None:
    named = {name.partition("-")[0] for name in CASES}
    assert named == set(functional.__all__) & set(dir(rotfast))


@each_case
def test_equals_the_cpu(name: str) -> None:
    here = draw(name, "cpu")
    there = [t.detach().cuda().requires_grad_(t.requires_grad) for t in here]
    assert_near(forward_and_backward(name, there), forward_and_backward(name, here))


@each_case
def test_repeats_and_never_waits(name: str) -> None:
    tensors = draw(name)
    first = forward_and_backward(name, tensors)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = forward_and_backward(name, tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_same(name, second, first)


@each_case
def test_graphs_can_be_captured(name: str) -> None:
    tensors = draw(name)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        forward_and_backward(name, tensors)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = forward_and_backward(name, tensors)
    with torch.no_grad():
        for t, new in zip(tensors, draw(name), strict=True):
            t.copy_(new)
    torch.randn(1000, dtype=torch.float64).sum()  # in the memory of what the host has freed
    graph.replay()
    assert_same(name, captured, forward_and_backward(name, tensors))


@pytest.mark.slow
@each_case
def test_compiles_with_graphs(name: str) -> None:
    tensors = draw(name)
    expected = forward_and_backward(name, tensors)
    leaves = [t for t in tensors if t.requires_grad]
    torch.compiler.reset()
    compiled = torch.compile(CASES[name][0], fullgraph=True, mode="reduce-overhead")
    for _ in range(3):  # runs, is captured, is replayed
        torch.compiler.cudagraph_mark_step_begin()
        y = compiled(*tensors)
        actual = [y.detach().clone()]
        actual += [g.clone() for g in torch.autograd.grad(y, leaves, torch.ones_like(y))]
    assert_near(actual, [e.cpu() for e in expected])


@each_case
def test_runs_on_the_current_stream(name: str) -> None:
    tensors = draw(name)
    expected = forward_and_backward(name, tensors)
    late = [torch.zeros_like(t).requires_grad_(t.requires_grad) for t in tensors]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        with torch.no_grad():
            for t, value in zip(late, tensors, strict=True):
                t.copy_(value)
        actual = forward_and_backward(name, late)
    stream.synchronize()
    assert_same(name, actual, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@each_case
def test_runs_on_another_device_than_the_current(name: str) -> None:
    tensors = draw(name)
    expected = forward_and_backward(name, tensors)
    other = [t.detach().to("cuda:1").requires_grad_(t.requires_grad) for t in tensors]
    actual = forward_and_backward(name, other)
    assert {t.get_device() for t in actual} == {1}
    assert_near(actual, [e.cpu() for e in expected])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["share_conv2d", "share_conv2d_full", "share_linear", "conv_relu_linear"])
def test_autocast_gives_the_autocast_dtype(name: str, dtype: torch.dtype) -> None:
    tensors = draw(name)
    expected = CASES[name][0](*tensors)
    with torch.autocast("cuda", dtype=dtype):
        y = CASES[name][0](*tensors)
    assert y.dtype == dtype
    size = expected.abs().max()
    torch.testing.assert_close(y.float() / size, expected / size, rtol=0, atol=5e-2)
    grads = torch.autograd.grad(y.float().sum(), tensors)
    assert {g.dtype for g in grads} == {torch.float32}


@pytest.mark.parametrize("name", ["rotate", "affine", "expand_kronecker", "expand_dense", "rotate90"])
def test_others_keep_their_dtype_under_autocast(name: str) -> None:
    tensors = draw(name)
    expected = CASES[name][0](*tensors)
    with torch.autocast("cuda", dtype=torch.float16):
        y = CASES[name][0](*tensors)
    assert y.dtype == torch.float32
    assert_near([y.detach()], [expected.detach().cpu()])


def test_odd_turns_of_rectangles_fail_on_the_device():
    # In a process of its own: a failed assertion takes the device's context with it.
    code = (
        "import torch, rotfast\n"
        "rotfast.rotate90(torch.rand(2, 1, 4, 6, device='cuda'), torch.tensor([2, 1], device='cuda'))\n"
        "torch.cuda.synchronize()\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "k must be even for images that are not square" in answer.stderr
