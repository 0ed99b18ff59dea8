"""Codes with classes, as the few-shot metrics take them: float64 on the CPU, rows listed by class."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor
from torch.nn import functional as F

Metric: TypeAlias = Literal["euclidean", "cosine"]


def check_features(name: str, features: Tensor) -> Tensor:
    """Finite features (N, D) as float64 on the CPU."""
    if not isinstance(features, Tensor) or not features.is_floating_point():
        got = getattr(features, "dtype", type(features).__name__)
        raise TypeError(f"{name} must be a floating-point tensor, got {got}")
    if features.dim() != 2 or features.shape[1] == 0:
        raise ValueError(f"{name} must be (N, D) with D of at least 1, got shape {tuple(features.shape)}")
    features = features.detach().cpu().double()
    bad = int((~features.isfinite()).sum())
    if bad:
        raise ValueError(f"{name} must be finite, got {bad} of {features.numel()} values NaN or infinite")
    return features


def check_labels(labels: Tensor, features: Tensor) -> Tensor:
    """Integer labels (N,), one per row, on the CPU."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        got = getattr(labels, "dtype", type(labels).__name__)
        raise TypeError(f"labels must be a tensor of integers, got {got}")
    if labels.shape != features.shape[:1]:
        raise ValueError(f"labels must be ({len(features)},), one per row, got shape {tuple(labels.shape)}")
    return labels.detach().cpu().long()


def class_rows(labels: Tensor, least_classes: int, least_rows: int) -> list[Tensor]:
    """Row numbers of every class, the classes in ascending order."""
    classes, sizes = labels.unique(return_counts=True)
    if len(classes) < least_classes:
        raise ValueError(f"labels must have at least {least_classes} classes, got {len(classes)}")
    for label, size in zip(classes.tolist(), sizes.tolist(), strict=True):
        if size < least_rows:
            raise ValueError(f"labels must have at least {least_rows} of every class, got {size} of {label}")
    return list(labels.argsort(stable=True).split(sizes.tolist()))


def scaled(features: Tensor, metric: Metric) -> Tensor:
    """Features as the metric compares them: cosine scales every row to length 1."""
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f"metric must be euclidean or cosine, got {metric!r}")
    return F.normalize(features, dim=-1) if metric == "cosine" else features
