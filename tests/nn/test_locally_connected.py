"""LocallyConnected1d: the study's names and shapes, and its own kernel at every position."""

import pytest
import torch
from torch import nn

from rotfast import LocallyConnected1d, adapted_parameters


def test_state_dict_has_the_names_and_shapes_of_the_study():
    layer = LocallyConnected1d(2, 3, 5, kernel_size=4)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "weight": (1, 3, 2, 5, 4),
        "bias": (1, 3, 5),
    }
    assert list(adapted_parameters(layer)) == ["weight", "bias"]


def test_initial_values_are_uniform_as_in_conv1d():
    layer = LocallyConnected1d(4, 8, 100, kernel_size=4)
    for parameter in layer.parameters():
        assert parameter.abs().max() <= 0.25
        assert parameter.abs().max() > 0.24
        assert parameter.mean().abs() < 0.03


@pytest.mark.parametrize(("stride", "length"), [(1, 7), (2, 11), (2, 12), (3, 15)])
def test_every_position_has_its_own_kernel(stride, length):
    layer = LocallyConnected1d(2, 3, 5, kernel_size=3, stride=stride)
    x = torch.randn(4, 2, length)
    y = layer(x)
    assert y.shape == (4, 3, 5)
    for position in range(5):
        window = x[:, :, position * stride : position * stride + 3]
        expected = (
            torch.einsum("oik,nik->no", layer.weight[0, :, :, position], window) + layer.bias[0, :, position]
        )
        torch.testing.assert_close(y[:, :, position], expected)


def test_equal_kernels_make_a_convolution():
    layer, conv = LocallyConnected1d(2, 3, 6, bias=False), nn.Conv1d(2, 3, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(conv.weight[None, :, :, None, :].expand_as(layer.weight))
    x = torch.randn(4, 2, 8)
    torch.testing.assert_close(layer(x), conv(x))


@pytest.mark.parametrize("shape", [(4, 2, 7), (4, 1, 8), (8,), (1, 4, 2, 8), (4, 2, 9)], ids=str)
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"x must be \(N, 2, 8\), got shape"):
        LocallyConnected1d(2, 3, 6)(torch.zeros(shape))


@pytest.mark.parametrize("name", ["in_channels", "out_channels", "output_size", "kernel_size", "stride"])
def test_bad_sizes_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a positive int, got 0"):
        LocallyConnected1d(**{"in_channels": 1, "out_channels": 1, "output_size": 1, name: 0})


def test_repr_shows_the_options():
    assert repr(LocallyConnected1d(1, 2, 68)) == (
        "LocallyConnected1d(1, 2, output_size=68, kernel_size=3, stride=1, bias=True)"
    )
