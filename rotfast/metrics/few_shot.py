"""Few-shot classification by the distances of any features: shared references, and episodes."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rotfast.metrics._codes import Metric, check_features, check_labels, class_rows, scaled
from rotfast.metrics.transductive import transductive_weights

__all__ = ["FewShotScore", "episodes", "few_shot_predict", "shared_references"]

Method: TypeAlias = Literal["nearest", "prototype", "soft-k-means", "sinkhorn"]

# Bounds the memory of the gathered codes of several episodes.
_VALUES_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class FewShotScore:
    """How often queries were given to their class.

    Attributes:
        accuracy: mean over the draws of each draw's share of right answers.
        ci95: half of the 95 % interval of that mean (1.96 standard errors over the draws); NaN for one draw.
        draws: number of draws or episodes.
        trials: number of queries in all of them.
        classes: the classes, ascending: the order of the rows and columns of confusion.
        confusion: int64 (C, C), queries by true class (row) and answer (column).
    """

    accuracy: float
    ci95: float
    draws: int
    trials: int
    classes: tuple[int, ...]
    confusion: Tensor

    @property
    def recall(self) -> Tensor:
        """Share of each class's queries that were given to it, (C,); NaN for a class without queries."""
        return self.confusion.diagonal() / self.confusion.sum(1)

    @property
    def precision(self) -> Tensor:
        """Share of right answers among those that named the class, (C,); NaN where none did."""
        return self.confusion.diagonal() / self.confusion.sum(0)


def few_shot_predict(
    support: Tensor, query: Tensor, method: Method = "prototype", metric: Metric = "euclidean"
) -> Tensor:
    """Give every query to one of the classes of its episode.

    Args:
        support: floating point (..., C, K, D), K codes of each of C classes.
        query: floating point (..., Q, D), with the same leading dimensions.
        method: "nearest" takes the class of the nearest support code, "prototype" that of the nearest class
            mean (Snell, Swersky, Zemel 2017, arXiv 1703.05175). The other two are transductive, they use the
            queries together: "soft-k-means", and "sinkhorn", which also assumes that the queries have the
            classes alike often (`transductive_weights`).
        metric: "euclidean", or "cosine": all codes, and then all means, are scaled to length 1.

    Returns:
        int64 (..., Q), the index of the class from 0 to C - 1.

    Raises:
        ValueError: unknown method or metric, or shapes that do not fit.

    Example:
        >>> import torch
        >>> from rotfast.metrics import few_shot_predict
        >>> support = torch.tensor([[[0.0, 0.0]], [[4.0, 0.0]]])
        >>> few_shot_predict(support, torch.tensor([[1.0, 0.0], [3.0, 1.0]]))
        tensor([0, 1])
    """
    if method not in typing.get_args(Method):
        raise ValueError(f"method must be one of {', '.join(typing.get_args(Method))}, got {method!r}")
    if support.dim() < 3 or query.shape[:-2] != support.shape[:-3] or query.shape[-1] != support.shape[-1]:
        raise ValueError(
            "support must be (..., C, K, D) and query (..., Q, D), "
            f"got {tuple(support.shape)} and {tuple(query.shape)}"
        )
    support, query = scaled(support, metric), scaled(query, metric)
    if method in ("soft-k-means", "sinkhorn"):
        lead = query.shape[:-2]
        s, q = support.reshape(-1, *support.shape[-3:]), query.reshape(-1, *query.shape[-2:])
        weights = transductive_weights(s, q, balanced=method == "sinkhorn")
        return weights.argmax(-1).view(*lead, -1)
    if method == "prototype":
        support = scaled(support.mean(-2, keepdim=True), metric)
    distances = torch.cdist(query, support.flatten(-3, -2))
    by_class: Tensor = distances.unflatten(-1, support.shape[-3:-1])
    return by_class.amin(-1).argmin(-1)


