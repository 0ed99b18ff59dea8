"""How well an embedding tells classes that it never saw, and that it never saw them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotfast import metrics
from rotfast.metrics import FewShotScore
from rotfast.recipes.one_shot.config import OneShotConfig
from rotfast.recipes.one_shot.images import Images, Pipeline, Split

__all__ = ["VIEW_SEED", "describe", "embed", "judge", "quick"]

VIEW_SEED = 20201118
_SEED = 20201119
_BATCH = 500
_MOST_QUERIES = 15
_PAIRS = 10_000
_IMAGES_OF_A_REFERENCE = 100


@torch.no_grad()
def embed(net: nn.Module, images: Images, pipeline: Pipeline, views: int = 0) -> Tensor:
    """Points of images, (N, D) on the CPU; with views each the mean over the image and versions of it.

    The views are the same at every call, and torch's random state stays as it is.
    """
    net.eval()
    device = next(net.parameters()).device
    cuda = [device] if device.type == "cuda" else []
    points = []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(VIEW_SEED)
        for x in images.x.split(_BATCH):
            x = x.to(device)
            total = net.embed(pipeline.plain(x))  # type: ignore[operator]
            for _ in range(views):
                total = total + net.embed(pipeline.view(x))  # type: ignore[operator]
            points.append((total / (views + 1)).float().cpu())
    return torch.cat(points)


@torch.no_grad()
def seen_accuracy(net: nn.Module, images: Images, pipeline: Pipeline) -> float:
    """Share of test images of the seen classes that a classifier gives to their class."""
    net.eval()
    device = next(net.parameters()).device
    classes, place = images.y.unique(return_inverse=True)
    logits = torch.cat([net(pipeline.plain(x.to(device))).float().cpu() for x in images.x.split(_BATCH)])
    right: Tensor = logits[:, : len(classes)].argmax(1) == place
    return right.double().mean().item()


def quick(net: nn.Module, split: Split, pipeline: Pipeline, config: OneShotConfig) -> dict[str, Any]:
    """A test between steps: one-shot accuracy of prototypes in few episodes, without further views."""
    points = embed(net, split.unseen, pipeline)
    score = _episodes(points, split.unseen, config, 1, "prototype", max(2, config.episodes // 10))
    return {"way": score["way"], "accuracy": score["accuracy"], "ci95": score["ci95"]}


def judge(net: nn.Module, split: Split, pipeline: Pipeline, config: OneShotConfig) -> dict[str, Any]:
    """The whole test, as summary.json and evaluation.json have it.

    "references" is the study's protocol. "episodes" has a row for every number of classes and shots, method
    and number of views; transductive methods are marked, since they look at all queries together. "pairs" is
    how well distance tells whether two images are of one class, "rejection" how well it tells unseen classes
    from seen ones.
    """
    unseen = split.unseen
    points = embed(net, unseen, pipeline)
    score = metrics.shared_references(points, unseen.y, draws=config.draws, metric=config.metric, seed=_SEED)
    result: dict[str, Any] = {"references": {**_record(score), **_by_class(score)}}
    rows = []
    for views in sorted({0, config.views}):
        codes = embed(net, unseen, pipeline, views) if views else points
        for way, shots in _kinds(unseen):
            for method in ("nearest", "prototype", "soft-k-means", "sinkhorn"):
                if method == "nearest" and shots == 1:
                    continue  # one shot is its own prototype
                row = _episodes(codes, unseen, config, shots, method, config.episodes, way)
                rows.append({**row, "views": views})
    result["episodes"] = rows
    pairs = metrics.pair_score(
        points, unseen.y, threshold=config.threshold, pairs=_PAIRS, metric=config.metric, seed=_SEED
    )
    result["pairs"] = {"accuracy": pairs.accuracy, "auroc": pairs.auroc, "threshold": config.threshold}
    if split.seen is not None:
        if getattr(net, "head", None) is not None:
            result["seen_accuracy"] = seen_accuracy(net, split.seen, pipeline)
        known = embed(net, split.seen, pipeline)
        train = split.train.at_most(_IMAGES_OF_A_REFERENCE)
        codes = embed(net, train, pipeline)
        if config.metric == "cosine":
            codes = F.normalize(codes, dim=1)
        references = torch.stack([codes[train.y == label].mean(0) for label in train.y.unique()])
        rejection = metrics.rejection(references, known, points, metric=config.metric, seed=_SEED)
        result["rejection"] = {
            "auroc": rejection.auroc,
            "threshold": rejection.threshold,
            "known_accepted": rejection.known_accepted,
            "unknown_rejected": rejection.unknown_rejected,
        }
    return result


def describe(record: dict[str, Any]) -> str:
    """A quick test in a few words.

    Example:
        >>> describe({"way": 5, "accuracy": 0.8, "ci95": 0.01})
        'unseen, 5-way 1-shot 80.0 % ± 1.0'
    """
    return f"unseen, {record['way']}-way 1-shot {100 * record['accuracy']:.1f} % ± {100 * record['ci95']:.1f}"


def _kinds(unseen: Images) -> list[tuple[int, int]]:
    """Classes and shots of the episodes: 5 ways or all there are, and 20 where there are many."""
    classes = len(unseen.y.unique())
    way = min(5, classes)
    return [(way, 1), (way, 3), (way, 5), *([(20, 1), (20, 5)] if classes >= 20 else [])]


def _episodes(
    points: Tensor,
    images: Images,
    config: OneShotConfig,
    shots: int,
    method: Any,
    count: int,
    way: int | None = None,
) -> dict[str, Any]:
    smallest = int(images.y.unique(return_counts=True)[1].min())
    way = _kinds(images)[0][0] if way is None else way
    score = metrics.episodes(
        points,
        images.y,
        n_way=way,
        k_shot=shots,
        queries=min(_MOST_QUERIES, smallest - shots),
        count=count,
        method=method,
        metric=config.metric,
        seed=_SEED,
    )
    transductive = method in ("soft-k-means", "sinkhorn")
    kind = {"way": way, "shots": shots, "method": method, "transductive": transductive}
    return {**kind, **_record(score)}


def _record(score: FewShotScore) -> dict[str, Any]:
    return {"accuracy": score.accuracy, "ci95": score.ci95, "trials": score.trials}


def _by_class(score: FewShotScore) -> dict[str, Any]:
    """NaN, of a class never named, is no JSON."""
    return {
        "classes": list(score.classes),
        "confusion": score.confusion.tolist(),
        "recall": score.recall.nan_to_num().tolist(),
        "precision": score.precision.nan_to_num().tolist(),
    }
