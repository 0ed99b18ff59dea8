import math

import pytest
import torch
from torch import nn

from rotfast.models import (
    ACTIVATIONS,
    article_vae,
    gaussian_kl,
    normalised_beta,
    own_vae,
    reconstruction_loss,
)


@pytest.mark.parametrize("build", [article_vae, own_vae])
@pytest.mark.parametrize("size", [16, 32, 64])
def test_shapes(build, size):
    model = build(latent_size=3, image_size=size)
    logits, mu, logvar = model(torch.rand(2, 1, size, size))
    assert logits.shape == (2, 1, size, size)
    assert mu.shape == logvar.shape == (2, 3)
    image = model.decode(mu)
    assert image.shape == logits.shape
    assert image.min() > 0
    assert image.max() < 1


def channels(model, kind):
    return [layer.out_channels for layer in model.modules() if isinstance(layer, kind)]


def test_article_has_the_layers_of_the_paper():
    model = article_vae()
    assert channels(model.encoder, nn.Conv2d) == [32, 32, 64, 64]
    assert channels(model.decoder, nn.ConvTranspose2d) == [64, 32, 32, 1]
    dense = [layer for layer in model.encoder if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in dense] == [(1024, 256), (256, 20)]


def test_own_has_seven_normalised_convolutions_and_is_linear():
    model = own_vae().double()
    assert channels(model.encoder, nn.Conv2d) == [32, 32, 64, 64, 128, 128, 256]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model.encoder) == 7
    model.eval()
    a, b = torch.rand(2, 1, 1, 64, 64, dtype=torch.float64)
    middle = model.encode((a + b) / 2)[0]
    torch.testing.assert_close(middle, (model.encode(a)[0] + model.encode(b)[0]) / 2)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_is_an_option(activation):
    for build in (article_vae, own_vae):
        layers = [type(layer) for layer in build(image_size=16, activation=activation).encoder]
        assert type(ACTIVATIONS[activation]()) in layers


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"latent_size": 0}, "latent_size must be a positive int, got 0"),
        ({"image_size": 28}, "image_size must be 64, 32 or 16, got 28"),
        ({"activation": "swish"}, "activation must be one of linear, relu.*got 'swish'"),
    ],
)
def test_wrong_arguments_are_named(arguments, match):
    for build in (article_vae, own_vae):
        with pytest.raises(ValueError, match=match):
            build(**arguments)


def test_reconstruction_loss_is_the_sum_over_pixels():
    x, logits = torch.rand(3, 1, 4, 5), torch.randn(3, 1, 4, 5)
    p = torch.sigmoid(logits)
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)
    torch.testing.assert_close(reconstruction_loss(logits, x), expected)


def test_gaussian_kl_agrees_with_torch():
    mu, logvar = torch.randn(2, 6, 3)
    posterior = torch.distributions.Normal(mu, (logvar / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(-1)
    torch.testing.assert_close(gaussian_kl(mu, logvar), expected)


def test_normalised_beta_is_that_of_the_paper():
    assert math.isclose(normalised_beta(4.0, 10, 4096), 4 * 10 / 4096)


def test_gradients_reach_every_parameter():
    for build in (article_vae, own_vae):
        model = build(image_size=16)
        x = torch.rand(4, 1, 16, 16)
        logits, mu, logvar = model(x)
        (reconstruction_loss(logits, x) + gaussian_kl(mu, logvar)).mean().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
