"""Pseudo-labels: labels of few images spread to many, along neighbours in what networks make of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances_argmin
from sklearn.neighbors import kneighbors_graph
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor
from torch.nn import functional as F

from rotfast.models import RotNet
from rotfast.recipes.rotnet.images import Pipeline

__all__ = ["joint_features", "spread_labels"]

_BATCH = 500
_COMPONENTS, _NEIGHBOURS = 64, 10
_ALPHA, _ITERATIONS = 0.9, 300


@torch.no_grad()
def joint_features(nets: Sequence[RotNet], x: Tensor, pipeline: Pipeline) -> Tensor:
    """Features of images, those of each network scaled to length 1, side by side, (N, sum of features)."""
    batches = []
    for batch in x.split(_BATCH):
        plain = pipeline.plain(batch)
        parts = [F.normalize(net.eval().features(plain).float(), dim=1) for net in nets]
        batches.append(torch.cat(parts, dim=1))
    return torch.cat(batches)


def spread_labels(features: Tensor, labels: Tensor) -> Tensor:
    """Labels of all images from those of the first.

    Each image is joined to its 10 nearest neighbours in the first 64 principal components, by a weight that
    falls off with the squared distance, and the labels spread along the graph (Zhou et al. 2004).

    Args:
        features: Of the labelled images first, then of the others, (N, F).
        labels: Labels of the first M images, (M,).

    Returns:
        Labels of the others, (N - M,); where no chain of neighbours leads to a label, that of the nearest
        labelled image.

    Example:
        >>> features = torch.tensor([[0.0], [9.0], [0.1], [0.2], [9.1], [9.2]])
        >>> spread_labels(features, torch.tensor([3, 7]))
        tensor([3, 3, 7, 7])
    """
    points = features.cpu().numpy()
    components = min(_COMPONENTS, *points.shape)
    points = PCA(components, svd_solver="covariance_eigh").fit_transform(points)
    neighbours = min(_NEIGHBOURS, len(points) - 1)

    def graph(_points: npt.NDArray[np.float32], _other: None = None) -> object:
        weights = kneighbors_graph(points, neighbours, mode="distance")
        scale = np.median(weights.data) or 1.0
        weights.data = np.exp(-((weights.data / scale) ** 2))
        return weights + weights.T

    known = np.full(len(points), -1)
    known[: len(labels)] = labels.cpu().numpy()
    spreading = LabelSpreading(kernel=graph, alpha=_ALPHA, max_iter=_ITERATIONS).fit(points, known)
    reached = torch.from_numpy(spreading.label_distributions_.sum(axis=1) > 0)
    nearest = torch.from_numpy(pairwise_distances_argmin(points, points[: len(labels)]))
    spread = torch.from_numpy(spreading.transduction_)
    return torch.where(reached, spread, labels.cpu()[nearest])[len(labels) :]
