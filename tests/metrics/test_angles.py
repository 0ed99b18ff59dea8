"""Agreement of angles: closed forms, a direct sum over pairs, and the errors."""

import math

import numpy as np
import pytest
import torch

from rotfast.metrics import angle_agreement, angle_error, circular_correlation

INTERVAL = np.linspace(-90, 90, 721)
CIRCLE = np.linspace(-180, 180, 720, endpoint=False)
each_range = pytest.mark.parametrize(
    ("angles", "full_turn"), [(INTERVAL, False), (CIRCLE, True)], ids=["interval", "circle"]
)


def test_error_goes_the_shorter_way_round_only_on_the_circle():
    predicted, true = [350.0, -179.0, 90.0, 720.0], [10.0, 179.0, 90.0, 0.0]
    assert angle_error(predicted, true).tolist() == [340, 358, 0, 720]
    assert angle_error(predicted, true, full_turn=True).tolist() == [20, 2, 0, 0]


@each_range
def test_a_perfect_prediction(angles, full_turn):
    agreement = angle_agreement(angles, angles, full_turn=full_turn)
    assert agreement.r2 == pytest.approx(1)
    assert agreement.circular_correlation == pytest.approx(1)
    assert agreement.mean_error == 0


def test_answering_the_middle_is_chance():
    agreement = angle_agreement(0 * INTERVAL, INTERVAL)
    assert agreement.mean_error == pytest.approx(45, rel=2e-3)
    assert agreement.r2 == pytest.approx(0)
    assert agreement.circular_correlation == 0
    assert angle_agreement(0 * CIRCLE, CIRCLE, full_turn=True).mean_error == pytest.approx(90, rel=2e-3)


@each_range
def test_correlation_ignores_a_constant_turn_and_keeps_the_sign(angles, full_turn):
    assert circular_correlation(angles + 30, angles, full_turn=full_turn) == pytest.approx(1)
    assert circular_correlation(360 - angles, angles, full_turn=full_turn) == pytest.approx(-1)


def test_full_turn_counts_whole_turns_as_nothing():
    turns = 360 * (np.arange(len(CIRCLE)) % 3)
    agreement = angle_agreement(CIRCLE + turns, CIRCLE, full_turn=True)
    assert agreement.r2 == pytest.approx(1)
    assert agreement.mean_error == pytest.approx(0, abs=1e-9)


def test_interval_correlation_of_a_constant_error():
    # Half the errors +d, half -d: the sums are those of Σ sin² a cos d and Σ sin²(a ± d).
    d = math.radians(30)
    a = np.deg2rad(np.repeat(INTERVAL, 2))
    b = a + d * np.tile([1, -1], len(INTERVAL))
    expected = (np.sin(a) @ np.sin(b)) / math.sqrt((np.sin(a) @ np.sin(a)) * (np.sin(b) @ np.sin(b)))
    assert circular_correlation(np.rad2deg(b), np.rad2deg(a)) == pytest.approx(expected)
    assert expected < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_full_turn_correlation_is_the_sum_over_pairs(seed):
    generator = np.random.default_rng(seed)
    a, b = generator.uniform(-180, 180, 40), generator.uniform(-180, 180, 40)
    b[:20] = a[:20] + 10
    i, j = np.triu_indices(40, 1)
    x, y = (np.sin(np.deg2rad(angle[i] - angle[j])) for angle in (a, b))
    expected = (x @ y) / math.sqrt((x @ x) * (y @ y))
    assert circular_correlation(a, b, full_turn=True) == pytest.approx(expected, abs=1e-12)


def test_full_turn_correlation_of_noise_is_its_closed_form():
    # Uniform angles with an independent error e: the coefficient is E[cos e]², here e = ±d.
    noisy = np.concatenate([CIRCLE + 30, CIRCLE - 30])
    found = circular_correlation(noisy, np.tile(CIRCLE, 2), full_turn=True)
    assert found == pytest.approx(math.cos(math.radians(30)) ** 2)


def test_r2_of_noise_is_its_closed_form():
    noisy = np.concatenate([INTERVAL + 10, INTERVAL - 10])
    agreement = angle_agreement(noisy, np.tile(INTERVAL, 2))
    assert agreement.r2 == pytest.approx(1 - 100 / INTERVAL.var())
    assert agreement.mean_error == pytest.approx(10)


def test_each_class_is_judged_by_itself():
    classes = np.arange(len(INTERVAL)) % 2
    agreement = angle_agreement(INTERVAL + 20 * classes, INTERVAL, classes=classes)
    assert {label: part.mean_error for label, part in agreement.per_class.items()} == {
        0: 0,
        1: pytest.approx(20),
    }
    assert agreement.mean_error == pytest.approx(20 * classes.mean())


def test_tensors_and_lists_are_taken_alike():
    tensor = torch.tensor([10.0, 20.0, 40.0], dtype=torch.bfloat16, requires_grad=True)
    assert angle_agreement(tensor, [10, 25, 40]) == angle_agreement(
        [10.0, 20.0, 40.0], np.array([10, 25, 40])
    )


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"predicted must be \(3,\), one value per code, got shape \(2,\)"):
        angle_error([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"true must be \(N,\), got shape \(1, 2\)"):
        circular_correlation([1.0, 2.0], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="true must be finite, got 1 of 2 values NaN or infinite"):
        angle_error([1.0, 2.0], [1.0, math.nan])
    with pytest.raises(ValueError, match="true must hold at least one angle"):
        angle_agreement([], [])
    with pytest.raises(TypeError, match="classes must be integers, got dtype float64"):
        angle_agreement([1.0], [2.0], classes=[0.5])
    with pytest.raises(TypeError, match="predicted must be numbers, got dtype <U1"):
        angle_error(["a"], [1.0])
