"""Few-shot classification that looks at all queries of an episode together."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["transductive_weights"]

_SINKHORN_ROUNDS = 20


def transductive_weights(
    support: Tensor,
    query: Tensor,
    *,
    balanced: bool,
    iterations: int = 20,
    scale: float = 10.0,
    step: float = 0.4,
) -> Tensor:
    """Share every query out among the classes, and let prototypes and shares refine each other.

    A prototype starts as the mean of its class's support. Then, in turn, queries are shared out by
    exp(-scale · d² / v), with d the distance to a prototype and v the variance of the queries, and every
    prototype moves by `step` towards the mean of its support and its shares.

    This uses the unlabelled queries, which a one-by-one classifier does not see: figures of the two kinds do
    not compare.

    Sources: soft k-means of Ren et al. 2018 (arXiv 1803.00676), with all queries as the unlabelled set; the
    balanced form of Hu, Gripon, Pateux 2020 (arXiv 2006.03806), without their power transform, by the
    iteration of Sinkhorn (Cuturi 2013, arXiv 1306.0895).

    Args:
        support: (E, C, K, D), of E episodes K codes of each of C classes.
        query: (E, Q, D).
        balanced: shares add up to the same for every class (Sinkhorn). Right when the queries are known to
            have the classes alike often, which is information that a deployed classifier seldom has.
        iterations: how often the prototypes move.
        scale: how sharply distance decides.
        step: from 0 (the support's means stay) to 1.

    Returns:
        (E, Q, C), not negative, each query's shares adding up to 1; its class is the largest.

    Example:
        >>> import torch
        >>> from rotfast.metrics import transductive_weights
        >>> support = torch.tensor([[[[0.0]], [[1.0]]]])
        >>> query = torch.tensor([[[0.1], [0.6], [2.1], [1.9]]])
        >>> transductive_weights(support, query, balanced=True).argmax(-1)
        tensor([[0, 0, 1, 1]])
    """
    total, shots = support.sum(2), support.shape[2]
    prototypes = total / shots
    variance = query.var(1, correction=0).sum(-1).clamp_min(1e-12)[:, None, None]
    for _ in range(iterations):
        weights = _share(torch.cdist(query, prototypes).square() * (-scale / variance), balanced)
        moved = (total + weights.mT @ query) / (shots + weights.sum(1).unsqueeze(-1))
        prototypes = prototypes + step * (moved - prototypes)
    return _share(torch.cdist(query, prototypes).square() * (-scale / variance), balanced)


def _share(logits: Tensor, balanced: bool) -> Tensor:
    weights = logits.softmax(-1)
    if balanced:
        for _ in range(_SINKHORN_ROUNDS):
            # A class that is out of every query's reach has a sum of 0 and keeps it.
            weights = weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
            weights = weights / weights.sum(2, keepdim=True)
    return weights
