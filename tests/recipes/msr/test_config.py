"""Configuration of the MSR recipe: presets, checks, and its way through config.yaml."""

import pytest
import yaml

from rotfast.recipes.config import config_from_dict, config_to_dict
from rotfast.recipes.msr.config import PROBLEMS, ROTATED, MsrConfig, preset_config
from rotfast.recipes.run import RunError


@pytest.mark.parametrize(
    ("problem", "preset"),
    [
        (problem, preset)
        for problem in PROBLEMS
        for preset in ("as-in-deck", "recommended")
        if (problem, preset) != ("omniglot", "as-in-deck")
    ],
)
def test_every_preset_survives_the_file(problem, preset):
    config = preset_config(problem, preset)
    assert (config.problem, config.preset) == (problem, preset)
    text = yaml.safe_dump(config_to_dict(config), sort_keys=False)
    assert config_from_dict(MsrConfig, yaml.safe_load(text)) == config


def test_synthetic_defaults_are_those_of_the_study():
    config = preset_config("rank1", "as-in-deck")
    assert (config.tasks, config.k_spt, config.k_qry, config.test_tasks, config.steps) == (
        32,
        1,
        19,
        300,
        1000,
    )
    assert (config.inner_lr, config.outer_lr, config.lr_mode) == (0.1, 1e-3, "per_layer")
    assert (config.inner_steps, config.first_order, config.fresh) == (1, False, False)


@pytest.mark.parametrize("problem", ROTATED)
def test_rotated_defaults_are_those_of_the_study(problem):
    config = preset_config(problem, "as-in-deck")
    assert (config.tasks, config.k_spt, config.k_qry, config.test_tasks, config.steps) == (5, 1, 19, 5, 1000)
    assert (config.inner_lr, config.outer_lr, config.schedule, config.fresh) == (
        0.01,
        1e-4,
        "constant",
        False,
    )
    assert config.angles == (0, 9, 18, 27, 36)
    assert (config.model, config.latent_size, config.test_every) == ("single", 3, 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": "rank3"}, "problem must be one of rank1, .*, got 'rank3'"),
        ({"model": "single"}, "model must be one of share, conv, fc, lc for problem rank1, got 'single'"),
        ({"problem": "rot8", "model": "lc"}, "model must be one of share, conv for problem rot8, got 'lc'"),
        ({"routed": True}, "routed needs model dedicated, got 'share'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"k_spt": 0}, "k_spt must be at least 1, got 0"),
        ({"checkpoint_every": -1}, "checkpoint_every must be at least 1, got -1"),
        ({"task_chunk": 0}, "task_chunk must be at least 1, got 0"),
        ({"inner_steps": -1}, "inner_steps must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"inner_lr": float("nan")}, "inner_lr must be finite and not negative, got nan"),
        ({"outer_lr": -1.0}, r"outer_lr must be finite and not negative, got -1\.0"),
        ({"angles": ()}, "angles must be at least one finite number of degrees"),
        ({"angles": (0.0, float("inf"))}, "angles must be at least one finite number of degrees"),
        ({"angles": (9.0, 9.0)}, "angles must differ from each other"),
        (
            {"problem": "omniglot", "model": "fc"},
            "model must be one of share, conv, prototypes for problem omn",
        ),
        ({"problem": "omniglot", "preset": "as-in-deck"}, "omniglot needs preset recommended .*as-in-deck"),
        ({"problem": "omniglot", "fresh": False}, "omniglot needs .* fresh tasks.*fresh False"),
        ({"ways": 1}, "ways must be at least 2, got 1"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"width": 10}, "width must be a multiple of 4, got 10"),
        ({"degrees": -1.0}, r"degrees must be finite and not negative, got -1\.0"),
        ({"scale": (1.2, 0.8)}, "scale must be two positive numbers, the smaller first"),
        ({"preset": "best"}, "preset must be one of as-in-deck, recommended, got 'best'"),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        MsrConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "rotnet"}, "recipe must be msr, got rotnet"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"steps": "many"}, "steps has the wrong value 'many'"),
        ({"steps": True}, "steps has the wrong value True"),
        ({"angles": ["a"]}, "angles has the wrong value 'a'"),
        ({"lr_mode": "none"}, "lr_mode has the wrong value 'none'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_bad_file_is_named(change, message):
    with pytest.raises(RunError, match=rf"config\.yaml.*{message}"):
        config_from_dict(MsrConfig, {**config_to_dict(MsrConfig()), **change})


def test_missing_field_is_named():
    values = config_to_dict(MsrConfig())
    del values["inner_lr"]
    with pytest.raises(RunError, match=r"config\.yaml lacks the field 'inner_lr'"):
        config_from_dict(MsrConfig, values)
