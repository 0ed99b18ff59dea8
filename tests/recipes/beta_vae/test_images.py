import pytest
import torch

import rotfast
from rotfast.recipes.beta_vae import BetaVaeConfig
from rotfast.recipes.beta_vae.images import load_images
from rotfast.recipes.run import RunError

CONFIG = BetaVaeConfig(validation_images=100, image_size=64)


def as_set(images):
    return {bytes(image.flatten().tolist()) for image in images.x}


def test_training_and_validation_share_no_source_image():
    train, held = load_images(CONFIG, "train"), load_images(CONFIG, "validation")
    assert (len(train), len(held)) == (1337, 100)
    assert not as_set(train) & as_set(held)
    few = load_images(BetaVaeConfig(validation_images=100, images=50), "train")
    assert torch.equal(few.x, train.x[:50])


def test_an_epoch_of_the_union_has_every_image_turned_and_upright():
    images = load_images(CONFIG, "train").first(5)
    assert images.copies == 10
    x = images.drawn(torch.arange(10))
    assert x.shape == (10, 1, 64, 64)
    upright = images.turned(torch.arange(5), torch.zeros(5))
    assert torch.equal(x[5:], upright)
    assert not torch.equal(x[:5], upright)
    assert upright.min() >= 0
    assert upright.max() <= 1


def test_angles_are_drawn_anew_and_uniformly():
    images = load_images(BetaVaeConfig(validation_images=100, image_size=32, mixture="rotated"), "train")
    assert images.copies == len(images)
    index = torch.zeros(400, dtype=torch.int64)
    torch.manual_seed(0)
    first, second = images.drawn(index), images.drawn(index)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    angle = 90 * (2 * torch.rand(400) - 1)
    assert torch.equal(first, rotfast.rotate(images.turned(index, torch.zeros(400)), angle))


def test_fixed_angles_are_the_same_in_every_call():
    images = load_images(CONFIG, "test")
    angles = images.fixed_angles()
    assert torch.equal(angles, images.fixed_angles())
    assert angles.min() < -80
    assert angles.max() > 80
    assert angles.abs().max() <= 90


def test_too_many_validation_images_are_refused():
    with pytest.raises(RunError, match="validation_images must be below the 1437 training images, got 1437"):
        load_images(BetaVaeConfig(validation_images=1437), "train")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"broken")
    with pytest.raises(RunError, match=r"data mnist: .*train-images-idx3-ubyte.gz"):
        load_images(BetaVaeConfig(data="mnist", data_dir=str(tmp_path)), "train")
