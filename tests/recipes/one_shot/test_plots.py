"""Figures of a run."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from rotfast.recipes.config import config_to_dict
from rotfast.recipes.one_shot import plots, preset_config, runs, train
from rotfast.recipes.run import RunError, RunFolder

SMALL = {"steps": 2, "batch": 16, "episodes": 2, "draws": 2, "test_images": 12, "views": 0}
EMBEDDER = replace(preset_config("digits"), **SMALL, width=4)
SIAMESE = replace(preset_config("digits", "as-in-deck", "siamese"), **SMALL)
QUIET = Console(file=io.StringIO())
COMMON = {"losses", "confusion", "embedding_tsne", "pair_distances", "neighbours"}


@pytest.mark.parametrize(
    ("config", "more"),
    [
        (EMBEDDER, "embedding_pca"),
        (SIAMESE, "embedding"),
        (replace(SIAMESE, embedding_size=3), "embedding_3d"),
    ],
    ids=["64 dimensions", "2 dimensions", "3 dimensions"],
)
def test_figures(config, more, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "_POINTS", 120)
    train(config, tmp_path, console=QUIET)
    written = plots.plot_run(tmp_path)
    assert {path.stem for path in written} >= COMMON | {more}
    assert all(path.stat().st_size > 1000 for path in written)


def test_figures_of_several_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "_POINTS", 60)
    runs.train_seeds(EMBEDDER, tmp_path, [0, 1], console=QUIET)
    assert tmp_path / "figures/losses.png" in plots.plot_run(tmp_path)


def test_run_without_metrics_is_a_message(tmp_path):
    RunFolder(tmp_path / "run").create(config_to_dict(EMBEDDER))
    with pytest.raises(RunError, match="has no metrics yet"):
        plots.plot_run(tmp_path / "run")
