"""The models of the synthetic problems."""

import pytest
import torch

from rotfast.models import synthetic_model


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize(("problem", "latent_size"), [("rank1", 3), ("rank2", 6), ("rank5", 30)])
def test_share_model_of_a_rank_problem_has_the_latent_size_of_the_study(problem, latent_size):
    assert shapes(synthetic_model(problem, "share")) == {
        "0.latent_params": (latent_size,),
        "0.warp": (4760, latent_size),
    }


@pytest.mark.parametrize(
    ("model", "weight"),
    [("conv", (1, 1, 3)), ("fc", (68, 70)), ("lc", (1, 1, 1, 68, 3))],
    ids=["conv", "fc", "lc"],
)
def test_baselines_of_a_rank_problem_have_one_weight(model, weight):
    assert shapes(synthetic_model("rank2", model)) == {"0.weight": weight}


@pytest.mark.parametrize("model", ["share", "conv", "fc", "lc"])
def test_rank_models_map_70_positions_to_68(model):
    assert synthetic_model("rank1", model)(torch.randn(5, 1, 70)).shape == (5, 1, 68)


@pytest.mark.parametrize(("problem", "channels"), [("rot8", 24), ("rot8-flip", 48)])
def test_rotation_models_map_images_to_oriented_channels(problem, channels):
    weight = {"0.weight": (channels, 1, 3, 3)}
    warps = {"0.A_warp": (channels, channels), "0.B_warp": (1, 1), "0.C_warp": (9, 9)}
    assert shapes(synthetic_model(problem, "conv")) == weight
    assert shapes(synthetic_model(problem, "share")) == weight | warps
    for model in ("share", "conv"):
        assert synthetic_model(problem, model)(torch.randn(2, 1, 32, 32)).shape == (2, channels, 30, 30)


def test_unknown_problem_is_refused():
    with pytest.raises(
        ValueError, match="problem must be one of rank1, rank2, rank5, rot8, rot8-flip, got 'rank3'"
    ):
        synthetic_model("rank3", "share")


@pytest.mark.parametrize("model", ["fc", "lc", "single"])
def test_model_that_the_problem_lacks_is_refused(model):
    with pytest.raises(
        ValueError, match=f"model must be one of share, conv for problem 'rot8', got '{model}'"
    ):
        synthetic_model("rot8", model)


def test_unknown_model_of_a_rank_problem_is_refused():
    with pytest.raises(
        ValueError, match="model must be one of share, conv, fc, lc for problem 'rank1', got 'mlp'"
    ):
        synthetic_model("rank1", "mlp")
