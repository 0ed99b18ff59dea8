"""Rotation capture of codes whose answer is known, and the share of the turn in a code's variance."""

import math
import sys

import numpy as np
import pytest
import torch

from rotfast.metrics import angle_agreement, intervention_share, rotation_capture

COUNT = 1200


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.fixture
def angles(generator):
    return generator.uniform(-90, 90, COUNT)


@pytest.fixture
def turns(generator):
    return generator.uniform(-180, 180, COUNT)


def test_a_perfect_code(generator, angles):
    codes = np.stack([generator.normal(size=COUNT), 3 - angles / 40, generator.normal(size=COUNT)], axis=1)
    capture = rotation_capture(codes, angles, trees=20)
    assert capture.dimension == 1
    for part in (capture.one_dimension, capture.linear):
        assert part.r2 == pytest.approx(1)
        assert part.mean_error == pytest.approx(0, abs=1e-9)
        assert part.circular_correlation == pytest.approx(1)
    assert capture.forest.r2 > 0.999
    assert capture.forest.mean_error < 1.5
    assert capture.r2_per_dimension == pytest.approx([0, 1, 0], abs=0.02)


@pytest.mark.parametrize("full_turn", [False, True])
def test_an_independent_code(generator, angles, turns, full_turn):
    target = turns if full_turn else angles
    capture = rotation_capture(generator.normal(size=(COUNT, 4)), target, full_turn=full_turn, trees=20)
    for part in (capture.one_dimension, capture.linear, capture.forest):
        assert part.r2 < 0.02
        assert abs(part.circular_correlation) < 0.1
        assert part.mean_error == pytest.approx(90 if full_turn else 45, rel=0.1)


def test_a_known_mix_in_one_dimension(generator):
    # z = angle / 90 + noise: R² of the best linear reading is Var(angle) / (Var(angle) + Var(noise)).
    angles = generator.uniform(-90, 90, 20_000)
    code = angles / 90 + generator.normal(0, 0.5, 20_000)
    capture = rotation_capture(code[:, None], angles, trees=1)
    assert capture.one_dimension.r2 == pytest.approx((1 / 3) / (1 / 3 + 0.25), abs=0.02)


def test_an_angle_spread_over_two_dimensions(generator, angles):
    # Neither dimension tells more than half of it, both together all.
    other = generator.uniform(-90, 90, COUNT)
    capture = rotation_capture(np.stack([angles + other, angles - other], axis=1), angles, trees=20)
    assert capture.one_dimension.r2 == pytest.approx(0.5, abs=0.06)
    assert capture.linear.r2 == pytest.approx(1)


def test_only_the_forest_reads_a_curved_code(generator, angles):
    side = np.abs(angles) / 90
    capture = rotation_capture(np.stack([side, angles > 0], axis=1), angles, trees=20)
    assert capture.forest.r2 > 0.99 > 0.9 > capture.linear.r2


def test_a_full_turn_needs_cosine_and_sine(turns):
    radians = np.deg2rad(turns)
    capture = rotation_capture(
        np.stack([np.cos(radians), np.sin(radians)], axis=1), turns, full_turn=True, trees=20
    )
    assert capture.linear.r2 == pytest.approx(1)
    assert capture.linear.mean_error == pytest.approx(0, abs=1e-9)
    assert capture.one_dimension.r2 == pytest.approx(0.5, abs=0.05)
    assert capture.forest.mean_error < 2


def test_a_full_turn_kept_in_degrees(generator):
    # Of (cos, sin) the angle tells linearly only the sine, of which it explains 6/π².
    turns = generator.uniform(-180, 180, 20_000)
    capture = rotation_capture(turns[:, None], turns, full_turn=True, trees=1)
    assert capture.linear.r2 == pytest.approx(3 / math.pi**2, abs=0.01)


def test_classes_share_one_reading(generator, angles):
    classes = np.arange(COUNT) % 2
    codes = np.where(classes == 0, angles, generator.uniform(-90, 90, COUNT))[:, None]
    capture = rotation_capture(codes, angles, classes=classes, trees=20)
    known, unknown = capture.forest.per_class[0], capture.forest.per_class[1]
    assert known.mean_error < unknown.mean_error
    assert known.r2 > 0.5 > unknown.r2


