import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from rotfast.models import DedicatedCircuits, SingleCircuit
from rotfast.plots import visualize_activations


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


@pytest.fixture
def images():
    return torch.rand(3, 1, 8, 8)


def test_layers_of_a_sequential_model(images):
    figure = visualize_activations(SingleCircuit(channels=4, image_size=8), images)
    assert titles(figure) == ["0 ShareConv2d: 4 maps 6 × 6", "1 ReLU: 4 maps 6 × 6"]


def test_layers_of_every_circuit(images):
    figure = visualize_activations(DedicatedCircuits(3, channels=4, image_size=8), images)
    assert titles(figure) == [
        f"circuits.{circuit}.{layer}: 4 maps 6 × 6"
        for circuit in range(3)
        for layer in ("0 ShareConv2d", "1 ReLU")
    ]


def test_further_arguments_follow_the_image(images):
    model = DedicatedCircuits(3, channels=4, image_size=8, routed=True)
    figure = visualize_activations(model, images, None, torch.tensor([0, 1, 2]), index=1)
    assert len(titles(figure)) == 6


class Router(nn.Module):
    """Sends only its own images to each circuit, so that some circuits get none."""

    def __init__(self):
        super().__init__()
        self.circuits = nn.ModuleList(nn.Conv2d(1, 2, 3) for _ in range(3))

    def forward(self, x, circuit):
        return [each(x[circuit == index]) for index, each in enumerate(self.circuits)]


@pytest.mark.parametrize("index", [0, 2, -1])
def test_only_the_circuit_of_the_image_is_shown(images, index):
    figure = visualize_activations(Router(), images, None, torch.tensor([2, 0, 1]), index=index)
    assert titles(figure) == [f"circuits.{[2, 0, 1][index]} Conv2d: 2 maps 6 × 6"]


def test_values_are_the_layers_output_before_an_activation_in_place(images):
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(inplace=True))
    figure = visualize_activations(model, images, index=1)
    expected = model[0](images)[1, 0].detach()
    shown = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown[::4, ::4], expected, atol=1e-6)


def test_the_model_is_left_as_it_was(images):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    visualize_activations(model, images)
    assert [module.training for module in model] == [True, True, False]
    assert not any(module._forward_hooks for module in model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(RuntimeError):
        visualize_activations(model, torch.rand(1, 5, 8, 8))
    assert [module.training for module in model] == [True, True, False]
    assert not any(module._forward_hooks for module in model)


def test_parametrized_layers_show_their_output_not_their_weight(images):
    figure = visualize_activations(nn.Sequential(weight_norm(nn.Conv2d(1, 2, 3))), images)
    assert len(titles(figure)) == 1


def test_colour_images_and_many_maps():
    figure = visualize_activations(nn.Conv2d(3, 70, 1), torch.randn(1, 3, 6, 4))
    assert titles(figure) == ["Conv2d: first 64 of 70 maps 6 × 4"]
    picture = figure.axes[0].images[0].get_array()
    assert picture.shape == (6, 4, 3)
    assert picture.min() >= 0
    assert picture.max() <= 1


@pytest.mark.parametrize(
    ("x", "index", "error", "message"),
    [
        (torch.rand(1, 8, 8), 0, ValueError, r"x: expected images \(N, C, H, W\).*\(1, 8, 8\)"),
        (torch.rand(0, 1, 8, 8), 0, ValueError, r"x: expected images .*\(0, 1, 8, 8\)"),
        (torch.full((1, 1, 8, 8), torch.nan), 0, ValueError, "x: expected finite values"),
        (torch.rand(2, 1, 8, 8), 2, ValueError, "index: .* 2 images, got 2"),
        ([1.0], 0, TypeError, "x: expected a tensor of images, got list"),
    ],
)
def test_bad_images(x, index, error, message):
    with pytest.raises(error, match=message):
        visualize_activations(nn.Conv2d(1, 1, 3), x, index=index)


def test_bad_models(images):
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, got function"):
        visualize_activations(lambda x: x, images)
    with pytest.raises(ValueError, match=r"model: .*\(N, C, H, W\), got none in Sequential"):
        visualize_activations(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), images)
    layer = nn.Conv2d(1, 1, 3)
    nn.init.constant_(layer.bias, torch.inf)
    with pytest.raises(ValueError, match="model: output of layer 0 Conv2d: expected finite values"):
        visualize_activations(nn.Sequential(layer), images)
