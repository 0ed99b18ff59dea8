"""The Triton launchers of share_conv2d against torch's convolution, and under the autograd Functions."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from rotfast import reference
from rotfast.ops.conv2d import DirectConv2d, make_geometry
from rotfast.testing import assert_close, check_derivatives, check_vmap

kernels = pytest.importorskip("rotfast.ops.triton.share_conv2d")
tuning = pytest.importorskip("rotfast.ops.triton.tuning")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
Pair = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """Shapes of x and weight, and the geometry; ``batched`` names what has a dimension of three tasks."""

    x: tuple[int, int, int, int]
    weight: tuple[int, int, int, int]
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    batched: str = ""

    def draw(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        shapes = {"x": self.x, "w": self.weight, "b": self.weight[:1]}
        x, weight, bias = (
            (0.3 * torch.randn((3,) * (n in self.batched) + s, dtype=torch.float64)).to(device, dtype)
            for n, s in shapes.items()
        )
        return x, weight, bias

    @property
    def geometry(self) -> tuple[Pair, Pair, Pair, int]:
        return self.stride, self.padding, self.dilation, self.groups

    def check(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        exact = [t.double().requires_grad_() for t in (x, weight)]
        y = reference.conv2d(*exact, None if bias is None else bias.double(), *self.geometry)
        assert_close(kernels.conv2d(x, weight, bias, *self.geometry), y.to(x.dtype))
        g = (0.3 * torch.randn_like(y)).to(x.dtype)
        gx, gw = torch.autograd.grad(y, exact, g.double())
        assert_close(kernels.conv2d_input_grad(g, weight, list(gx.shape), *self.geometry), gx.to(x.dtype))
        assert_close(kernels.conv2d_weight_grad(x, g, list(gw.shape), *self.geometry), gw.to(x.dtype))


CASES = {
    "1x1": Case((1, 1, 1, 1), (1, 1, 1, 1)),
    "study": Case((1, 1, 28, 28), (32, 1, 3, 3)),
    "several-tiles": Case((3, 5, 9, 11), (70, 5, 3, 3), padding=(1, 1)),
    "stride": Case((2, 2, 11, 8), (3, 2, 3, 2), stride=(2, 3), padding=(2, 1)),
    "dilation": Case((2, 1, 12, 9), (4, 1, 3, 3), dilation=(2, 3), padding=(3, 0)),
    "padding-beyond-the-kernel": Case((1, 1, 3, 4), (2, 1, 2, 2), padding=(4, 3), stride=(1, 2)),
    "groups": Case((2, 6, 5, 6), (4, 3, 2, 3), groups=2, padding=(0, 1)),
    "depthwise": Case((2, 3, 5, 5), (3, 1, 3, 3), groups=3),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, device: torch.device) -> None:
    x, weight, bias = CASES[name].draw(device, torch.float32)
    CASES[name].check(x, weight, bias)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype: torch.dtype, device: torch.device) -> None:
    case = Case((2, 2, 7, 8), (5, 2, 3, 3), padding=(1, 0), batched="w")
    case.check(*case.draw(device, dtype))


@pytest.mark.parametrize("batched", ["x", "w", "xw", "xb", "wb", "xwb"])
def test_tasks(batched: str, device: torch.device) -> None:
    case = Case((2, 2, 6, 5), (4, 1, 3, 2), groups=2, stride=(1, 2), padding=(1, 1), batched=batched)
    x, weight, bias = case.draw(device, torch.float32)
    case.check(x, weight, bias)
    case.check(x, weight, None)


@pytest.mark.parametrize("position", range(4))
def test_every_candidate_computes_the_same(
    position: int, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    monkeypatch.setattr(tuning, "run", lambda key, tiles, launch: launch(tiles[position % len(tiles)]))
    case = Case((3, 4, 8, 9), (40, 4, 3, 3), padding=(1, 1), batched="w")
    case.check(*case.draw(device, torch.float32))


def test_numbers_of_64_bits(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    """As for images of more than 2³⁰ elements, which are too many to test with."""
    options = kernels._options
    wide = {"INDEX": kernels.tl.int64}
    monkeypatch.setattr(kernels, "_options", lambda *arguments: {**options(*arguments), **wide})
    CASES["groups"].check(*CASES["groups"].draw(device, torch.float32))


def test_empty_and_strided_arguments(device: torch.device) -> None:
    case = Case((2, 2, 7, 8), (5, 2, 3, 3))
    x, weight, bias = case.draw(device, torch.float32)
    case.check(
        x.contiguous(memory_format=torch.channels_last), torch.stack([weight, weight], -1)[..., 0], bias
    )
    assert kernels.conv2d(x[:0], weight, bias, *case.geometry).shape == (0, 5, 5, 6)
    g = torch.empty(0, 2, 5, 5, 6, device=device)
    zeros = torch.zeros_like
    weight_grad = kernels.conv2d_weight_grad(x, g, list(weight.shape), *case.geometry)
    assert torch.equal(weight_grad, zeros(weight))
    assert torch.equal(kernels.conv2d_input_grad(g, weight, list(x.shape), *case.geometry), zeros(x))


def test_split_sums_are_repeatable(device: torch.device) -> None:
    case = Case((9, 1, 12, 12), (3, 1, 3, 3))
    x, *_ = case.draw(device, torch.float32)
    g = torch.randn(9, 3, 10, 10, device=device)
    first = kernels.conv2d_weight_grad(x, g, [3, 1, 3, 3], *case.geometry)
    expected = torch.nn.grad.conv2d_weight(x.double(), (3, 1, 3, 3), g.double())
    torch.testing.assert_close(first, expected.float(), rtol=1e-4, atol=1e-3)
    assert torch.equal(first, kernels.conv2d_weight_grad(x, g, [3, 1, 3, 3], *case.geometry))


def test_functions_differentiate_through_the_launchers(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    for name in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"):
        monkeypatch.setattr(torch.ops.rotfast, name, getattr(kernels, name))
    case = Case((1, 1, 3, 3), (1, 1, 2, 2), padding=(1, 0))
    tensors = case.draw(device, torch.float64)
    geometry = make_geometry(tensors[0], case.weight, *case.geometry)

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return DirectConv2d.apply(x, weight, bias, geometry)

    check_derivatives(function, tensors)
    check_vmap(function, tensors)
