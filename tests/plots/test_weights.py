import pytest
import torch
from torch import nn

import rotfast
from rotfast.models import DedicatedCircuits, SingleCircuit
from rotfast.plots import visualize_weights
from rotfast.plots.weights import effective_weight


class Warped(nn.Conv2d):
    """A stranger's layer: nothing but the four tensors says what it is."""

    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__(in_channels, out_channels, kernel_size)
        self.A_warp = nn.Parameter(torch.randn(out_channels, out_channels))
        self.B_warp = nn.Parameter(torch.randn(in_channels, in_channels))
        self.C_warp = nn.Parameter(torch.randn(kernel_size**2, kernel_size**2))


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def headings(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_effective_weight_is_the_kronecker_product():
    layer = Warped(2, 3, 2)
    U = torch.kron(torch.kron(layer.A_warp, layer.B_warp), layer.C_warp)
    torch.testing.assert_close(
        effective_weight(layer), (U @ layer.weight.flatten()).reshape(3, 2, 2, 2).detach()
    )


@pytest.mark.parametrize("sigmoid", [False, True])
def test_effective_weight_agrees_with_the_layer(sigmoid):
    layer = rotfast.ShareConv2d(2, 3, 3, sigmoid=sigmoid)
    stranger = Warped(2, 3, 3)
    stranger.load_state_dict(
        {name: value for name, value in layer.state_dict().items() if name != "temp_warp"}
    )
    if sigmoid:
        stranger.temp_warp = layer.temp_warp
    torch.testing.assert_close(effective_weight(stranger), layer.get_weight().detach())
    torch.testing.assert_close(effective_weight(layer), layer.get_weight().detach())


def test_every_kind_of_convolution_is_shown():
    model = nn.Sequential(
        rotfast.ShareConv2d(1, 4, 3),
        rotfast.ShareConv2dFull(4, 2, 3),
        nn.Conv2d(2, 3, (1, 5)),
        nn.Conv1d(1, 1, 3),
        rotfast.ShareLinearFull(4, 3),
        nn.Linear(3, 2),
    )
    figure = visualize_weights(model)
    assert titles(figure) == [
        "before warps (4, 1, 3, 3)",
        "after warps (4, 1, 3, 3)",
        "generated filters (2, 4, 3, 3)",
        "filters (3, 2, 1, 5)",
        "filters (1, 1, 3)",
    ]
    assert headings(figure) == ["layer 0", "layer 1", "layer 2", "layer 3"]


def test_before_and_after_share_one_symmetric_scale():
    layer = Warped(1, 4, 3)
    before, after = visualize_weights(layer).axes[:2]
    largest = max(layer.weight.abs().max().item(), effective_weight(layer).abs().max().item())
    assert before.images[0].get_clim() == after.images[0].get_clim() == pytest.approx((-largest, largest))


def test_large_layers_say_what_is_left_out():
    figure = visualize_weights(nn.Sequential(nn.Conv2d(1, 100, 3), nn.Conv2d(100, 40, 3)))
    assert headings(figure) == [
        "layer 0, first 64 of 100 filters",
        "layer 1, first 32 of 40 filters, first 16 of 100 input channels",
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype(dtype):
    visualize_weights(nn.Conv2d(1, 2, 3).to(dtype))


def test_zero_weights_are_drawn():
    layer = nn.Conv2d(1, 2, 3)
    nn.init.zeros_(layer.weight)
    assert visualize_weights(layer).axes[0].images[0].get_clim() == (-1, 1)


def test_the_model_of_several_circuits_and_the_single_one():
    assert headings(visualize_weights(SingleCircuit())) == ["layer 0"]
    figure = visualize_weights(DedicatedCircuits(7, channels=2, image_size=8))
    assert headings(figure) == [f"layer circuits.{index}.0" for index in range(7)]


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.Sequential(), rotfast.ShareLinearFull(3, 2)])
def test_a_model_without_convolutions(model):
    with pytest.raises(ValueError, match=f"model: .*one convolution, got none in {type(model).__name__}"):
        visualize_weights(model)


def test_bad_models():
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, got dict"):
        visualize_weights({})
    layer = nn.Conv2d(1, 2, 3)
    nn.init.constant_(layer.weight, float("nan"))
    with pytest.raises(ValueError, match=r"model: filters of layer '0': .* 18 of 18 .* NaN"):
        visualize_weights(nn.Sequential(layer))
