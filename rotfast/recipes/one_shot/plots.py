"""Figures of a one-shot run, drawn from the files of its folder and its network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor, nn
from torch.nn import functional as F

from rotfast import metrics, plots
from rotfast.recipes.one_shot.config import OneShotConfig
from rotfast.recipes.one_shot.images import Images, Pipeline, Split, load_split
from rotfast.recipes.one_shot.score import embed
from rotfast.recipes.one_shot.training import load_net
from rotfast.recipes.run import RunError, RunFolder
from rotfast.recipes.seeds import open_run, seed_folders

__all__ = ["plot_run"]

_POINTS = 1500
_CLASSES = 10  # of Omniglot's many, so that colours tell them apart
_PAIRS = 5000
_ROWS, _NEIGHBOURS = 8, 8


def plot_run(folder: str | Path) -> list[Path]:
    """Draw a run's figures into its figures folder; of several seeds, each seed's and the losses of all.

    Args:
        folder: A run folder.

    Returns:
        The files written.

    Raises:
        RunError: No run folder, no metrics, no checkpoint, or no data.
    """
    run, config, seeds = open_run(OneShotConfig, folder)
    with run.writing():
        if seeds:
            folders = seed_folders(run, seeds)
            written = [path for each in folders for path in plot_run(each)]
            return [*written, _plot_losses(run, config, [_losses(RunFolder(each)) for each in folders])]
        return list(_plot_one(run, config))


def _plot_one(run: RunFolder, config: OneShotConfig) -> Iterator[Path]:
    yield _plot_losses(run, config, [_losses(run)])
    split = load_split(config)
    net, _ = load_net(run, config, split)
    yield from _plot_confusion(run, config, split)
    yield from _plot_embedding(run, config, split, net)
    unseen = embed(net, split.unseen, Pipeline(config))
    yield _plot_pairs(run, config, split.unseen, unseen)
    yield _plot_neighbours(run, config, split.unseen, unseen)


def _title(config: OneShotConfig) -> str:
    return f"{config.data}, {config.model}, {config.preset}"


def _losses(run: RunFolder) -> list[dict[str, Any]]:
    records = [record for record in run.read_metrics() if record["split"] == "train"]
    if not records:
        raise RunError(f"{run.path} has no metrics yet")
    return records


def _plot_losses(run: RunFolder, config: OneShotConfig, records: list[list[dict[str, Any]]]) -> Path:
    path = run.figures / "losses.png"
    plots.plot_losses(records, path, title=_title(config), xlabel="Step")
    return path


def _plot_confusion(run: RunFolder, config: OneShotConfig, split: Split) -> Iterator[Path]:
    """Of the study's protocol, once the run is done; Omniglot has too many classes for it."""
    summary = run.read_json("summary.json")
    if summary is None or len(summary["test"]["references"]["classes"]) > 20:
        return
    references = summary["test"]["references"]
    path = run.figures / "confusion.png"
    names = [split.unseen.names[label] for label in references["classes"]]
    plots.plot_confusion(
        references["confusion"], path, class_names=names, title=f"{_title(config)}, one reference a class"
    )
    yield path


def _plot_embedding(run: RunFolder, config: OneShotConfig, split: Split, net: nn.Module) -> Iterator[Path]:
    """Points of seen and unseen classes: as they are in two or three dimensions, by PCA and by t-SNE."""
    pipeline = Pipeline(config)
    seen = split.train if split.seen is None else split.seen
    parts = {"seen": _some(seen, config.seed), "unseen": _some(split.unseen, config.seed)}
    points = torch.cat([embed(net, part, pipeline) for part in parts.values()])
    if config.metric == "cosine":
        points = F.normalize(points, dim=1)
    labels: list[Tensor] = []
    names: list[str] = []
    for kind, part in parts.items():
        classes, place = part.y.unique(return_inverse=True)
        labels.append(place + len(names))
        names += [f"{part.names[label]} ({kind})" if part.names else f"{label}" for label in classes.tolist()]
    label = torch.cat(labels)
    sizes = points.shape[1]
    if sizes == 3:
        path = run.figures / "embedding_3d.png"
        plots.plot_embedding_3d(points, label, path, class_names=names, title=_title(config))
        yield path
    if sizes == 2:
        yield _plot_plane(run, "embedding", points, label, names, _title(config), ("1", "2"))
    else:
        pca = torch.from_numpy(PCA(2).fit_transform(points))
        axes = ("Component 1", "Component 2")
        yield _plot_plane(run, "embedding_pca", pca, label, names, f"{_title(config)}, PCA", axes)
    tsne = TSNE(perplexity=min(30.0, (len(points) - 1) / 3), init="pca", random_state=config.seed)
    plane = torch.from_numpy(tsne.fit_transform(points))
    yield _plot_plane(run, "embedding_tsne", plane, label, names, f"{_title(config)}, t-SNE", None)


def _plot_plane(
    run: RunFolder,
    name: str,
    points: Tensor,
    labels: Tensor,
    names: list[str],
    title: str,
    axis_names: tuple[str, str] | None,
) -> Path:
    path = run.figures / f"{name}.png"
    plots.plot_embedding(points, path, labels=labels, class_names=names, title=title, axis_names=axis_names)
    return path


def _some(images: Images, seed: int) -> Images:
    """At most so many images, of at most so many classes, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    classes = images.y.unique()
    chosen = images.of(classes[torch.randperm(len(classes), generator=generator)[:_CLASSES]].tolist())
    rows = torch.randperm(len(chosen.y), generator=generator)[: _POINTS // 2]
    return Images(chosen.x[rows], chosen.y[rows], chosen.names)


def _plot_pairs(run: RunFolder, config: OneShotConfig, unseen: Images, points: Tensor) -> Path:
    score = metrics.pair_score(
        points, unseen.y, threshold=config.threshold, pairs=_PAIRS, metric=config.metric
    )
    path = run.figures / "pair_distances.png"
    title = f"{_title(config)}: pairs of unseen classes, {100 * score.accuracy:.1f} % right"
    plots.plot_pair_distances(score.same, score.different, path, threshold=config.threshold, title=title)
    return path


def _plot_neighbours(run: RunFolder, config: OneShotConfig, unseen: Images, points: Tensor) -> Path:
    """The images nearest to some of an unseen class, among all images of unseen classes."""
    codes = F.normalize(points, dim=1) if config.metric == "cosine" else points
    classes = unseen.y.unique()
    chosen = classes[torch.linspace(0, len(classes) - 1, _ROWS).round().long()].unique()
    rows = torch.stack([(unseen.y == label).nonzero()[0, 0] for label in chosen])
    near = torch.cdist(codes[rows], codes).argsort(1)
    # A code equal to the query's may come before it.
    order = torch.stack([row[row != own][:_NEIGHBOURS] for row, own in zip(near, rows, strict=True)])
    path = run.figures / "neighbours.png"
    plots.plot_neighbours(
        unseen.x[rows] / 255,
        unseen.x[order] / 255,
        unseen.y[order] == unseen.y[rows].unsqueeze(1),
        path,
        title=f"{_title(config)}: unseen classes",
    )
    return path
