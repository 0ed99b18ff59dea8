"""The library's autoencoders as explorers: names, ranges, the way there and back."""

import pytest
import torch

import rotfast
from rotfast.demo.models import GaussianExplorer, SpatialExplorer
from rotfast.models import SpatialVAE, article_vae, own_vae


@pytest.mark.parametrize(("make", "size"), [(article_vae, 64), (article_vae, 16), (own_vae, 32)])
def test_a_gaussian_code(make, size):
    model = make(latent_size=4, image_size=size)
    explorer = GaussianExplorer(model, 4)
    assert [dimension.name for dimension in explorer.dimensions] == ["z1", "z2", "z3", "z4"]
    assert explorer.image_size == size
    images = torch.rand(3, 1, size, size)
    codes = explorer.encode(images)
    torch.testing.assert_close(codes, model.encode(images)[0])
    torch.testing.assert_close(explorer.decode(codes), model.decode(codes))


def test_batch_normalisation_rests():
    explorer = GaussianExplorer(own_vae(latent_size=2, image_size=16), 2)
    images = torch.rand(5, 1, 16, 16)
    torch.testing.assert_close(explorer.encode(images)[:1], explorer.encode(images[:1]))


@pytest.mark.parametrize("shift_std", [0.0, 1.5])
def test_a_spatial_code(shift_std):
    model = SpatialVAE(latent_size=3, image_size=16, hidden=8, span=60.0, shift_std=shift_std)
    explorer = SpatialExplorer(model)
    names = ["angle", "z1", "z2", "z3"] + (["shift right", "shift down"] if shift_std else [])
    assert [dimension.name for dimension in explorer.dimensions] == names
    angle = explorer.dimensions[0]
    assert (angle.low, angle.high, angle.unit) == (-60, 60, "°")
    assert explorer.dimensions[-1].high == (4.5 if shift_std else 3)
    images = torch.rand(5, 1, 16, 16)
    codes, code = explorer.encode(images), model.encode(images)
    assert codes.shape == (5, len(names))
    torch.testing.assert_close(codes[:, 0], code.angle)
    expected = model.decode(code.mu, code.angle, code.shift)
    torch.testing.assert_close(explorer.decode(codes), expected)


def test_the_angle_turns_the_decoded_image():
    explorer = SpatialExplorer(SpatialVAE(latent_size=2, image_size=16, hidden=8))
    codes = torch.tensor([[0.0, 1.0, -1.0], [90.0, 1.0, -1.0]])
    upright, turned = explorer.decode(codes)
    torch.testing.assert_close(turned, torch.rot90(upright, dims=(1, 2)))
    torch.testing.assert_close(explorer.decode(codes[:1]), rotfast.rotate(upright[None], 0.0))