def shared_references(
    features: Tensor,
    labels: Tensor,
    *,
    draws: int = 100,
    k_shot: int = 1,
    method: Method = "nearest",
    metric: Metric = "euclidean",
    seed: int = 0,
) -> FewShotScore:
    """Draw one reference per class, which all other rows share, and classify these; repeat.

    Every draw judges all rows but the references: 700 rows of each of 4 classes give 2,796 trials a draw,
    279,600 in 100 draws. The interval says how much the choice of the references matters; it does not widen
    for the rows being the same in all draws.

    Args:
        features: (N, D).
        labels: (N,) integers.
        draws: how often references are drawn.
        k_shot: references per class.
        method, metric: as in `few_shot_predict`.
        seed: of the draws.

    Returns:
        The score over all draws.

    Raises:
        TypeError: labels are no integers, or features no floating-point tensor.
        ValueError: a shape does not fit, a value is not finite, there is one class only, or a class has no
            row besides its references.

    Example:
        >>> import torch
        >>> from rotfast.metrics import shared_references
        >>> labels = torch.arange(3).repeat(20)
        >>> score = shared_references(torch.eye(3)[labels], labels, draws=10)
        >>> score.accuracy, score.trials
        (1.0, 570)
    """
    _check_counts(draws=draws, k_shot=k_shot)
    x = check_features("features", features)
    target = check_labels(labels, x)
    rows = class_rows(target, 2, k_shot + 1)
    place = torch.empty_like(target)
    for index, each in enumerate(rows):
        place[each] = index
    generator = torch.Generator().manual_seed(seed)

    def answers() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(draws):
            chosen = torch.stack(
                [each[torch.randperm(len(each), generator=generator)[:k_shot]] for each in rows]
            )
            others = torch.ones(len(x), dtype=torch.bool)
            others[chosen.flatten()] = False
            yield place[others].unsqueeze(0), few_shot_predict(x[chosen], x[others], method, metric)[None]

    return _score(target, rows, answers())


def episodes(
    features: Tensor,
    labels: Tensor,
    *,
    n_way: int = 5,
    k_shot: int = 1,
    queries: int = 15,
    count: int = 1000,
    method: Method = "prototype",
    metric: Metric = "euclidean",
    seed: int = 0,
) -> FewShotScore:
    """Draw N-way K-shot episodes as the field does (Vinyals et al. 2016, arXiv 1606.04080).

    An episode has n_way classes at random, and of each k_shot support rows and other query rows.

    Args:
        features: (N, D).
        labels: (N,) integers.
        n_way: classes of an episode.
        k_shot: support rows per class.
        queries: query rows per class.
        count: number of episodes.
        method, metric: as in `few_shot_predict`.
        seed: of the episodes.

    Returns:
        The score over all episodes.

    Raises:
        TypeError: labels are no integers, or features no floating-point tensor.
        ValueError: a shape does not fit, a value is not finite, or there are too few classes or rows.

    Example:
        >>> import torch
        >>> from rotfast.metrics import episodes
        >>> labels = torch.arange(8).repeat(20)
        >>> score = episodes(torch.eye(8)[labels], labels, count=10)
        >>> score.accuracy, score.draws, score.trials
        (1.0, 10, 750)
    """
    _check_counts(n_way=n_way, k_shot=k_shot, queries=queries, count=count)
    x = check_features("features", features)
    target = check_labels(labels, x)
    rows = class_rows(target, n_way, k_shot + queries)
    generator = torch.Generator().manual_seed(seed)
    at_once = max(1, _VALUES_AT_ONCE // (n_way * (k_shot + queries) * x.shape[1]))

    def answers() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, count, at_once):
            picked, chosen = [], []
            for _ in range(min(at_once, count - start)):
                classes = torch.randperm(len(rows), generator=generator)[:n_way]
                picked.append(classes)
                for each in (rows[index] for index in classes):
                    chosen.append(each[torch.randperm(len(each), generator=generator)[: k_shot + queries]])
            classes = torch.stack(picked)
            codes = x[torch.stack(chosen)].view(len(classes), n_way, k_shot + queries, -1)
            support, query = codes[:, :, :k_shot], codes[:, :, k_shot:].flatten(1, 2)
            answer = classes.gather(1, few_shot_predict(support, query, method, metric))
            yield classes.repeat_interleave(queries, dim=1), answer

    return _score(target, rows, answers())


def _check_counts(**numbers: int) -> None:
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be a positive int, got {number!r}")


def _score(labels: Tensor, rows: list[Tensor], answers: Iterator[tuple[Tensor, Tensor]]) -> FewShotScore:
    """Count true classes and answers (E, Q), both as places among the classes."""
    accuracies: list[Tensor] = []
    confusion = torch.zeros(len(rows) ** 2, dtype=torch.int64)
    for truth, answer in answers:
        accuracies.append((truth == answer).double().mean(1))
        confusion += torch.bincount((truth * len(rows) + answer).flatten(), minlength=len(confusion))
    each = torch.cat(accuracies)
    return FewShotScore(
        accuracy=each.mean().item(),
        ci95=1.96 * each.std().item() / math.sqrt(len(each)) if len(each) > 1 else math.nan,
        draws=len(each),
        trials=int(confusion.sum()),
        classes=tuple(int(labels[each[0]]) for each in rows),
        confusion=confusion.view(len(rows), len(rows)),
    )
