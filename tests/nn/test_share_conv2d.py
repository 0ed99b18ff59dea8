"""ShareConv2d: the study's names, shapes, initial values and formula, and everything nn.Conv2d can do."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rotfast import ShareConv2d, adapted_parameters, symmetry_parameters


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def randomise(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape))


def kernel_of_the_study(layer):
    """One warp at a time, as the study's slides write it; indices o out, i in, s tap."""
    A, B, C = layer.A_warp, layer.B_warp, layer.C_warp
    if layer.sigmoid:
        A, B, C = (torch.sigmoid(layer.temp_warp * warp) for warp in (A, B, C))
    w = layer.weight.reshape(*layer.weight.shape[:2], -1)
    w = torch.einsum("op,pis->ois", A, w)
    w = torch.einsum("ij,ojs->ois", B, w)
    w = torch.einsum("st,oit->ois", C, w)
    return w.reshape(layer.weight.shape)


def test_state_dict_has_the_names_and_shapes_of_the_study():
    assert shapes(ShareConv2d(2, 5, 3)) == {
        "weight": (5, 2, 3, 3),
        "bias": (5,),
        "A_warp": (5, 5),
        "B_warp": (2, 2),
        "C_warp": (9, 9),
    }


def test_sigmoid_state_dict_has_the_names_and_shapes_of_the_study():
    assert shapes(ShareConv2d(2, 5, (3, 2), sigmoid=True, bias=False)) == {
        "weight": (5, 2, 3, 2),
        "A_warp": (5, 5),
        "B_warp": (2, 2),
        "C_warp": (6, 6),
        "temp_warp": (1,),
    }


def test_state_dict_made_by_hand_loads_and_comes_back():
    saved = {
        "weight": torch.randn(5, 2, 3, 3),
        "bias": torch.randn(5),
        "A_warp": torch.randn(5, 5),
        "B_warp": torch.randn(2, 2),
        "C_warp": torch.randn(9, 9),
        "temp_warp": torch.randn(1),
    }
    layer = ShareConv2d(2, 5, 3, sigmoid=True)
    layer.load_state_dict(saved, strict=True)
    assert all(torch.equal(value, saved[name]) for name, value in layer.state_dict().items())


def test_initial_values_are_those_of_conv2d_with_identity_warps():
    torch.manual_seed(3)
    plain = nn.Conv2d(2, 5, 3)
    torch.manual_seed(3)
    layer = ShareConv2d(2, 5, 3)
    assert torch.equal(layer.weight, plain.weight)
    assert torch.equal(layer.bias, plain.bias)
    for warp, size in ((layer.A_warp, 5), (layer.B_warp, 2), (layer.C_warp, 9)):
        assert torch.equal(warp, torch.eye(size))


def test_initial_sigmoid_warps_are_plus_one_on_and_minus_one_off_the_diagonal():
    layer = ShareConv2d(2, 3, 1, sigmoid=True)
    assert layer.A_warp.tolist() == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    assert layer.B_warp.tolist() == [[1, -1], [-1, 1]]
    assert layer.C_warp.tolist() == [[1]]
    assert layer.temp_warp.tolist() == [7]


def test_reset_parameters_draws_the_weight_anew_and_returns_the_warps():
    layer = ShareConv2d(2, 3, 3, sigmoid=True)
    before = layer.weight.detach().clone()
    randomise(layer)
    layer.reset_parameters()
    assert not torch.equal(layer.weight, before)
    assert layer.weight.abs().max() <= 18**-0.5
    assert torch.equal(layer.C_warp, 2 * torch.eye(9) - 1)
    assert layer.temp_warp.item() == 7


OPTIONS = {
    "plain": {},
    "stride": {"stride": 2},
    "stride pair": {"stride": (1, 3)},
    "padding pair": {"padding": (2, 0)},
    "valid": {"padding": "valid"},
    "same": {"padding": "same"},
    "same, even kernel": {"padding": "same", "kernel_size": (2, 4)},
    "dilation": {"dilation": (2, 1), "padding": 1},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "circular same": {"padding": "same", "padding_mode": "circular"},
    "replicate": {"padding": (1, 2), "padding_mode": "replicate", "stride": 2},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4, "padding": 1},
    "flat kernel": {"kernel_size": (1, 3)},
    "no bias": {"bias": False},
}


