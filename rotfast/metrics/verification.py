"""Telling by distance: are two codes of one class, and does a code belong to any known class?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rotfast.metrics._codes import Metric, check_features, check_labels, class_rows, scaled

__all__ = ["PairScore", "Rejection", "auroc", "pair_score", "rejection"]


@dataclass(frozen=True, eq=False)
class PairScore:
    """How well distances tell pairs of one class from pairs of two.

    Attributes:
        accuracy: share of the pairs judged right, pairs nearer than the threshold as the same.
        auroc: probability that a pair of two classes is farther apart than a pair of one.
        same: float64 (P,), distances of the pairs of one class.
        different: float64 (P,), distances of the pairs of two.
    """

    accuracy: float
    auroc: float
    same: Tensor
    different: Tensor


@dataclass(frozen=True)
class Rejection:
    """How well a distance tells unseen classes from known ones.

    Attributes:
        auroc: probability that a code of an unseen class is farther from its nearest reference.
        threshold: codes farther than this are rejected; it accepts the wanted share of the calibration half.
        known_accepted: share accepted of the known codes that the threshold was not chosen on.
        unknown_rejected: share rejected of the codes of unseen classes.
    """

    auroc: float
    threshold: float
    known_accepted: float
    unknown_rejected: float


def pair_score(
    features: Tensor,
    labels: Tensor,
    *,
    threshold: float = 0.5,
    pairs: int = 10_000,
    metric: Metric = "euclidean",
    seed: int = 0,
) -> PairScore:
    """Judge random pairs, half of them of one class: two different rows, all classes alike often.

    Args:
        features: (N, D).
        labels: (N,) integers, at least two classes of at least two rows each.
        threshold: pairs nearer than this count as the same.
        pairs: how many pairs of each kind.
        metric: "euclidean", or "cosine" for the distance between the vectors scaled to length 1.
        seed: of the pairs.

    Returns:
        Accuracy, area under the ROC curve, and the distances.

    Raises:
        TypeError: labels are no integers, or features no floating-point tensor.
        ValueError: a shape does not fit, a value is not finite, or a class has fewer than two rows.

    Example:
        >>> import torch
        >>> from rotfast.metrics import pair_score
        >>> labels = torch.arange(2).repeat(50)
        >>> score = pair_score(labels.unsqueeze(1).float() + 0.01 * torch.rand(100, 1), labels)
        >>> score.accuracy, score.auroc
        (1.0, 1.0)
    """
    x = scaled(check_features("features", features), metric)
    rows = class_rows(check_labels(labels, x), least_classes=2, least_rows=2)
    if pairs < 1:
        raise ValueError(f"pairs must be at least 1, got {pairs}")
    generator = torch.Generator().manual_seed(seed)

    def draw(high: Tensor | int) -> Tensor:
        """Uniform integers from 0 to below `high`."""
        return (torch.rand(pairs, generator=generator, dtype=torch.float64) * high).long()

    sizes = torch.tensor([len(each) for each in rows])
    start = sizes.cumsum(0) - sizes
    order = torch.cat(rows)
    one = draw(len(rows))
    first = draw(sizes[one])
    # An offset from 1 on, round the class (or round the classes), never comes back to where it started.
    second = (first + 1 + draw(sizes[one] - 1)) % sizes[one]
    same = (x[order[start[one] + first]] - x[order[start[one] + second]]).norm(dim=1)
    a = draw(len(rows))
    b = (a + 1 + draw(len(rows) - 1)) % len(rows)
    left, right = order[start[a] + draw(sizes[a])], order[start[b] + draw(sizes[b])]
    different = (x[left] - x[right]).norm(dim=1)
    right_same, right_different = (same < threshold).double().mean(), (different >= threshold).double().mean()
    return PairScore(((right_same + right_different) / 2).item(), auroc(different, same), same, different)


def rejection(
    references: Tensor,
    known: Tensor,
    unknown: Tensor,
    *,
    accept: float = 0.95,
    metric: Metric = "euclidean",
    seed: int = 0,
) -> Rejection:
    """Reject codes that are far from every reference, by a threshold chosen on half of the known codes.

    Args:
        references: (R, D), codes or prototypes of the known classes.
        known: (N, D), further codes of these classes, at least two.
        unknown: (M, D), codes of other classes, at least one.
        accept: share of the known codes that the threshold shall accept, between 0 and 1.
        metric: "euclidean" or "cosine".
        seed: of the split of the known codes into a half to choose the threshold on and one to judge it.

    Returns:
        The area under the ROC curve, from all codes, and the threshold with what it does to the rest.

    Raises:
        TypeError: not floating-point tensors.
        ValueError: a shape does not fit, a value is not finite, or accept is outside (0, 1).

    Example:
        >>> import torch
        >>> from rotfast.metrics import rejection
        >>> known, unknown = torch.rand(100, 2), 5 + torch.rand(50, 2)
        >>> rejection(torch.full((1, 2), 0.5), known, unknown).unknown_rejected
        1.0
    """
    if not 0 < accept < 1:
        raise ValueError(f"accept must be between 0 and 1, got {accept}")
    points = scaled(check_features("references", references), metric)
    near: list[Tensor] = []
    for name, codes, least in (("known", known, 2), ("unknown", unknown, 1)):
        x = scaled(check_features(name, codes), metric)
        if x.shape[1] != points.shape[1] or len(x) < least:
            raise ValueError(
                f"{name} must be (N, {points.shape[1]}) with N of at least {least}, got {tuple(codes.shape)}"
            )
        near.append(torch.cdist(x, points).amin(1))
    mixed = near[0][torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))]
    calibration, judged = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    threshold = calibration.quantile(accept)
    return Rejection(
        auroc(near[1], near[0]),
        threshold.item(),
        (judged <= threshold).double().mean().item(),
        (near[1] > threshold).double().mean().item(),
    )


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Area under the ROC curve: the probability that a positive value is above a negative one, ties half.

    Args:
        positive: (P,) values that should be high, at least one.
        negative: (N,) values that should be low, at least one.

    Raises:
        ValueError: one is empty or has other dimensions.

    Example:
        >>> import torch
        >>> from rotfast.metrics import auroc
        >>> auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    for name, values in (("positive", positive), ("negative", negative)):
        if values.dim() != 1 or not len(values):
            raise ValueError(f"{name} must be (N,) with N of at least 1, got shape {tuple(values.shape)}")
    ordered = negative.double().sort().values
    high = positive.double().contiguous()
    below = torch.searchsorted(ordered, high) + torch.searchsorted(ordered, high, right=True)
    return (below.double().mean() / (2 * len(ordered))).item()
