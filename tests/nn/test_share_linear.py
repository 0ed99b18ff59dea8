"""ShareLinear and ShareLinearFull: the study's names, shapes, initial values and formulas."""

import pytest
import torch

from rotfast import ShareLinear, ShareLinearFull, adapted_parameters, symmetry_parameters


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def test_full_state_dict_has_the_names_and_shapes_of_the_study():
    assert shapes(ShareLinearFull(4, 6)) == {"latent_params": (3,), "warp": (24, 3), "bias": (6,)}
    assert shapes(ShareLinearFull(4, 6, False, 5)) == {"latent_params": (5,), "warp": (24, 5)}


def test_full_state_dict_made_by_hand_loads_and_comes_back():
    saved = {"latent_params": torch.randn(3), "warp": torch.randn(24, 3), "bias": torch.randn(6)}
    layer = ShareLinearFull(4, 6)
    layer.load_state_dict(saved, strict=True)
    assert all(torch.equal(value, saved[name]) for name, value in layer.state_dict().items())
    assert layer.get_weight()[1, 2].item() == pytest.approx(
        sum(saved["warp"][1 * 4 + 2, k].item() * saved["latent_params"][k].item() for k in range(3)), rel=1e-5
    )


def test_full_draws_warp_then_latent_params_then_bias():
    torch.manual_seed(5)
    layer = ShareLinearFull(16, 6, latent_size=4)
    torch.manual_seed(5)
    warp = torch.empty(96, 4).normal_(0, 0.01)
    latent = torch.empty(4).normal_(0, 1 / 6)
    bias = torch.empty(6).uniform_(-0.25, 0.25)
    assert torch.equal(layer.warp, warp)
    assert torch.equal(layer.latent_params, latent)
    assert torch.equal(layer.bias, bias)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4), (0, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_full_equals_the_formula_of_the_study(shape, bias):
    layer = ShareLinearFull(4, 6, bias=bias, latent_size=2, dtype=torch.float64)
    x = torch.randn(shape, dtype=torch.float64)
    W = torch.einsum("oil,l->oi", layer.warp.reshape(6, 4, 2), layer.latent_params)
    expected = torch.einsum("oi,...i->...o", W, x)
    if bias:
        expected = expected + layer.bias
    torch.testing.assert_close(layer.get_weight(), W)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("shape", [(), (3,), (5, 2), (5, 8)], ids=str)
def test_full_refuses_other_features_even_if_they_divide_the_weight(shape):
    with pytest.raises(ValueError, match=r"x must be \(\*, 4\), got shape"):
        ShareLinearFull(4, 6, bias=False)(torch.zeros(shape))


@pytest.mark.parametrize("name", ["in_features", "out_features", "latent_size"])
def test_full_refuses_bad_sizes(name):
    with pytest.raises(ValueError, match=f"{name} must be a positive int, got 0"):
        ShareLinearFull(**{"in_features": 4, "out_features": 6, name: 0})


def test_full_refuses_a_bias_that_is_no_bool():
    with pytest.raises(TypeError, match="bias must be a bool, got 3"):
        ShareLinearFull(4, 6, 3)


def test_full_symmetry_parameter_is_the_warp():
    assert list(symmetry_parameters(ShareLinearFull(4, 6))) == ["warp"]
    assert list(adapted_parameters(ShareLinearFull(4, 6))) == ["latent_params", "bias"]


def test_full_repr_shows_the_sizes():
    assert repr(ShareLinearFull(4, 6)) == (
        "ShareLinearFull(in_features=4, out_features=6, bias=True, latent_size=3)"
    )


@pytest.mark.parametrize("sigmoid", [False, True], ids=["linear", "sigmoid"])
def test_factored_state_dict_has_the_names_and_shapes_of_the_study(sigmoid):
    expected = {
        "linear.weight": (6, 4),
        "linear.bias": (6,),
        "U_warp.weight": (4, 4),
        "V_warp.weight": (6, 6),
    }
    if sigmoid:
        expected |= {"U_warp.temp_warp": (1,), "V_warp.temp_warp": (1,)}
    assert shapes(ShareLinear(4, 6, sigmoid=sigmoid)) == expected


@pytest.mark.parametrize("sigmoid", [False, True], ids=["linear", "sigmoid"])
def test_factored_equals_the_formula_of_the_study(sigmoid):
    layer = ShareLinear(4, 6, sigmoid=sigmoid, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    U, V = layer.U_warp.weight, layer.V_warp.weight
    if sigmoid:
        U, V = torch.sigmoid(layer.U_warp.temp_warp * U), torch.sigmoid(layer.V_warp.temp_warp * V)
    x = torch.randn(5, 4, dtype=torch.float64)
    W = torch.einsum("op,pj,ji->oi", V, layer.linear.weight, U)
    torch.testing.assert_close(layer.get_weight(), W)
    torch.testing.assert_close(layer(x), x @ W.T + V @ layer.linear.bias)


def test_factored_starts_as_its_linear_layer():
    layer = ShareLinear(4, 6)
    x = torch.randn(5, 4)
    torch.testing.assert_close(layer(x), layer.linear(x))


def test_factored_symmetry_parameters_are_both_warps():
    layer = ShareLinear(4, 6, sigmoid=True)
    assert set(symmetry_parameters(layer)) == {
        "U_warp.weight",
        "U_warp.temp_warp",
        "V_warp.weight",
        "V_warp.temp_warp",
    }
    assert list(adapted_parameters(layer)) == ["linear.weight", "linear.bias"]


def test_factored_refuses_a_bad_size():
    with pytest.raises(ValueError, match="out_features must be a positive int, got -1"):
        ShareLinear(4, -1)


def test_factored_refuses_a_sigmoid_that_is_no_bool():
    with pytest.raises(TypeError, match="sigmoid must be a bool, got 'yes'"):
        ShareLinear(4, 6, sigmoid="yes")
