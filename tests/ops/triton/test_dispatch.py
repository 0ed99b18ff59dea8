"""Which CUDA tensors the Triton kernels are chosen for. Fake tensors need no GPU and no Triton."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rotfast import backend, ops
from rotfast.ops import triton

pytestmark = pytest.mark.skipif(backend.why_not_compiled() is not None, reason="needs the compiled extension")


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, str]]]:
    """What `backend.explain` hears of calls with fake tensors on a GPU with Triton."""
    heard: list[tuple[str, str, str]] = []
    monkeypatch.setattr(backend, "explain", lambda *choice: heard.append(choice))
    monkeypatch.setattr(triton, "absent", None)
    monkeypatch.setattr(triton, "_capability", lambda device: (8, 0))
    with FakeTensorMode():
        yield heard


def fake(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="cuda")  # a gradient would need the device


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_expand_dense(dtype: torch.dtype, choices: list[tuple[str, str, str]]) -> None:
    W = ops.expand_dense(fake(30000, 3, dtype=dtype), fake(5, 3, dtype=dtype))
    assert (W.shape, W.dtype, W.device.type) == ((5, 30000), dtype, "cuda")
    assert choices == [("expand_dense", "Triton", "compiled kernel")]


def test_expand_dense_leaves_wide_and_small_matrices_to_torch(choices: list[tuple[str, str, str]]) -> None:
    ops.expand_dense(fake(3000, 33), fake(33))
    ops.expand_dense(fake(100, 3), fake(3))
    assert choices == [
        ("expand_dense", "torch's product", "latent size above 32"),
        ("expand_dense", "torch's product", "small: torch's matrix product has less overhead"),
    ]


def warps(channels: int, inputs: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """weight, A, B and C of a 3 x 3 kernel."""
    shapes = ((channels, inputs, 9), (channels, channels), (inputs, inputs), (9, 9))
    return [fake(*shape, dtype=dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_expand_kronecker(dtype: torch.dtype, choices: list[tuple[str, str, str]]) -> None:
    W = ops.expand_kronecker(*warps(100, 3, dtype))
    assert (W.shape, W.dtype, W.device.type) == ((100, 3, 9), dtype, "cuda")
    assert choices == [("expand_kronecker", "Triton", "fused kernel")]


def test_expand_kronecker_leaves_many_channels_to_torch(choices: list[tuple[str, str, str]]) -> None:
    ops.expand_kronecker(*warps(32, 4))
    ops.expand_kronecker(*warps(257, 1))
    reason = "B ⊗ C above 32 or A above 256"
    assert choices == [("expand_kronecker", "torch's products", reason)] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_share_linear(dtype: torch.dtype, choices: list[tuple[str, str, str]]) -> None:
    tensors = [fake(*shape, dtype=dtype) for shape in ((5, 19, 4096), (40960, 3), (5, 3), (10,))]
    y = ops.share_linear(*tensors)
    assert (y.shape, y.dtype, y.device.type) == ((5, 19, 10), dtype, "cuda")
    assert choices == [("share_linear", "Triton", "U v, then x")]


def test_share_linear_of_one_row_contracts(choices: list[tuple[str, str, str]]) -> None:
    y = ops.share_linear(fake(5, 1, 4096), fake(40960, 3), fake(5, 3), fake(10))
    assert (y.shape, y.device.type) == ((5, 1, 10), "cuda")
    assert choices == [("share_linear", "Triton", "x U, then v")]


def test_share_linear_leaves_many_outputs_to_torch(choices: list[tuple[str, str, str]]) -> None:
    ops.share_linear(fake(19, 1024), fake(33 * 1024, 3), fake(3), None)
    assert choices == [
        (
            "share_linear",
            "expansion, then torch's product",
            "fewer than 1024 features or more than 32 outputs",
        ),
        ("expand_dense", "Triton", "compiled kernel"),
    ]


def conv2d(inputs: int, dtype: torch.dtype = torch.float32, size: int = 28) -> Tensor:
    weight, A, B, C = warps(32, inputs, dtype)
    x, W = fake(20, inputs, size, size, dtype=dtype), weight.unflatten(-1, (3, 3))
    return ops.share_conv2d(x, W, A, B, C, None, (1, 1), (0, 0), (1, 1), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_share_conv2d(dtype: torch.dtype, choices: list[tuple[str, str, str]]) -> None:
    y = conv2d(1, dtype)
    assert (y.shape, y.dtype, y.device.type) == ((20, 32, 26, 26), dtype, "cuda")
    assert choices == [("share_conv2d", "Triton", "fused expansion and direct convolution")]


def test_share_conv2d_with_more_channels(choices: list[tuple[str, str, str]]) -> None:
    """B ⊗ C, then the taps, outgrow the kernels; a tiny convolution is not worth a Function."""
    for inputs in (7, 8):
        conv2d(inputs)
    conv2d(3, size=4)
    expansion = ("expand_kronecker", "torch's products", "B ⊗ C above 32 or A above 256")
    library = "expansion, then torch.conv2d"
    assert choices == [
        expansion,
        ("share_conv2d", "Triton", "expansion, then direct convolution"),
        expansion,
        ("share_conv2d", library, "72 taps per group, more than 64"),
        ("expand_kronecker", "Triton", "fused kernel"),
        ("share_conv2d", library, "small: torch's operators have less overhead than a Function"),
    ]


def test_share_conv2d_full(choices: list[tuple[str, str, str]]) -> None:
    x, U, v, bias = fake(5, 20, 1, 28, 28), fake(32 * 9, 100), fake(5, 100), fake(32)
    y = ops.share_conv2d_full(x, U, v, bias, (32, 1, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    assert y.shape == (5, 20, 32, 28, 28)
    assert choices[1:] == [("share_conv2d_full", "Triton", "expansion, then direct convolution")]


@pytest.mark.parametrize(("outputs", "inputs"), [(10, 1), (65, 1), (10, 8)])
def test_conv_relu_linear(outputs: int, inputs: int, choices: list[tuple[str, str, str]]) -> None:
    x, kernel, head = fake(20, inputs, 28, 28), fake(32, inputs, 3, 3), fake(outputs, 32 * 26 * 26)
    y = ops.conv_relu_linear(x, kernel, None, head, None, (1, 1), (0, 0), (1, 1))
    assert (y.shape, y.device.type) == ((20, outputs), "cuda")
    library = "torch's convolution and product"
    expected = {
        (10, 1): ("conv_relu_linear", "Triton", "fused kernel"),
        (65, 1): ("conv_relu_linear", library, "more than 64 outputs"),
        (10, 8): ("conv_relu_linear", library, "72 taps per group, more than 64"),
    }
    assert choices == [expected[outputs, inputs]]


@pytest.mark.parametrize(
    ("absent", "capability", "reason"),
    [
        ("Triton is not installed", (9, 0), "no Triton kernel: Triton is not installed"),
        (None, (7, 5), "Triton kernels need compute capability 8.0"),
    ],
)
def test_reasons_against_every_kernel(
    absent: str | None,
    capability: tuple[int, int],
    reason: str,
    choices: list[tuple[str, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton, "absent", absent)
    monkeypatch.setattr(triton, "_capability", lambda device: capability)
    ops.expand_dense(fake(30000, 3), fake(3))
    assert choices == [("expand_dense", "torch's product", reason)]


@pytest.mark.skipif(triton.absent is None, reason="registered already")
def test_registration_covers_the_operators() -> None:
    def registered() -> list[str]:
        has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
        return [name for name in triton.OPERATORS if has_kernel(f"rotfast::{name}", "CUDA")]

    assert registered() == []
    library = torch.library.Library("rotfast", "IMPL", "CUDA")
    try:
        triton.register(library)
        assert registered() == list(triton.OPERATORS)
    finally:
        library._destroy()


def test_a_registered_operator_imports_its_launcher(device: torch.device) -> None:
    pytest.importorskip("triton")
    U, v = torch.randn(7, 3, device=device), torch.randn(3, device=device)
    torch.testing.assert_close(triton._launch("expand_dense")(U, v), U @ v)
