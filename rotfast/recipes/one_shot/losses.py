"""Losses on points, in which images of one class shall lie together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["batch_hard_loss", "contrastive_loss", "supervised_contrastive_loss"]


def contrastive_loss(first: Tensor, second: Tensor, same: Tensor, margin: float) -> Tensor:
    """½ y d² + ½ (1 − y) max(0, margin − d)² of pairs, averaged (Hadsell, Chopra, LeCun 2006).

    Args:
        first: (P, D).
        second: (P, D), the other point of each pair.
        same: (P,) bool, y: whether the pair is of one class.
        margin: Distance from which a pair of two classes costs nothing.

    Example:
        >>> first, second = torch.tensor([[0.0], [0.0]]), torch.tensor([[0.5], [0.6]])
        >>> contrastive_loss(first, second, torch.tensor([True, False]), margin=1.0)
        tensor(0.1025)
    """
    square = (first - second).square().sum(1)
    # At equal points the root has no derivative; there the margin pulls nowhere.
    distance = square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()
    apart = F.relu(margin - distance).square()
    return torch.where(same, square, apart).mean() / 2


def supervised_contrastive_loss(points: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Of all other points' softmax, the mean logarithm at those of the same class (Khosla et al. 2020).

    The form with the sum over positives outside of the logarithm (arXiv 2004.11362, equation 2). Points are
    scaled to length 1. A point alone in its class has no part in the mean.

    Args:
        points: (N, D).
        label: (N,).
        temperature: What the cosines are divided by.
    """
    z = F.normalize(points, dim=1)
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(own, -torch.inf)
    positive = (label[:, None] == label) & ~own
    count = positive.sum(1)
    log_share = logits.log_softmax(1).masked_fill(~positive, 0.0).sum(1)
    paired = count > 0
    return -(log_share[paired] / count[paired]).mean()


def batch_hard_loss(points: Tensor, label: Tensor, margin: float) -> Tensor:
    """max(0, margin + farthest of the class − nearest of another), averaged (Hermans, Beyer, Leibe 2017).

    Points are scaled to length 1 (arXiv 1703.07737, equation 5).

    Args:
        points: (N, D), of at least two classes.
        label: (N,).
        margin: How much farther away the nearest point of another class shall be.
    """
    z = F.normalize(points, dim=1)
    square = (2 - 2 * z @ z.T).clamp_min(torch.finfo(z.dtype).eps)
    distance = square.sqrt()
    same = label[:, None] == label
    farthest = distance.masked_fill(~same, 0.0).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    return F.relu(margin + farthest - nearest).mean()
