"""Configuration of the one-shot recipe: presets, checks, and its way through config.yaml."""

import pytest
import yaml

from rotfast.recipes.config import config_from_dict, config_to_dict
from rotfast.recipes.one_shot import OneShotConfig, preset_config

DECK_MODELS = ("convnet", "cnn", "dense", "siamese")


@pytest.mark.parametrize("model", [None, "embedder", *DECK_MODELS])
@pytest.mark.parametrize("data", ["digits", "mnist", "omniglot", "cifar10"])
@pytest.mark.parametrize("preset", ["as-in-deck", "recommended"])
def test_every_preset_survives_the_file(data, preset, model):
    if preset == "as-in-deck" and model == "embedder":
        with pytest.raises(
            ValueError, match="model must be one of convnet, cnn, dense, siamese, got 'embedder'"
        ):
            preset_config(data, preset, model)
        return
    config = preset_config(data, preset, model)
    assert (config.data, config.preset) == (data, preset)
    assert model in (None, config.model)
    text = yaml.safe_dump(config_to_dict(config), sort_keys=False)
    assert config_from_dict(OneShotConfig, yaml.safe_load(text)) == config


def test_cifar_as_in_deck_is_the_study():
    config = preset_config("cifar10", "as-in-deck")
    assert (config.model, config.loss, config.batch, config.lr, config.schedule) == (
        *("convnet", "cross-entropy", 32, 1e-4, "constant"),
    )
    assert (config.degrees, config.translate, config.shear, config.scale) == (2.0, 0.15, 0.1, (0.9, 1.1))
    assert (config.padding_mode, config.flip, config.test_images, config.draws) == ("border", True, 700, 100)
    assert config.l2 == 1e-4
    assert [name.split(".")[1] for name in config.l2_on] == ["conv3", "conv4", "conv5", "dense"]
    assert len(config.held_out) == 4
    assert config.kinds == 1


def test_mnist_as_in_deck_is_the_study():
    for model in ("cnn", "dense", "siamese"):
        config = preset_config("mnist", "as-in-deck", model)
        assert (config.held_out, config.embedding_size) == ((5, 6, 7, 8, 9), 2)
        assert (config.degrees, config.translate, config.l2, config.views) == (0, 0, 0, 0)
        assert (config.margin, config.threshold, config.metric) == (1.0, 0.5, "euclidean")


def test_recommended_counts_every_turn_as_a_class():
    assert preset_config("mnist").kinds == 4
    assert OneShotConfig(mirror_classes=True).kinds == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "svhn"}, "data must be one of digits, .*, got 'svhn'"),
        ({"model": "resnet"}, "model must be one of embedder, .*, got 'resnet'"),
        ({"loss": "triplet"}, "loss must be one of cross-entropy, .*, got 'triplet'"),
        ({"model": "cnn"}, "loss must be cross-entropy for .*, got 'supervised-contrastive' for cnn"),
        ({"held_out": (5, 5)}, r"held_out must be different classes from 0 to 9, got \(5, 5\)"),
        ({"held_out": (10, 1)}, r"held_out must be different classes from 0 to 9, got \(10, 1\)"),
        ({"held_out": (5,)}, r"held_out must leave at least 2 of 10 classes on both sides, got \(5,\)"),
        ({"held_out": tuple(range(9))}, "held_out must leave at least 2 of 10 classes"),
        ({"data": "omniglot"}, "held_out must be empty for omniglot, got"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"views": -1}, "views must be at least 0, got -1"),
        ({"test_images": 1}, "test_images must be at least 2, got 1"),
        ({"lr": float("nan")}, "lr must be finite and not negative, got nan"),
        ({"temperature": 0.0}, r"temperature must be positive, got 0\.0"),
        ({"translate": 1.5}, r"translate must be from 0 to 1, got 1\.5"),
        ({"scale": (1.2, 0.8)}, "scale must be two positive numbers, the smaller first"),
        ({"rotation_weight": 1.0, "rotation_classes": False}, "rotation_weight needs model embedder with"),
        ({"images_per_class": 1}, "images_per_class must be at least 2 .* got 1 and 128"),
        ({"batch": 7}, "batch at least twice that, got 4 and 7"),
        ({"preset": "best"}, "preset must be one of as-in-deck, recommended, got 'best'"),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        OneShotConfig(**change)
