"""How well predicted angles agree with true ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rotfast.metrics._arrays import Array, Integers, Values, check_classes, check_vector, unit_vectors

__all__ = ["AngleAgreement", "angle_agreement", "angle_error", "circular_correlation"]


@dataclass(frozen=True)
class AngleAgreement:
    """Agreement of predicted with true angles.

    Attributes:
        r2: coefficient of determination, 1 - Σ|prediction - target|² / Σ|target - mean target|². The target
            is the angle itself, or (cos, sin) of it for full turns. 0 is what predicting the mean gives;
            worse than that is negative.
        circular_correlation: see `circular_correlation`.
        mean_error: mean absolute error in degrees, see `angle_error`.
        per_class: the same three per class, over the images of that class, where classes were given.
    """

    r2: float
    circular_correlation: float
    mean_error: float
    per_class: dict[int, AngleAgreement] = field(default_factory=dict)


def angle_error(predicted: Values, true: Values, *, full_turn: bool = False) -> Array:
    """Absolute error of each angle.

    Args:
        predicted: predicted angles in degrees, (N,).
        true: true angles in degrees, (N,).
        full_turn: False takes |predicted - true|: angles from an interval such as -90..90. True takes the
            shorter way round the circle, at most 180.

    Returns:
        Errors in degrees, (N,). Always answering 0 errs by 45 on average where the true angles are uniform
        over -90..90, by 90 where they are uniform over full turns.

    Raises:
        TypeError: an argument is not numeric.
        ValueError: the shapes are not (N,) each, or a value is not finite.

    Example:
        >>> angle_error([170.0, 10.0], [-170.0, 30.0])
        array([340.,  20.])
        >>> angle_error([170.0, 10.0], [-170.0, 30.0], full_turn=True)
        array([20., 20.])
    """
    first, second = _pair(predicted, true)
    difference = np.abs(first - second)
    if not full_turn:
        return difference
    wrapped: Array = 180 - np.abs(180 - difference % 360)
    return wrapped


def circular_correlation(predicted: Values, true: Values, *, full_turn: bool = False) -> float:
    """Correlation of two angles.

    For angles that cover less than the circle, the coefficient of Jammalamadaka and SenGupta,
    Σ sin(a - ā) sin(b - b̄) / √(Σ sin²(a - ā) Σ sin²(b - b̄)), with ā and b̄ the mean directions ("Topics in
    Circular Statistics", 2001, section 8.2; astropy's ``circcorrcoef``). Angles over full turns have no
    mean direction, and the coefficient is then a matter of chance: with 10° of noise on 4,000 angles drawn
    uniformly from the circle, seeds gave from .71 to .98. So full turns take the coefficient of Fisher and
    Lee ("A correlation coefficient for circular data", Biometrika 70, 1983, section 3), which compares
    all pairs and needs no mean: Σ sin(aᵢ - aⱼ) sin(bᵢ - bⱼ) / √(Σ sin²(aᵢ - aⱼ) Σ sin²(bᵢ - bⱼ)) over i < j.

    Args:
        predicted: angles in degrees, (N,).
        true: angles in degrees, (N,).
        full_turn: whether the angles cover the whole circle.

    Returns:
        A number in [-1, 1]: 1 for angles equal up to a constant turn, -1 for mirrored ones; 0 where one of
        the two is constant.

    Raises:
        TypeError: an argument is not numeric.
        ValueError: the shapes are not (N,) each, or a value is not finite.

    Example:
        >>> round(circular_correlation([10.0, 40.0, 70.0], [-20.0, 10.0, 40.0]), 6)
        1.0
        >>> round(circular_correlation([0.0, 120.0, 240.0], [0.0, 240.0, 120.0], full_turn=True), 6)
        -1.0
    """
    first, second = (unit_vectors(angles) for angles in _pair(predicted, true))
    return _fisher_lee(first, second) if full_turn else _jammalamadaka_sengupta(first, second)


def angle_agreement(
    predicted: Values, true: Values, *, full_turn: bool = False, classes: Values | None = None
) -> AngleAgreement:
    """Judge predicted angles as they are: nothing is fitted.

    For a model whose code holds an angle. A code that merely contains the rotation is for `rotation_capture`.

    Args:
        predicted: predicted angles in degrees, (N,).
        true: true angles in degrees, (N,).
        full_turn: False for angles from an interval such as -90..90, True for angles on the circle.
        classes: one integer per angle, (N,), to judge each class by itself as well.

    Returns:
        R², circular correlation and mean absolute error.

    Raises:
        TypeError: an argument is not numeric, or classes are no integers.
        ValueError: the shapes are not (N,) each, or a value is not finite.

    Example:
        >>> agreement = angle_agreement([-40.0, 10.0, 60.0], [-50.0, 0.0, 50.0])
        >>> agreement.mean_error, round(agreement.r2, 3), round(agreement.circular_correlation, 3)
        (10.0, 0.94, 1.0)
    """
    first, second = _pair(predicted, true)
    labels = None if classes is None else check_classes("classes", classes, len(second))
    return judge(targets(first, full_turn), second, full_turn, labels)


def targets(angles: Array, full_turn: bool) -> Array:
    """What a regressor is to predict: the angle (N, 1), or its cosine and sine (N, 2)."""
    return unit_vectors(angles) if full_turn else angles[:, None]


def judge(predicted: Array, angles: Array, full_turn: bool, classes: Integers | None) -> AngleAgreement:
    """Agreement of predicted targets (N, 1 or 2) with true angles (N,)."""
    directions = np.rad2deg(np.arctan2(predicted[:, 1], predicted[:, 0])) if full_turn else predicted[:, 0]
    per_class = {}
    if classes is not None:
        for label in np.unique(classes):
            rows = classes == label
            per_class[int(label)] = judge(predicted[rows], angles[rows], full_turn, None)
    return AngleAgreement(
        r2=r_squared(predicted, targets(angles, full_turn)),
        circular_correlation=circular_correlation(directions, angles, full_turn=full_turn),
        mean_error=float(angle_error(directions, angles, full_turn=full_turn).mean()),
        per_class=per_class,
    )


def r_squared(predicted: Array, true: Array) -> float:
    """Coefficient of determination of targets (N, M), pooled over the M; 0 where the targets are constant."""
    spread = float(((true - true.mean(axis=0)) ** 2).sum())
    return 1 - float(((predicted - true) ** 2).sum()) / spread if spread > 0 else 0.0


def _pair(predicted: Values, true: Values) -> tuple[Array, Array]:
    second = check_vector("true", true)
    if not len(second):
        raise ValueError("true must hold at least one angle, got shape (0,)")
    return check_vector("predicted", predicted, len(second)), second


def _jammalamadaka_sengupta(first: Array, second: Array) -> float:
    a, b = (_sine_from_mean(vectors) for vectors in (first, second))
    return _ratio(float(a @ b), float(a @ a), float(b @ b), len(a))


def _sine_from_mean(vectors: Array) -> Array:
    """sin(a - ā) times the length of the mean vector, which the ratio cancels."""
    cosine, sine = vectors.mean(axis=0)
    difference: Array = vectors[:, 1] * cosine - vectors[:, 0] * sine
    return difference


def _fisher_lee(first: Array, second: Array) -> float:
    """Sums over pairs by single ones: Cauchy and Binet, det Σ xᵢ yᵢᵀ = Σ det(xᵢ xⱼ) det(yᵢ yⱼ) over i < j."""
    product, square_first, square_second = (
        float(np.linalg.det(x.T @ y)) for x, y in ((first, second), (first, first), (second, second))
    )
    return _ratio(product, square_first, square_second, len(first) ** 2)


def _ratio(product: float, first: float, second: float, terms: int) -> float:
    """The normalised product; 0 where rounding is all that varies."""
    if min(first, second) < 1e-12 * terms:
        return 0.0
    return float(np.clip(product / (first * second) ** 0.5, -1, 1))