@pytest.mark.parametrize("sigmoid", [False, True], ids=["linear", "sigmoid"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_equals_conv2d_with_the_kernel_of_the_study(options, sigmoid):
    options = {"kernel_size": 3, **options}
    layer = ShareConv2d(4, 8, sigmoid=sigmoid, dtype=torch.float64, **options)
    randomise(layer)
    plain = nn.Conv2d(4, 8, dtype=torch.float64, **options)
    W = kernel_of_the_study(layer)
    with torch.no_grad():
        plain.weight.copy_(W)
        if layer.bias is not None:
            plain.bias.copy_(layer.bias)
    x = torch.randn(3, 4, 9, 10, dtype=torch.float64)
    torch.testing.assert_close(layer.get_weight(), W)
    torch.testing.assert_close(layer(x), plain(x))


def test_loads_into_conv2d_by_get_weight():
    layer = ShareConv2d(1, 4, 3)
    randomise(layer)
    x = torch.randn(2, 1, 6, 6)
    torch.testing.assert_close(F.conv2d(x, layer.get_weight(), layer.bias), layer(x))


@pytest.mark.parametrize(
    ("args", "kwargs", "stride", "sigmoid"),
    [
        ((True,), {}, (1, 1), True),
        ((False,), {"stride": 2}, (2, 2), False),
        ((2,), {}, (2, 2), False),
        (((2, 1), 1), {"sigmoid": True}, (2, 1), True),
        ((), {"sigmoid": True, "stride": 3}, (3, 3), True),
    ],
    ids=[
        "study: sigmoid",
        "study: sigmoid, stride by name",
        "Conv2d: stride",
        "Conv2d: stride, padding",
        "names",
    ],
)
def test_understands_the_positional_order_of_the_study_and_of_conv2d(args, kwargs, stride, sigmoid):
    layer = ShareConv2d(1, 2, 3, *args, **kwargs)
    assert layer.stride == stride
    assert layer.sigmoid is sigmoid
    assert (layer.temp_warp is not None) is sigmoid


def test_takes_all_positional_arguments_of_conv2d():
    args = (2, 4, (3, 2), (2, 1), (1, 2), 2, 2, False, "reflect")
    layer, plain = ShareConv2d(*args), nn.Conv2d(*args)
    for name in ("stride", "padding", "dilation", "groups", "padding_mode", "bias"):
        assert getattr(layer, name) == getattr(plain, name)


def test_positional_sigmoid_followed_by_a_position_is_refused():
    with pytest.raises(TypeError, match=r"after a positional sigmoid must be keywords, got \(2,\)"):
        ShareConv2d(1, 2, 3, True, 2)


def test_sigmoid_given_twice_is_refused():
    with pytest.raises(
        TypeError, match="sigmoid must be given once, got True by position and False by keyword"
    ):
        ShareConv2d(1, 2, 3, True, sigmoid=False)


def test_sigmoid_that_is_no_bool_is_refused():
    with pytest.raises(TypeError, match="sigmoid must be a bool, got 2"):
        ShareConv2d(1, 2, 3, sigmoid=2)


@pytest.mark.parametrize("kernel_size", [0, (3, 0), (3, 3, 3), 1.5, "3"])
def test_bad_kernel_size_is_refused(kernel_size):
    with pytest.raises(ValueError, match="kernel_size must be a positive int or a pair of them, got"):
        ShareConv2d(1, 2, kernel_size)


@pytest.mark.parametrize("name", ["in_channels", "out_channels"])
def test_bad_channel_count_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a positive int, got 0"):
        ShareConv2d(**{"in_channels": 1, "out_channels": 1, "kernel_size": 3, name: 0})


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        ShareConv2d(3, 4, 3, groups=2)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 3, 8, 8), ValueError, "x must have 1 channels"),
        (torch.zeros(8, 8), ValueError, "x must be "),
        (torch.zeros(2, 1, 8, 8, dtype=torch.float64), TypeError, "x must have the dtype of weight"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), TypeError, "x must have a floating-point dtype"),
        (torch.zeros(2, 1, 2, 8), ValueError, "x must have a padded height of at least 3"),
    ],
    ids=["channels", "rank", "dtype", "integers", "too small"],
)
def test_bad_images_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        ShareConv2d(1, 2, 3)(x)


def test_symmetry_parameters_are_the_warps():
    assert list(symmetry_parameters(ShareConv2d(1, 2, 3))) == ["A_warp", "B_warp", "C_warp"]
    layer = ShareConv2d(1, 2, 3, sigmoid=True)
    assert list(symmetry_parameters(layer)) == ["A_warp", "B_warp", "C_warp", "temp_warp"]
    assert list(adapted_parameters(layer)) == ["weight", "bias"]


def test_repr_shows_the_options_of_conv2d_and_sigmoid():
    assert repr(ShareConv2d(1, 2, 3, stride=2, sigmoid=True)) == (
        "ShareConv2d(1, 2, kernel_size=(3, 3), stride=(2, 2), sigmoid=True)"
    )


def test_is_a_conv2d():
    assert isinstance(ShareConv2d(1, 2, 3), nn.Conv2d)
