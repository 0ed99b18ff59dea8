"""How much a code knows of the angle by which its image was turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rotfast.metrics._arrays import (
    Array,
    Values,
    check_classes,
    check_codes,
    check_vector,
    finite,
    halves,
    sklearn_module,
)
from rotfast.metrics.angles import AngleAgreement, judge, r_squared, targets

__all__ = ["InterventionShare", "RotationCapture", "intervention_share", "rotation_capture"]


@dataclass(frozen=True)
class RotationCapture:
    """How well the angle can be read from a code, all judged on the half that nothing was fitted to.

    Attributes:
        dimension: the one dimension that tells the angle best, chosen on the half that is fitted.
        one_dimension: agreement of the angles read linearly from that dimension alone.
        linear: agreement of the angles read linearly from the whole code.
        forest: agreement of the angles that a random forest reads from the whole code.
        r2_per_dimension: R² of the angle read linearly from each dimension alone.
    """

    dimension: int
    one_dimension: AngleAgreement
    linear: AngleAgreement
    forest: AngleAgreement
    r2_per_dimension: tuple[float, ...]


def rotation_capture(
    codes: Values,
    angles: Values,
    *,
    full_turn: bool = False,
    classes: Values | None = None,
    groups: Values | None = None,
    trees: int = 100,
    seed: int = 0,
) -> RotationCapture:
    """Read the angle from the code by regressors, fitted on a random half of the codes, judged on the other.

    Three read-outs, from the strictest to the most lenient: least squares from the best single dimension,
    least squares from all dimensions, and a random forest (scikit-learn's, at least 5 codes in a leaf).

    Convention: angles over an interval (-90..90, say) are regressed on as they are. Full turns have no order,
    so cos and sin of the angle are regressed on and atan2 gives the angle; one linear dimension can then
    follow no more than one of the two.

    Args:
        codes: codes of N turned images, (N, D); of a posterior take the means.
        angles: the angle by which each image was turned, in degrees, (N,).
        full_turn: False for angles from an interval, True for angles on the circle.
        classes: one integer per image, (N,), to judge the read-outs (shared by all) on each class too.
        groups: one integer per image, (N,), the same for images turned from one source. The halves then
            split the sources, so that no regressor can recognise an image it was fitted to.
        trees: number of trees in the forest.
        seed: of the split and of the forest.

    Returns:
        The read-outs' agreement with the true angles of the other half.

    Raises:
        TypeError: an argument is not numeric, or classes or groups are no integers.
        ValueError: a shape does not fit, a value is not finite, the angles are all equal, there are fewer
            than 4 codes or 2 groups, or trees is below 1.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> angles = 180 * torch.rand(400) - 90
        >>> codes = torch.stack([torch.randn(400), angles / 50], dim=1)
        >>> capture = rotation_capture(codes, angles)
        >>> capture.dimension, round(capture.one_dimension.r2, 4), capture.forest.mean_error < 5
        (1, 1.0, True)
    """
    x = check_codes(codes)
    degrees = check_vector("angles", angles, len(x))
    if degrees.min() == degrees.max():
        raise ValueError(f"angles must take at least two values, got {degrees[0]} everywhere")
    labels = None if classes is None else check_classes("classes", classes, len(x))
    if trees < 1:
        raise ValueError(f"trees must be at least 1, got {trees}")
    fit, held = halves(len(x), groups, seed)
    y = targets(degrees, full_turn)
    linear = sklearn_module("linear_model").LinearRegression
    forest = sklearn_module("ensemble").RandomForestRegressor(trees, min_samples_leaf=5, random_state=seed)

    singles = [linear().fit(x[fit, d : d + 1], y[fit]) for d in range(x.shape[1])]
    fitted = [r_squared(_predict(model, x[fit, d : d + 1]), y[fit]) for d, model in enumerate(singles)]
    held_out = [_predict(model, x[held, d : d + 1]) for d, model in enumerate(singles)]
    dimension = int(np.argmax(fitted))

    def agreement(predicted: Array) -> AngleAgreement:
        return judge(predicted, degrees[held], full_turn, None if labels is None else labels[held])

    return RotationCapture(
        dimension=dimension,
        one_dimension=agreement(held_out[dimension]),
        linear=agreement(_predict(linear().fit(x[fit], y[fit]), x[held])),
        forest=agreement(_predict(forest.fit(x[fit], y[fit] if full_turn else y[fit, 0]), x[held])),
        r2_per_dimension=tuple(r_squared(predicted, y[held]) for predicted in held_out),
    )


class _Regressor(Protocol):
    def predict(self, codes: Array) -> Array: ...


def _predict(model: _Regressor, codes: Array) -> Array:
    """Predictions (N, M), with one column for a single target as well."""
    return model.predict(codes).reshape(len(codes), -1)


@dataclass(frozen=True)
class InterventionShare:
    """What turning one image does to each dimension of its code.

    Attributes:
        of_dimension: the part of each dimension's variance that the turn causes, in [0, 1]; the rest is the
            image's. 1: it holds nothing but the turn. 0: the turn leaves it alone, or it is constant.
        over_dimensions: how the variance that the turn causes spreads over the dimensions; sums to 1, or to 0
            where the turn changes nothing.
    """

    of_dimension: tuple[float, ...]
    over_dimensions: tuple[float, ...]


def intervention_share(codes: Values) -> InterventionShare:
    """Split each dimension's variance into what turning one image causes and what the image itself does.

    With z[i, a] the code of image i at angle a, the law of total variance gives
    Var(z) = E_i[Var_a(z[i, a])] + Var_i(E_a[z[i, a]]); the first term over the whole is the share of the turn
    (the total-effect index of the angle; T. Homma and A. Saltelli, "Importance measures in global sensitivity
    analysis of nonlinear models", 1996). Nothing is fitted.

    Args:
        codes: codes of M images, each turned by the same A angles, (M, A, D); of a posterior take the means.
            An angle kept in degrees over full turns should come as its cosine and sine.

    Returns:
        Both shares, one value per dimension.

    Raises:
        TypeError: codes are not numeric.
        ValueError: codes are not (M, A, D) with A of at least 2, or a value is not finite.

    Example:
        >>> import torch
        >>> image, angle = torch.tensor([[-3.0], [3.0]]), torch.tensor([[-4.0, 4.0]])
        >>> codes = torch.stack([image + angle, image + 0 * angle, 0 * image + angle], dim=2)
        >>> shares = intervention_share(codes)
        >>> shares.of_dimension, shares.over_dimensions
        ((0.64, 0.0, 1.0), (0.5, 0.0, 0.5))
    """
    z = finite("codes", codes, 3, "(M, A, D)")
    if z.shape[0] < 1 or z.shape[1] < 2 or z.shape[2] < 1:
        raise ValueError(f"codes must be (M, A, D) with A of at least 2, got shape {z.shape}")
    turned = z.var(axis=1).mean(axis=0)
    of_dimension = _share(turned, turned + z.mean(axis=1).var(axis=0))
    return InterventionShare(tuple(of_dimension.tolist()), tuple(_share(turned, turned.sum()).tolist()))


def _share(part: Array, whole: Array | float) -> Array:
    """part / whole, 0 where the whole is 0."""
    whole = np.broadcast_to(np.asarray(whole, dtype=np.float64), part.shape)
    share: Array = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return share
