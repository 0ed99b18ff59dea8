"""Configuration: presets, the way through config.yaml, and values that are refused."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rotfast.recipes.config import config_from_dict, config_to_dict
from rotfast.recipes.rotnet import RotnetConfig, preset_config

ALL = [
    (data, preset, model)
    for data in ("digits", "mnist", "cifar10")
    for preset in ("as-in-deck", "recommended")
    for model in ("mlpc", "cnn", "rotnet")
    if (data, model) != ("cifar10", "mlpc")
]


@pytest.mark.parametrize(("data", "preset", "model"), ALL, ids=lambda value: value)
def test_presets_go_through_config_yaml(data, preset, model):
    config = preset_config(data, preset, model)
    assert (config.data, config.preset, config.model) == (data, preset, model)
    assert config_from_dict(RotnetConfig, config_to_dict(config)) == config


def test_presets_differ_in_what_the_study_did_wrong():
    deck, recommended = preset_config("mnist", "as-in-deck"), preset_config("mnist", "recommended")
    assert (deck.pretext_split, recommended.pretext_split) == ("copies", "images")
    assert (deck.pretext_augment, recommended.pretext_augment) == (False, True)
    assert (deck.trunk, deck.binarise, deck.freeze) == ("deck", True, "convs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "svhn"}, "data must be one of digits, mnist, cifar10, got 'svhn'"),
        ({"model": "vit"}, "model must be one of mlpc, cnn, rotnet, got 'vit'"),
        ({"data": "cifar10", "model": "mlpc"}, "model must be cnn or rotnet for data cifar10"),
        ({"labels_per_class": (0,)}, "labels_per_class must be from 1 to 1000, got 0"),
        ({"labels_per_class": (1001,)}, "labels_per_class must be from 1 to 1000, got 1001"),
        ({"labels_per_class": ()}, r"labels_per_class must be one value or several that differ, got \(\)"),
        ({"augment": ("none", "none")}, "augment must be one value or several that differ"),
        ({"turns": 1}, "turns must be 0 or at least 2, got 1"),
        ({"turns": 8, "pretext_augment": False}, "turns must be 4 without pretext_augment"),
        ({"pretext_split": "copies"}, "pretext_split copies needs exact quarter turns"),
        ({"model": "cnn", "pseudo_labels": True}, "pseudo_labels needs model rotnet, got 'cnn'"),
        ({"model": "cnn", "pretext_from": "runs/a"}, "pretext_from needs model rotnet, got 'cnn'"),
        ({"validation": 1.0}, r"validation must be from 0 to below 1, got 1\.0"),
        ({"ema": 1.0}, r"ema must be from 0 to below 1, got 1\.0"),
        ({"translate": 1.5}, r"translate must be from 0 to 1, got 1\.5"),
        ({"scale": (1.1, 0.9)}, "scale must be two positive numbers, the smaller first"),
        ({"cifar_batches": (0,)}, r"cifar_batches must be from 1 to 5, got \(0,\)"),
        ({"cifar_batches": (1, 1)}, "cifar_batches must be one value or several that differ"),
        ({"pseudo_labels": True, "augment": ("copies",)}, "augment must be none or fresh with pseudo_labels"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"unlabelled": 0}, "unlabelled must be at least 1, got 0"),
        ({"lr": float("nan")}, "lr must be finite and not negative, got nan"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_wrong_values(options, message):
    with pytest.raises(ValueError, match=message):
        replace(RotnetConfig(), **options)


def test_the_table_of_presets_is_the_codes():
    page = (Path(__file__).resolve().parents[3] / "docs" / "recipes" / "rotnet.md").read_text(
        encoding="utf-8"
    )
    table = re.search(r"^\| option .*\n\|[- |]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]
    assert len(rows) > 10
    for option, *values in rows:
        for preset, value in zip(("as-in-deck", "recommended"), values, strict=True):
            assert str(getattr(preset_config("mnist", preset), option)) == value, (option, preset)
