import warnings

import pytest
import torch
from torch import nn

from rotfast.models import OneShotCNN, OneShotConvNet, OneShotEmbedder, OneShotMLP, SiameseTrunk


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (OneShotConvNet, 16_717_906),
        (lambda: OneShotConvNet(10), 16_720_310),
        (OneShotCNN, 43_872),
        (OneShotMLP, 117_280),
        (SiameseTrunk, 39_426),
    ],
    ids=["ConvNet, 6 classes", "ConvNet, 10 classes", "CNN", "MLP", "siamese trunk"],
)
def test_parameter_counts(make, count):
    with torch.device("meta"):
        assert parameters(make()) == count


def test_layers_of_the_convnet():
    with torch.device("meta"):
        net = OneShotConvNet()
    counts = [parameters(layer) for layer in [*net.body, net.head] if parameters(layer)]
    assert counts == [2_800, 90_100, 180_200, 360_200, 720_400, 15_360_600, 3_606]
    dropouts = [layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)]
    assert dropouts == [0.3, 0.3, 0.5, 0.5]


NETS = {
    "convnet": lambda **k: OneShotConvNet(4, **k),
    "cnn": lambda **k: OneShotCNN(4, 3, **k),
    "mlp": lambda **k: OneShotMLP(4, 3, **k),
    "siamese": lambda **k: SiameseTrunk(3, **k),
    "embedder": lambda **k: OneShotEmbedder(3, width=4, **k),
    "deeper embedder": lambda **k: OneShotEmbedder(3, width=4, depth=2, rotation_head=True, **k),
}


@pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (2, 9)])
def test_shapes(make, channels, size):
    net = make(in_channels=channels, image_size=size).eval()
    x = torch.rand(5, channels, size, size)
    points = net.embed(x)
    assert points.shape == (5, net.embedding_size)
    assert net(x).shape == ((5, 3) if net.head is None else (5, 4))
    torch.testing.assert_close(net(x), points if net.head is None else net.head(points))


@pytest.mark.parametrize("name", ["cnn", "mlp", "convnet"])
def test_points_of_the_classifiers_are_not_negative(name):
    points = NETS[name](in_channels=1, image_size=12).embed(torch.randn(8, 1, 12, 12))
    assert (points >= 0).all()


def test_siamese_second_convolution_keeps_the_size():
    """The same as torch's padding "same", which puts the extra row and column behind."""
    net = SiameseTrunk()
    x = torch.rand(2, 32, 14, 14)
    with warnings.catch_warnings():  # that the copy costs; torch says so once
        warnings.simplefilter("ignore")
        expected = nn.functional.conv2d(x, net.body.conv2.weight, net.body.conv2.bias, padding="same")
    torch.testing.assert_close(net.body.conv2(net.body.pad2(x)), expected)


def test_rotation_head_is_there_when_asked_for():
    net = OneShotEmbedder(8, width=4, rotation_head=True)
    assert net.rotation(net(torch.rand(3, 1, 28, 28))).shape == (3, 4)
    assert OneShotEmbedder(8, width=4).rotation is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneShotConvNet(0), "num_classes must be a positive int, got 0"),
        (lambda: OneShotConvNet(image_size=3), "image_size must be an int of at least 4, got 3"),
        (lambda: OneShotCNN(embedding_size=2.0), r"embedding_size must be a positive int, got 2\.0"),
        (lambda: OneShotMLP(in_channels=True), "in_channels must be a positive int, got True"),
        (lambda: SiameseTrunk(image_size="28"), "image_size must be an int of at least 4, got '28'"),
        (lambda: OneShotEmbedder(image_size=7), "image_size must be an int of at least 8, got 7"),
        (lambda: OneShotEmbedder(width=-1), "width must be a positive int, got -1"),
        (lambda: OneShotEmbedder(depth=0), "depth must be a positive int, got 0"),
    ],
)
def test_bad_sizes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
