"""Figures of a RotNet run, drawn from the files of its folder and its networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.manifold import TSNE
from torch import Tensor, nn

import rotfast
from rotfast import plots
from rotfast.models import RotNet
from rotfast.recipes.rotnet.config import RotnetConfig
from rotfast.recipes.rotnet.images import Pipeline, load_images
from rotfast.recipes.rotnet.runs import load_classifier
from rotfast.recipes.run import RunError, RunFolder
from rotfast.recipes.seeds import open_run, seed_folders

__all__ = ["plot_run"]

_EMBEDDED = 1000


def plot_run(folder: str | Path) -> list[Path]:
    """Draw a run's figures into its figures folder; of several seeds, each seed's and those over all.

    Args:
        folder: A run folder.

    Returns:
        The files written.

    Raises:
        RunError: No run folder, no metrics, no checkpoint, or no data.
    """
    run, config, seeds = open_run(RotnetConfig, folder)
    with run.writing():
        if seeds:
            folders = [RunFolder(path) for path in seed_folders(run, seeds)]
            written = [path for each in folders for path in plot_run(each.path)]
            return [*written, *_plot_records(run, config, [_metrics(each) for each in folders])]
        written = list(_plot_records(run, config, [_metrics(run)]))
        return [*written, *_plot_networks(run, config)]


def _metrics(run: RunFolder) -> list[dict[str, Any]]:
    metrics = run.read_metrics()
    if not metrics:
        raise RunError(f"{run.path} has no metrics yet")
    return metrics


def _title(config: RotnetConfig) -> str:
    return f"{config.data}, {config.model}, {config.preset}"


def _plot_records(
    run: RunFolder, config: RotnetConfig, metrics: Sequence[list[dict[str, Any]]]
) -> Iterator[Path]:
    """Loss of the pretext, accuracy against labels, and confusion with most labels."""
    losses = [[record for record in seed if record["stage"] == "pretext"] for seed in metrics]
    if all(losses):
        path = run.figures / "pretext.png"
        plots.plot_losses(losses, path, title=f"Pretext: {_title(config)}", xlabel="Step")
        yield path
    trials = [record for seed in metrics for record in seed if record["stage"] == "labels"]
    curves: dict[str, dict[int, list[float]]] = {}
    confusions: dict[str, list[Any]] = {}
    for record in trials:
        name = f"{record['arm']}, augmentation {record['augment']}"
        budget = record["labels_per_class"]
        curves.setdefault(name, {}).setdefault(budget, []).append(record["accuracy"])
        if budget == max(config.labels_per_class) and record["augment"] == config.augment[-1]:
            confusions.setdefault(record["arm"], []).append(record["confusion"])
    if curves:
        path = run.figures / "budget.png"
        plots.plot_budget(curves, path, title=_title(config))
        yield path
    for arm, counts in confusions.items():
        path = run.figures / f"confusion-{arm}.png"
        title = f"{_title(config)}: {arm}, {max(config.labels_per_class)} labels a class"
        names = load_images(config, "test").names
        plots.plot_confusion(counts, path, class_names=names, title=title)
        yield path


def _plot_networks(run: RunFolder, config: RotnetConfig) -> Iterator[Path]:
    """First filters; features by t-SNE, of turned images in the pretext, upright ones in the classifier."""
    test = load_images(config, "test").first(_EMBEDDED)
    pipeline = Pipeline(config)
    if config.model == "rotnet":
        pretext = RotNet.from_run(config.pretext_from or run.path).eval()
        path = run.figures / "filters.png"
        plots.visualize_weights(nn.Sequential(pretext.trunk[0]), path)
        yield path
        generator = torch.Generator().manual_seed(0)
        turn = torch.randint(4, (len(test.y),), generator=generator)
        x = pipeline.plain(rotfast.rotate90(test.x, turn))
        path = run.figures / "features-pretext.png"
        title = f"{_title(config)}: the pretext's features of turned test images, by t-SNE"
        more: dict[str, Any] = {"labels": test.y, "class_names": test.names}
        points = _embed(pretext.features, x)
        plots.plot_embedding(points, path, angles=90 * turn, title=title, **more)
        yield path
    net = load_classifier(run, config)
    features = net.features if isinstance(net, RotNet) else nn.Sequential(*list(net.children())[:-1])
    path = run.figures / "features-classifier.png"
    title = f"{_title(config)}: the classifier's features"
    points = _embed(features, pipeline.plain(test.x))
    plots.plot_embedding(points, path, labels=test.y, class_names=test.names, title=title)
    yield path


@torch.no_grad()
def _embed(features: Any, x: Tensor) -> Any:
    """Features of images, two numbers each."""
    numbers = torch.cat([features(batch) for batch in x.split(200)]).numpy()
    perplexity = min(30, (len(numbers) - 1) / 3)
    return TSNE(init="pca", random_state=0, perplexity=perplexity).fit_transform(numbers)
