"""Disentanglement of a code by known factors: mutual information gap, SAP, DCI."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from rotfast.metrics._arrays import (
    Array,
    Integers,
    Values,
    check_codes,
    check_factor,
    halves,
    is_classes,
    sklearn_module,
    unit_vectors,
)
from rotfast.metrics.angles import r_squared

__all__ = ["DCI", "dci", "mig", "mutual_information", "sap"]


def mutual_information(codes: Values, factor: Values, *, bins: int = 20) -> tuple[float, ...]:
    """Mutual information of each dimension of a code with a factor, over bins.

    Quantities are cut into bins of equal counts, so that a monotone change of scale changes nothing; one with
    no more distinct values than bins keeps them, and integer factors are classes as they are. The estimate is
    that of the counts, which for independent variables exceeds 0 by about (bins - 1)² / 2N.

    Args:
        codes: codes, (N, D); of a posterior take the means.
        factor: one value per code, (N,): integers are classes, floating-point values a quantity, cut into
            bins. An angle over full turns may take any start, as the bins' order plays no part.
        bins: number of bins.

    Returns:
        Mutual information in nats, one value per dimension.

    Raises:
        TypeError: an argument is not numeric.
        ValueError: a shape does not fit, a value is not finite, the factor is constant, or bins is below 2.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import torch
        >>> digit = torch.arange(40) % 4
        >>> codes = torch.stack([digit * 2.5, digit % 2, torch.zeros(40)], dim=1)
        >>> [round(value, 4) for value in mutual_information(codes, digit)]
        [1.3863, 0.6931, 0.0]
    """
    information, _ = _information(check_codes(codes), factor, bins)
    return tuple(information.tolist())


def mig(codes: Values, factor: Values, *, bins: int = 20) -> float:
    """Mutual information gap of one factor: how much more the best dimension knows than the second best.

    MIG = (I(z_a; v) - I(z_b; v)) / H(v) with a and b the two dimensions that know most of v (Chen, Li, Grosse
    and Duvenaud, "Isolating sources of disentanglement in VAEs", 2018, equation 6, whose score is the mean
    over factors). Mutual information is that of `mutual_information`, over bins of the codes as in Locatello
    et al., "Challenging common assumptions in the unsupervised learning of disentangled representations",
    2019, not over samples of the posterior. Nothing is fitted, so no half is held out.

    Args:
        codes: codes, (N, D) with D of at least 2; of a posterior take the means.
        factor: one value per code, (N,): integers are classes, floating-point values a quantity.
        bins: number of bins of each dimension, and of a quantity.

    Returns:
        A number in [0, 1]: 1 where one dimension knows all of the factor and every other nothing. A factor
        kept in two dimensions, such as cosine and sine of an angle, scores low whatever else holds.

    Raises:
        TypeError: an argument is not numeric.
        ValueError: a shape does not fit, a value is not finite, the factor is constant, or bins is below 2.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import torch
        >>> digit = torch.arange(40) % 4
        >>> round(mig(torch.stack([digit * 2.5, digit % 2, torch.zeros(40)], dim=1), digit), 4)
        0.5
    """
    information, entropy = _information(check_codes(codes, dimensions=2), factor, bins)
    return _gap(information) / entropy


def sap(
    codes: Values,
    factor: Values,
    *,
    full_turn: bool = False,
    groups: Values | None = None,
    seed: int = 0,
) -> float:
    """Separated attribute predictability of one factor: by how much the best dimension predicts it better.

    The gap between the two best scores of single dimensions (Kumar, Sattigeri and Balakrishnan, "Variational
    inference of disentangled latent concepts from unlabeled observations", 2018, section 3; the paper's score
    is the mean over factors). A quantity scores its squared correlation with the dimension. Classes score the
    balanced accuracy of thresholds on the dimension (a decision tree with one leaf per class), fitted on one
    half of the codes and judged on the other. An angle over full turns scores the squared multiple
    correlation of the dimension with the angle's cosine and sine (K. V. Mardia, "Linear-circular correlation
    coefficients and rhythmometry", 1976).

    Args:
        codes: codes, (N, D) with D of at least 2; of a posterior take the means.
        factor: one value per code, (N,): integers are classes, floating-point values a quantity.
        full_turn: the factor is an angle in degrees on the circle.
        groups: one integer per code, (N,), the same for codes of one source; the halves split the sources.
        seed: of the split and of the tree, for classes.

    Returns:
        A number in [0, 1], from 0 for two dimensions that predict the factor equally well.

    Raises:
        TypeError: an argument is not numeric, or groups are no integers.
        ValueError: a shape does not fit, a value is not finite, or the factor is constant.
        ImportError: scikit-learn is not installed (for classes).

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> angle = 180 * torch.rand(500) - 90
        >>> round(sap(torch.stack([angle, angle + 90 * torch.randn(500)], dim=1), angle), 1)
        0.8
    """
    x = check_codes(codes, dimensions=2)
    known = check_factor("factor", factor, len(x))
    if is_classes(known) and not full_turn:
        return _gap(_threshold_scores(x, known.astype(np.int64), groups, seed))
    quantity = known.astype(np.float64)
    design = np.column_stack([np.ones(len(x)), unit_vectors(quantity) if full_turn else quantity])
    fitted = design @ np.linalg.lstsq(design, x, rcond=None)[0]
    return _gap(np.array([r_squared(fitted[:, d : d + 1], x[:, d : d + 1]) for d in range(x.shape[1])]))


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness and informativeness of a code.

    Attributes:
        disentanglement: 1 where every dimension serves one factor only, 0 where all serve all alike.
        completeness: 1 where every factor is held by one dimension only, 0 where all dimensions share it.
        informativeness: how well each factor is predicted on the held-out half: R² of a quantity (pooled over
            cosine and sine for full turns), accuracy of classes.
        importances: of each dimension for each factor, summing to 1 over the dimensions.
    """

    disentanglement: float
    completeness: float
    informativeness: dict[str, float]
    importances: dict[str, tuple[float, ...]]


