import pytest

from rotfast.recipes.beta_vae import BetaVaeConfig, preset_config
from rotfast.recipes.beta_vae.commands import train
from rotfast.recipes.config import config_from_dict, config_to_dict


def test_the_study_is_the_preset_as_in_deck():
    config = preset_config("article", "mnist", "as-in-deck")
    assert (config.beta, config.latent_size, config.epochs, config.image_size) == (4.0, 10, 15, 64)
    assert (config.mixture, config.span) == ("union", 90.0)


def test_the_command_line_reads_betas_seeds_and_a_preset():
    options = train.parse(
        ["--architecture", "own", "--data", "mnist", "--betas", "1", "4", "--seeds", "0", "1"]
    )
    assert options.config.betas == (1.0, 4.0)
    assert options.config.image_size == 64
    assert options.seeds == (0, 1)


def test_configuration_survives_its_file():
    config = preset_config("spatial")
    assert config_from_dict(BetaVaeConfig, config_to_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"architecture": "conv"}, "architecture must be one of article, own, spatial, got 'conv'"),
        ({"image_size": 28}, "image_size must be 64, 32 or 16 for architecture article, got 28"),
        ({"clip_norm": 0.0}, r"clip_norm must be a positive number, got 0\.0"),
        ({"prior": "up"}, "prior must be one of upright, half, flat, got 'up'"),
        ({"mixture": "both"}, "mixture must be one of union, rotated, got 'both'"),
        ({"beta": -1.0}, "beta must be finite and not negative, got -1.0"),
        ({"betas": (1.0, 1.0)}, "betas must differ from each other"),
        ({"span": 180.0}, "span must be above 0 and below 180, got 180.0"),
        ({"temperature": (1.0,)}, "temperature must be two positive numbers"),
        ({"activation": "swish"}, "activation must be one of linear, relu"),
        ({"architecture": "spatial", "activation": "relu"}, "activation needs architecture article or own"),
        ({"candidates": 1}, "candidates must be at least 2, got 1"),
    ],
)
def test_wrong_values_are_named(values, match):
    with pytest.raises(ValueError, match=match):
        BetaVaeConfig(**values)