def test_groups_keep_a_forest_from_recognising_its_images():
    # Codes tell the source image and nothing of the angle; each source was turned by angles near its own.
    generator = np.random.default_rng(0)
    source = np.repeat(np.arange(60), 20)
    angles = generator.uniform(-90, 90, 60)[source] + generator.normal(0, 2, 1200)
    codes = generator.normal(size=(60, 4))[source]
    leaking = rotation_capture(codes, angles, trees=20)
    split = rotation_capture(codes, angles, groups=source, trees=20)
    assert leaking.forest.r2 > 0.9
    assert split.forest.r2 < 0.3


def test_the_seed_decides(generator, angles):
    codes = generator.normal(size=(COUNT, 2)) + angles[:, None] / 90
    first = rotation_capture(codes, angles, trees=5, seed=1)
    assert rotation_capture(torch.from_numpy(codes), torch.from_numpy(angles), trees=5, seed=1) == first
    assert rotation_capture(codes, angles, trees=5, seed=2) != first


def test_fitted_on_one_half_judged_on_the_other(generator, angles):
    # As many dimensions of noise as codes in a half: the fit is perfect where it was made and only there.
    capture = rotation_capture(generator.normal(size=(COUNT, COUNT // 2)), angles, trees=1)
    assert capture.linear.r2 < 0


def test_the_least_codes():
    codes = np.array([[0.0], [1.0], [2.0], [3.0]])
    capture = rotation_capture(codes, codes[:, 0] * 10, trees=1)
    assert capture.linear.mean_error == pytest.approx(0, abs=1e-9)


def test_a_capture_agrees_with_the_plain_agreement_of_its_predictions(angles):
    capture = rotation_capture(angles[:, None] + 7, angles, trees=1)
    plain = angle_agreement(angles, angles)
    assert capture.linear.r2 == pytest.approx(plain.r2)


def test_what_is_wrong_is_named():
    codes, angles = np.zeros((6, 2)), np.arange(6.0)
    with pytest.raises(ValueError, match=r"codes must be \(N, D\), got shape \(6,\)"):
        rotation_capture(angles, angles)
    with pytest.raises(
        ValueError, match=r"codes must be \(N, D\) with N of at least 4 .* got shape \(3, 2\)"
    ):
        rotation_capture(codes[:3], angles[:3])
    with pytest.raises(ValueError, match=r"angles must be \(6,\), one value per code, got shape \(5,\)"):
        rotation_capture(codes, angles[:5])
    with pytest.raises(ValueError, match=r"angles must take at least two values, got 2.0 everywhere"):
        rotation_capture(codes, np.full(6, 2.0))
    with pytest.raises(ValueError, match="groups must be at least two"):
        rotation_capture(codes, angles, groups=np.zeros(6, dtype=int))
    with pytest.raises(ValueError, match="trees must be at least 1, got 0"):
        rotation_capture(codes, angles, trees=0)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(
        ImportError, match=r"rotfast.metrics needs scikit-learn: pip install 'rotfast\[recipes\]'"
    ):
        rotation_capture(np.zeros((6, 2)), np.arange(6.0))


def test_share_of_a_known_mix():
    # z = a·turn + b·image on a full grid: the share is a² Var(turn) / (a² Var(turn) + b² Var(image)).
    turn, image = np.linspace(-90, 90, 13), np.linspace(-2, 2, 9)
    grid = image[:, None], turn[None, :]
    mixes = [(1, 0), (0, 1), (0.02, 1), (0, 0)]
    shares = intervention_share(np.stack([a * grid[1] + b * grid[0] for a, b in mixes], axis=2))
    part = 0.02**2 * turn.var() / (0.02**2 * turn.var() + image.var())
    assert shares.of_dimension == pytest.approx([1, 0, part, 0])
    total = 1 + 0.02**2
    assert shares.over_dimensions == pytest.approx([1 / total, 0, 0.02**2 / total, 0])


def test_share_of_an_interaction_belongs_to_the_turn():
    turn, image = np.array([-1.0, 1.0]), np.array([-1.0, 1.0])
    shares = intervention_share((image[:, None] * turn)[:, :, None])
    assert shares.of_dimension == (1.0,)


def test_share_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"codes must be \(M, A, D\), got shape \(3, 2\)"):
        intervention_share(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"with A of at least 2, got shape \(3, 1, 2\)"):
        intervention_share(np.zeros((3, 1, 2)))