def dci(
    codes: Values,
    factors: Mapping[str, Values],
    *,
    full_turn: Collection[str] = (),
    groups: Values | None = None,
    trees: int = 100,
    seed: int = 0,
) -> DCI:
    """Disentanglement, completeness and informativeness of a code by the importances of random forests.

    Source: Eastwood and Williams, "A framework for the quantitative evaluation of disentangled
    representations", 2018, section 2.

    A random forest per factor, fitted on a random half of the codes, gives R[d, k], the importance of
    dimension d for factor k. With H in base K for K factors and in base D for D dimensions, disentanglement
    is Σ_d ρ_d (1 - H(R[d, :] / Σ_k R[d, k])) where ρ_d is d's share of all importance, and completeness is
    the mean over k of 1 - H(R[:, k] / Σ_d R[d, k]). Informativeness is given as a score where the paper gives
    an error, judged on the other half.

    Args:
        codes: codes, (N, D) with D of at least 2; of a posterior take the means.
        factors: at least two, by name, (N,) each: integers are classes, floating-point values a quantity.
        full_turn: names of the factors that are angles in degrees on the circle.
        groups: one integer per code, (N,), the same for codes of one source; the halves split the sources.
        trees: number of trees in each forest.
        seed: of the split and of the forests.

    Returns:
        The three scores and the importances behind them.

    Raises:
        TypeError: an argument is not numeric, or groups are no integers.
        ValueError: a shape does not fit, a value is not finite, a factor is constant, there are fewer than
            two factors, full_turn names no factor, or trees is below 1.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> angle, digit = 180 * torch.rand(400) - 90, torch.arange(400) % 5
        >>> codes = torch.stack([angle, digit.float()], dim=1)
        >>> scores = dci(codes, {"angle": angle, "digit": digit}, trees=10)
        >>> round(scores.disentanglement, 1), round(scores.completeness, 1), scores.informativeness["digit"]
        (1.0, 1.0, 1.0)
    """
    x = check_codes(codes, dimensions=2)
    if len(factors) < 2:
        raise ValueError(f"factors must be at least two, got {sorted(factors)}")
    unknown = sorted(set(full_turn) - set(factors))
    if unknown:
        raise ValueError(f"full_turn must name factors ({sorted(factors)}), got {unknown}")
    if trees < 1:
        raise ValueError(f"trees must be at least 1, got {trees}")
    known = {name: check_factor(f"factors[{name!r}]", values, len(x)) for name, values in factors.items()}
    fit, held = halves(len(x), groups, seed)
    importances, informativeness = {}, {}
    for name, factor in known.items():
        y = unit_vectors(factor.astype(np.float64)) if name in full_turn else factor
        importances[name], informativeness[name] = _forest(x, y, fit, held, trees, seed)
    matrix = np.stack(list(importances.values()), axis=1)
    return DCI(
        disentanglement=disentanglement_of(matrix),
        completeness=completeness_of(matrix),
        informativeness=informativeness,
        importances={name: tuple(values.tolist()) for name, values in importances.items()},
    )


