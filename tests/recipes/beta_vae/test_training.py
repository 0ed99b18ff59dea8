"""Training end to end: files, exact continuation, several seeds and β, evaluation, and what goes wrong."""

import io
import json
import signal
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from rotfast.recipes import beta_vae
from rotfast.recipes.beta_vae import plots as recipe_plots
from rotfast.recipes.beta_vae import preset_config, runs, training
from rotfast.recipes.beta_vae.images import load_images
from rotfast.recipes.beta_vae.plots import plot_run
from rotfast.recipes.config import config_to_dict
from rotfast.recipes.run import RunError, RunFolder, RunStopped
from rotfast.recipes.seeds import open_run

TINY = {"images": 40, "validation_images": 1000, "epochs": 2, "batch": 20, "log_every": 3, "image_size": 16}
SPATIAL = replace(
    preset_config("spatial"), **TINY, latent_size=2, hidden=16, candidates=3, checkpoint_every=3
)
ARTICLE = replace(preset_config("article"), **TINY, latent_size=2)
CONFIGS = {
    "spatial": SPATIAL,
    "spatial-rotated-shift": replace(SPATIAL, mixture="rotated", prior="flat", shift_std=1.0),
    "article": ARTICLE,
    "own": replace(ARTICLE, architecture="own"),
}


@pytest.fixture
def few_images(monkeypatch):
    """Validation and test on a few images: the metrics need no more to run."""

    def load(config, split):
        return load_images(config, split).first(None if split == "train" else 40)

    monkeypatch.setattr(training, "load_images", load)
    monkeypatch.setattr(runs, "load_images", load)
    monkeypatch.setattr(recipe_plots, "load_images", load)


def train(config, folder, **more):
    return runs.train(config, folder, console=Console(file=io.StringIO()), **more)


def metrics(folder):
    return [{**record, "seconds": 0} for record in RunFolder(folder).read_metrics()]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_leaves_its_files(name, tmp_path, few_images):
    config = CONFIGS[name]
    summary = train(config, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == json.loads(json.dumps(summary))
    records = metrics(tmp_path / "run")
    per_epoch = (80 if config.mixture == "union" else 40) // 20
    validated = [record["step"] for record in records if record["split"] == "validation"]
    assert validated == [per_epoch, 2 * per_epoch]
    for record in records:
        parts = record["reconstruction"] + config.beta * record["kl"] + record["angle_kl"]
        assert record["loss"] == pytest.approx(parts)
    result = summary["test"]
    assert result["images"] == 40
    assert ("angle" in result) == (config.architecture == "spatial")
    assert len(result["kl_per_dimension"]) == 2


@pytest.mark.parametrize("config", [SPATIAL, ARTICLE], ids=["spatial", "article"])
def test_a_run_has_its_figures(config, tmp_path, few_images):
    train(replace(config, epochs=1), tmp_path / "run")
    written = {path.name for path in plot_run(tmp_path / "run")}
    assert {"losses.png", "reconstructions.png", "rotation.gif", "pca.png", "tsne.png"} <= written
    assert {"traversals-random.png", "traversals-4.png", "traversals-9.png"} <= written
    assert all((tmp_path / "run" / "figures" / name).stat().st_size > 1000 for name in written)


def test_a_stopped_run_continues_to_the_same_result(tmp_path, monkeypatch, few_images):
    whole = train(SPATIAL, tmp_path / "whole")
    terms, calls = training.terms, []

    def pressed(net, x):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return terms(net, x)

    with monkeypatch.context() as patched:
        patched.setattr(training, "terms", pressed)
        with pytest.raises(RunStopped, match="stopped after step 4 of 8"):
            train(SPATIAL, tmp_path / "part")
    torch.manual_seed(1234)
    continued = train(SPATIAL, tmp_path / "part", resume=True)
    assert metrics(tmp_path / "part") == metrics(tmp_path / "whole")
    assert continued["test"] == whole["test"]
    weights = RunFolder(tmp_path / "part").load_weights()
    for name, weight in RunFolder(tmp_path / "whole").load_weights().items():
        assert torch.equal(weight, weights[name])


def test_resume_refuses_another_configuration(tmp_path, few_images):
    train(SPATIAL, tmp_path / "run")
    with pytest.raises(RunError, match=r"beta is 1.0 in its config.yaml, got 2.0"):
        train(replace(SPATIAL, beta=2.0), tmp_path / "run", resume=True)


def test_several_betas_and_seeds_in_one_run(tmp_path, few_images):
    config = replace(SPATIAL, betas=(0.5, 2.0), epochs=1)
    quiet = Console(file=io.StringIO())
    summary = runs.train_seeds(config, tmp_path / "run", [0, 1], console=quiet)
    for seed in (0, 1):
        for beta in ("0.5", "2"):
            folder = tmp_path / "run" / f"seed-{seed}" / f"beta-{beta}"
            _, one, _ = open_run(beta_vae.BetaVaeConfig, folder)
            assert (one.seed, one.beta, one.betas) == (seed, float(beta), ())
    assert summary["betas"].keys() == {"0.5", "2"}
    assert len(summary["betas"]["2"]["test"]["angle_r2"]["values"]) == 2
    assert runs.evaluate(tmp_path / "run")["betas"] == summary["betas"]
    assert next(iter(recipe_plots._compare(*open_run(beta_vae.BetaVaeConfig, tmp_path / "run")))).is_file()


def test_figures_need_a_finished_run(tmp_path):
    RunFolder(tmp_path / "run").create(config_to_dict(ARTICLE))
    with pytest.raises(RunError, match="has no metrics yet"):
        plot_run(tmp_path / "run")


def test_evaluation_repeats_the_summary(tmp_path, few_images):
    summary = train(ARTICLE, tmp_path / "run")
    assert runs.evaluate(tmp_path / "run") == {"step": 8, **summary["test"]}


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, few_images):
    with pytest.raises(RunError, match=r"the loss of step \d+ is (nan|inf): lower --lr"):
        train(replace(ARTICLE, lr=1e20), tmp_path / "run")


@pytest.mark.slow
def test_spatial_finds_the_angle_of_the_digits(tmp_path):
    """Unsupervised, in seconds, on images that it was not trained on."""
    spatial = replace(preset_config("spatial"), image_size=20, hidden=128, candidates=9, epochs=8)
    angle = train(spatial, tmp_path / "spatial")["test"]["angle"]
    assert angle["circular_correlation"] > 0.9
    assert angle["r2"] > 0.75
    assert angle["mean_error"] < 15
