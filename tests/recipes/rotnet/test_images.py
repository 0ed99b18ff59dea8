"""Images on their way to the network: turns and their targets, jitter of all turns, black and white."""

from dataclasses import replace

import pytest
import torch

import rotfast
from rotfast.data import projection_features
from rotfast.recipes.rotnet import preset_config
from rotfast.recipes.rotnet.images import Pipeline, load_images
from rotfast.recipes.run import RunError

GREY = replace(preset_config("digits"), turns=4)
STILL = replace(GREY, degrees=0.0, translate=0.0, scale=(1.0, 1.0), shear=0.0, perspective=0.0)
DECK = preset_config("digits", "as-in-deck")


def images(count=6):
    return load_images(GREY, "test").first(count).x


def normalised(x):
    return (x.float() / 255 - 0.1307) / 0.3081


def test_plain_images_are_normalised():
    torch.testing.assert_close(Pipeline(GREY).plain(images()), normalised(images()))


def test_exact_quarter_turns_and_their_labels():
    x = load_images(DECK, "test").first(6).x
    turned, label = Pipeline(DECK).turned(x)
    expected = torch.cat([torch.rot90(x, q, (-2, -1)) for q in range(4)])
    assert torch.equal(turned, expected / 255)
    assert torch.equal(label, torch.arange(4).repeat_interleave(6))
    assert torch.equal(Pipeline(DECK).quarter_turns(x, torch.full((6,), 3)), turned[label == 3])


@pytest.mark.parametrize("turns", [4, 8])
def test_without_ranges_the_jitter_leaves_the_turns_alone(turns):
    turned, label = Pipeline(replace(STILL, turns=turns)).turned(images())
    assert label.tolist() == list(range(turns)) * 6
    for q in range(turns):
        expected = rotfast.rotate(images(), 360.0 / turns * q, mean=0.1307, std=0.3081)
        torch.testing.assert_close(turned[label == q], expected, atol=1e-4, rtol=0)


def test_jitter_differs_between_the_turns_of_an_image_and_changes_the_upright_one_too():
    turned, label = Pipeline(GREY).turned(images())
    upright = [rotfast.rotate90(turned[label == q], -q) for q in range(4)]
    plain = Pipeline(GREY).plain(images())
    for one in range(4):
        assert (upright[one] - plain).abs().mean() > 0.05
        assert all((upright[one] - upright[other]).abs().mean() > 0.05 for other in range(one))


def test_free_angles_and_their_directions():
    x = images()
    turned, target = Pipeline(replace(STILL, turns=0)).turned(x)
    angle = torch.atan2(target[:, 1], target[:, 0]).rad2deg()
    assert angle.min() < -90
    assert angle.max() > 90
    expected = rotfast.rotate(x, angle.view(6, -1), mean=0.1307, std=0.3081).flatten(0, 1)
    torch.testing.assert_close(turned, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("way", ["plain", "augmented"])
def test_black_and_white_images_stay_so(way):
    x = load_images(DECK, "test").first(20).x
    assert set(x.unique().tolist()) == {0, 255}
    assert set(getattr(Pipeline(DECK), way)(x).unique().tolist()) == {0.0, 1.0}


def test_projections_are_of_the_augmented_image():
    x = load_images(DECK, "test").first(20).x
    mlpc = replace(DECK, model="mlpc")
    torch.manual_seed(3)
    features = Pipeline(mlpc).augmented(x)
    torch.manual_seed(3)
    assert torch.equal(features, projection_features(Pipeline(DECK).augmented(x)))


def test_data_that_cannot_be_read_is_a_message(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"data mnist: .*train-images-idx3-ubyte.*--data-dir or ROTFAST_DATA"):
        load_images(replace(preset_config("mnist"), data_dir=str(tmp_path)), "train")
