"""The Triton launchers of conv_relu_linear against the reference, and under the autograd Functions."""

import pytest
import torch
from torch import Tensor

from rotfast import reference
from rotfast.ops.conv2d import make_geometry
from rotfast.ops.conv_relu_linear import ConvReluLinear
from rotfast.testing import assert_close, check_derivatives, check_vmap

kernels = pytest.importorskip("rotfast.ops.triton.conv_relu_linear")
convolution = pytest.importorskip("rotfast.ops.triton.share_conv2d")
linear = pytest.importorskip("rotfast.ops.triton.share_linear")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
STEPS = ((1, 2), (1, 0), (2, 1))  # stride, padding, dilation


def draw(device: torch.device, dtype: torch.dtype, batched: str = "") -> dict[str, Tensor]:
    """Images of 7 x 8 pixels, 5 kernels, a head of 4 outputs; those named in ``batched`` for 3 tasks."""
    features = 5 * 5 * 3
    shapes = {
        "x": (2, 2, 7, 8),
        "kernel": (5, 2, 3, 3),
        "kernel_bias": (5,),
        "weight": (4, features),
        "bias": (4,),
    }
    named = batched.split()
    tensors = {n: torch.randn((3,) * (n in named) + s, dtype=torch.float64) for n, s in shapes.items()}
    return {name: (0.3 * t).to(device, dtype) for name, t in tensors.items()}


def check_all(given: dict[str, Tensor], bias: bool = True) -> None:
    arguments = [given["x"], given["kernel"], given["kernel_bias"] if bias else None, given["weight"]]
    exact = [None if t is None else t.double().requires_grad_() for t in arguments]
    y = reference.conv_relu_linear(*exact, given["bias"].double(), *STEPS)
    assert_close(kernels.conv_relu_linear(*arguments, given["bias"], *STEPS), y.to(given["x"].dtype))
    g = (0.3 * torch.randn_like(y)).to(given["x"].dtype)
    leaves = [t for t in exact[1:] if t is not None]
    expected = torch.autograd.grad(y, leaves, g.double())
    flags = [t is not None and t.dim() > rank for t, rank in zip(arguments[1:], (4, 1, 2), strict=True)]
    actual = list(kernels.conv_relu_linear_backward(g, *arguments, *STEPS, *flags))
    if not bias:
        del actual[1]
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e.to(a.dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype: torch.dtype, device: torch.device) -> None:
    check_all(draw(device, dtype, "kernel weight"))


@pytest.mark.parametrize(
    "batched",
    [
        "",
        "x",
        "kernel",
        "kernel_bias",
        "weight",
        "bias",
        "x weight",
        "kernel kernel_bias weight bias",
        "x kernel kernel_bias weight bias",
    ],
)
def test_tasks(batched: str, device: torch.device) -> None:
    check_all(draw(device, torch.float32, batched))


def test_without_a_bias_of_the_convolution(device: torch.device) -> None:
    check_all(draw(device, torch.float32), bias=False)
    check_all(draw(device, torch.float32, "weight"), bias=False)


def test_gradients_of_each_task_where_only_the_cotangent_has_tasks(device: torch.device) -> None:
    """As vmap over the cotangent asks for them."""
    given = draw(device, torch.float32)
    arguments = [given[name] for name in ("x", "kernel", "kernel_bias", "weight")]
    g = 0.3 * torch.randn(3, 2, 4, device=device)
    together = kernels.conv_relu_linear_backward(g, *arguments, *STEPS, True, True, True)
    for task in range(3):
        single = kernels.conv_relu_linear_backward(g[task], *arguments, *STEPS, False, False, False)
        for a, e in zip(together, single, strict=True):
            assert_close(a[task], e)


def test_relu_keeps_nan(device: torch.device) -> None:
    x = torch.tensor([[-1.0, 2.0], [torch.nan, 3.0]], device=device).reshape(1, 1, 2, 2)
    steps = ([1, 1], [0, 0], [1, 1], 1)
    y = convolution.convolve(x, torch.ones(1, 1, 1, 1, device=device), None, *steps, relu=True)
    torch.testing.assert_close(y.flatten().cpu(), torch.tensor([0.0, 2.0, torch.nan, 3.0]), equal_nan=True)


def test_functions_differentiate_through_the_launchers(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    for module, names in (
        (kernels, ("conv_relu_linear", "conv_relu_linear_backward")),
        (convolution, ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")),
        (linear, ("linear", "linear_input_grad", "linear_weight_grad")),
    ):
        for name in names:
            monkeypatch.setattr(torch.ops.rotfast, name, getattr(module, name))
    shapes = ((1, 1, 2, 2), (1, 1, 1, 2), (1,), (2, 2), (2,))
    tensors = [torch.randn(shape, dtype=torch.float64, device=device) for shape in shapes]
    geometry = make_geometry(tensors[0], shapes[1], (1, 1), (0, 0), (1, 1), 1)

    def function(*tensors: Tensor) -> Tensor:
        return ConvReluLinear.apply(*tensors, geometry)

    check_derivatives(function, tensors)
    _, _, kernel_bias, _, bias = tensors

    def without_biases(x: Tensor, kernel: Tensor, weight: Tensor) -> Tensor:
        return function(x, kernel, kernel_bias, weight, bias)

    check_vmap(without_biases, [tensors[0], tensors[1], tensors[3]])
