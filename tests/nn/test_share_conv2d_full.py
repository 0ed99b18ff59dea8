"""ShareConv2dFull: names, shapes, formula, and a start with the variance of nn.Conv2d."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rotfast import ShareConv2dFull, adapted_parameters, symmetry_parameters


def test_state_dict_has_the_declared_names_and_shapes():
    layer = ShareConv2dFull(4, 6, (3, 2), groups=2, latent_size=5)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "latent_params": (5,),
        "warp": (6 * 2 * 3 * 2, 5),
        "bias": (6,),
    }


OPTIONS = {
    "plain": {},
    "stride": {"stride": (2, 1)},
    "same": {"padding": "same"},
    "dilation": {"dilation": 2, "padding": 2},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "groups": {"groups": 2},
    "rectangular": {"kernel_size": (1, 3)},
    "no bias": {"bias": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_equals_conv2d_with_the_generated_kernel(options):
    options = {"kernel_size": 3, **options}
    layer = ShareConv2dFull(4, 6, dtype=torch.float64, latent_size=5, **options)
    plain = nn.Conv2d(4, 6, dtype=torch.float64, **options)
    W = torch.einsum("ml,l->m", layer.warp, layer.latent_params).reshape(plain.weight.shape)
    with torch.no_grad():
        plain.weight.copy_(W)
        if layer.bias is not None:
            plain.bias.copy_(layer.bias)
    x = torch.randn(2, 4, 8, 9, dtype=torch.float64)
    torch.testing.assert_close(layer.get_weight(), W)
    torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("latent_size", [1, 3, 100])
def test_generated_weight_starts_with_the_variance_of_conv2d(latent_size):
    layer = ShareConv2dFull(16, 64, 3, latent_size=latent_size)
    plain = nn.Conv2d(16, 64, 3)
    assert layer.get_weight().var().item() == pytest.approx(plain.weight.var().item(), rel=0.06)
    assert layer.latent_params.norm().item() == pytest.approx(latent_size**0.5, rel=1e-5)
    assert layer.bias.abs().max() <= 144**-0.5


def test_draws_latent_params_then_warp_then_bias():
    torch.manual_seed(5)
    layer = ShareConv2dFull(2, 3, 3, latent_size=4)
    torch.manual_seed(5)
    latent = torch.empty(4).normal_()
    warp = torch.empty(54, 4).normal_(0, (3 * 18 * 4) ** -0.5)
    bias = torch.empty(3).uniform_(-(18**-0.5), 18**-0.5)
    torch.testing.assert_close(layer.latent_params.data, latent * 2 / latent.norm())
    torch.testing.assert_close(layer.warp.data, warp)
    torch.testing.assert_close(layer.bias.data, bias)


def test_fits_a_kernel_that_lies_in_the_span_of_the_warp():
    layer = ShareConv2dFull(1, 2, 3, latent_size=18, bias=False)
    target = torch.randn(2, 1, 3, 3)
    with torch.no_grad():
        layer.warp.copy_(torch.eye(18))
        layer.latent_params.copy_(target.flatten())
    x = torch.randn(2, 1, 6, 6)
    torch.testing.assert_close(layer(x), F.conv2d(x, target))


def test_symmetry_parameter_is_the_warp():
    layer = ShareConv2dFull(1, 2, 3)
    assert list(symmetry_parameters(layer)) == ["warp"]
    assert list(adapted_parameters(layer)) == ["latent_params", "bias"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"latent_size": 0}, "latent_size must be a positive int, got 0"),
        ({"in_channels": -1}, "in_channels must be a positive int, got -1"),
        ({"kernel_size": (3, 0)}, "kernel_size must be a positive int or a pair of them"),
        ({"groups": 2}, "in_channels must be divisible by groups"),
        ({"padding": "some"}, "Invalid padding string 'some'"),
        ({"padding_mode": "mirror"}, "padding_mode must be one of"),
    ],
)
def test_bad_options_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ShareConv2dFull(**{"in_channels": 3, "out_channels": 4, "kernel_size": 3, **kwargs})


def test_bias_that_is_no_bool_is_refused():
    with pytest.raises(TypeError, match="bias must be a bool, got 5"):
        ShareConv2dFull(1, 2, 3, bias=5)


def test_channel_mismatch_is_refused():
    with pytest.raises(ValueError, match="x must have 3 channels"):
        ShareConv2dFull(3, 4, 3)(torch.zeros(1, 2, 5, 5))


def test_repr_shows_the_options():
    assert repr(ShareConv2dFull(1, 2, 3, padding="same")) == (
        "ShareConv2dFull(1, 2, kernel_size=(3, 3), stride=(1, 1), padding='same', dilation=(1, 1), groups=1, "
        "bias=True, padding_mode='zeros', latent_size=3)"
    )
