"""IdentityLinear and Identity1x1Conv start as the identity and are symmetry parameters."""

import pytest
import torch

from rotfast import Identity1x1Conv, IdentityLinear, adapted_parameters, symmetry_parameters


def test_linear_starts_as_the_identity_and_has_one_parameter():
    layer = IdentityLinear(3)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {"weight": (3, 3)}
    x = torch.randn(5, 3)
    assert torch.equal(layer(x), x)


def test_sigmoid_linear_starts_near_the_identity():
    layer = IdentityLinear(2, sigmoid=True)
    assert layer.weight.tolist() == [[1, -1], [-1, 1]]
    assert layer.temp_warp.tolist() == [5]
    on, off = torch.sigmoid(torch.tensor([5.0, -5.0])).tolist()
    torch.testing.assert_close(layer.get_weight(), torch.tensor([[on, off], [off, on]]))
    torch.testing.assert_close(layer(torch.tensor([1.0, 0.0])), torch.tensor([on, off]))


def test_linear_maps_by_its_weight():
    layer = IdentityLinear(3)
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(2, 4, 3)
    torch.testing.assert_close(layer(x), torch.einsum("oi,nki->nko", layer.weight, x))


def test_conv_starts_as_the_identity_and_mixes_channels():
    layer = Identity1x1Conv(3)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "weight": (3, 3, 1, 1)
    }
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(layer(x), x)
    torch.nn.init.normal_(layer.weight)
    torch.testing.assert_close(layer(x), torch.einsum("oi,nihw->nohw", layer.weight[..., 0, 0], x))


@pytest.mark.parametrize(
    "layer", [IdentityLinear(3, sigmoid=True), Identity1x1Conv(3)], ids=["linear", "conv"]
)
def test_all_parameters_are_symmetry_parameters(layer):
    assert list(symmetry_parameters(layer)) == list(layer.state_dict())
    assert adapted_parameters(layer) == {}


@pytest.mark.parametrize("layer", [IdentityLinear(3), IdentityLinear(3, sigmoid=True), Identity1x1Conv(3)])
def test_reset_parameters_returns_to_the_start(layer):
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    layer.reset_parameters()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="features must be a positive int, got 0"):
        IdentityLinear(0)
    with pytest.raises(TypeError, match="sigmoid must be a bool, got 1"):
        IdentityLinear(3, sigmoid=1)
    with pytest.raises(ValueError, match=r"out_channels must be a positive int, got 2\.0"):
        Identity1x1Conv(2.0)


def test_repr_shows_the_options():
    assert repr(IdentityLinear(3, sigmoid=True)) == "IdentityLinear(features=3, sigmoid=True)"