def disentanglement_of(importances: Array) -> float:
    """Mean over dimensions, weighted by importance, of one minus the entropy over factors; (D, K)."""
    weights = importances.sum(axis=1)
    if not weights.sum() > 0:
        return 0.0
    return float(np.average(1 - _entropies(importances), weights=weights))


def completeness_of(importances: Array) -> float:
    """Mean over factors of one minus the entropy over dimensions; (D, K)."""
    found = importances.sum(axis=0) > 0
    return float(np.where(found, 1 - _entropies(importances.T), 0).mean())


def _entropies(rows: Array) -> Array:
    """Entropy of each row, taken as a distribution, in base of the number of columns; 0 for rows of zeros."""
    total = rows.sum(axis=1, keepdims=True)
    shares = np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)
    logs = np.log(shares, out=np.zeros_like(rows), where=shares > 0)
    entropies: Array = -(shares * logs).sum(axis=1) / np.log(rows.shape[1])
    return entropies


def _forest(
    x: Array, y: Array | Integers, fit: Integers, held: Integers, trees: int, seed: int
) -> tuple[Array, float]:
    """Importances of the dimensions, and the score on the held-out half."""
    ensemble = sklearn_module("ensemble")
    kind = ensemble.RandomForestClassifier if is_classes(y) else ensemble.RandomForestRegressor
    # Every split looks at all dimensions: where it drew a few, useless ones would gain importance.
    forest = kind(trees, min_samples_leaf=5, max_features=None, random_state=seed).fit(x[fit], y[fit])
    predicted = forest.predict(x[held])
    if is_classes(y):
        score = float((predicted == y[held]).mean())
    else:
        score = r_squared(
            *(values.reshape(len(held), -1).astype(np.float64) for values in (predicted, y[held]))
        )
    return np.asarray(forest.feature_importances_, dtype=np.float64), score


def _threshold_scores(x: Array, classes: Integers, groups: Values | None, seed: int) -> Array:
    """Balanced accuracy of thresholds on each dimension, on the held-out half."""
    tree = sklearn_module("tree").DecisionTreeClassifier
    fit, held = halves(len(x), groups, seed)
    leaves = len(np.unique(classes))
    scores = []
    for d in range(x.shape[1]):
        model = tree(max_leaf_nodes=leaves, class_weight="balanced", random_state=seed)
        right = model.fit(x[fit, d : d + 1], classes[fit]).predict(x[held, d : d + 1]) == classes[held]
        scores.append(np.mean([right[classes[held] == label].mean() for label in np.unique(classes[held])]))
    return np.array(scores)


def _information(x: Array, factor: Values, bins: int) -> tuple[Array, float]:
    """Mutual information of each dimension with the factor, and the factor's entropy, in nats."""
    known = check_factor("factor", factor, len(x))
    if bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins}")
    score = sklearn_module("metrics").mutual_info_score
    labels = known if is_classes(known) else _binned(known, bins)
    information = [max(0.0, float(score(labels, _binned(column, bins)))) for column in x.T]
    return np.array(information), float(score(labels, labels))


def _binned(values: Array | Integers, bins: int) -> Integers:
    """The bin of each value: its place among few distinct values, or else among quantiles."""
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) <= bins:
        return place
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    return np.searchsorted(edges, values)


def _gap(scores: Array) -> float:
    """Difference of the two largest."""
    second, first = np.sort(scores)[-2:]
    return float(first - second)
