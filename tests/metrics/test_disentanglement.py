"""Mutual information gap, SAP and DCI of codes whose scores are known."""

import math
import sys

import numpy as np
import pytest
import torch

from rotfast.metrics import dci, mig, mutual_information, sap
from rotfast.metrics.disentanglement import completeness_of, disentanglement_of

COUNT = 2000
digits = np.arange(COUNT) % 8


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.fixture
def angles(generator):
    return generator.uniform(-90, 90, COUNT)


def test_information_of_parts_of_a_class():
    codes = np.stack([digits, digits % 4, digits % 2, 0 * digits, -7.5 * digits], axis=1)
    expected = [math.log(8), math.log(4), math.log(2), 0, math.log(8)]
    assert mutual_information(codes, digits) == pytest.approx(expected, abs=1e-12)


def test_information_of_a_rare_value_is_not_lost_between_quantiles():
    rare = (np.arange(COUNT) % 50 == 0).astype(float)
    entropy = -(0.02 * math.log(0.02) + 0.98 * math.log(0.98))
    assert mutual_information(rare[:, None], rare.astype(int)) == pytest.approx([entropy])
    assert mutual_information(1 - rare[:, None], rare) == pytest.approx([entropy])


def test_information_of_gaussians_is_nearly_its_closed_form(generator):
    # I = -½ log(1 - ρ²); bins lose a little of it.
    x, noise = generator.normal(size=(2, 200_000))
    code = 0.8 * x + 0.6 * noise
    exact = -0.5 * math.log(1 - 0.8**2)
    (found,) = mutual_information(code[:, None], x, bins=40)
    assert 0.97 * exact < found < exact


def test_information_ignores_a_monotone_scale(generator, angles):
    codes = (angles + generator.normal(0, 30, COUNT))[:, None]
    assert mutual_information(np.exp(codes / 20), angles) == mutual_information(codes, angles)


def test_information_of_independent_quantities_is_the_stated_bias(generator, angles):
    (found,) = mutual_information(generator.normal(size=(COUNT, 1)), angles)
    assert found == pytest.approx(19**2 / (2 * COUNT), rel=0.3)


def test_gap_of_known_parts():
    assert mig(np.stack([digits, digits % 2], axis=1), digits) == pytest.approx(1 - math.log(2) / math.log(8))
    assert mig(np.stack([digits, 0 * digits], axis=1), digits) == pytest.approx(1)
    assert mig(np.stack([digits, -digits, 0 * digits], axis=1), digits) == pytest.approx(0)


def test_gap_of_perfect_and_independent_codes(generator, angles):
    noise = generator.normal(size=(COUNT, 3))
    assert mig(np.column_stack([noise, angles]), angles) == pytest.approx(1, abs=0.04)
    assert mig(noise, angles) == pytest.approx(0, abs=0.01)
    radians = np.deg2rad(2 * angles)
    assert mig(np.stack([np.cos(radians), np.sin(radians)], axis=1), 2 * angles) < 0.05


def test_predictability_of_a_quantity_is_the_gap_of_squared_correlations(generator, angles):
    codes = np.stack([angles, angles + generator.normal(0, 40, COUNT), generator.normal(size=COUNT)], axis=1)
    second = np.corrcoef(codes[:, 1], angles)[0, 1] ** 2
    assert sap(codes, angles) == pytest.approx(1 - second)


def test_predictability_of_classes_with_flips(generator):
    # Thresholds on the true class never err, on a class flipped with chance .3 they do in three of ten.
    classes = np.arange(20_000) % 2
    flipped = np.where(generator.random(20_000) < 0.3, 1 - classes, classes)
    codes = np.stack([classes, flipped, generator.normal(size=20_000)], axis=1)
    assert sap(codes, classes) == pytest.approx(0.3, abs=0.02)


def test_predictability_of_classes_is_balanced(generator):
    # Nine in ten are of one class; a dimension of noise then still scores one half, not nine tenths.
    classes = (np.arange(5000) % 10 == 0).astype(int)
    codes = np.stack([classes + 0.01 * generator.normal(size=5000), generator.normal(size=5000)], axis=1)
    assert sap(codes, classes) == pytest.approx(0.5, abs=0.06)


def test_predictability_of_a_full_turn_is_mardias_correlation():
    # An angle in degrees correlates with its own cosine and sine to 6/π², a cosine fully.
    turns = np.linspace(-180, 180, 20_000, endpoint=False)
    codes = np.stack([turns, 0 * turns], axis=1)
    assert sap(codes, turns, full_turn=True) == pytest.approx(6 / math.pi**2, abs=1e-3)
    shifted = np.stack([np.cos(np.deg2rad(turns - 70)), 0 * turns], axis=1)
    assert sap(shifted, turns, full_turn=True) == pytest.approx(1)


@pytest.mark.parametrize(
    ("importances", "disentanglement", "completeness"),
    [
        ([[1, 0], [0, 1]], 1, 1),
        ([[0.5, 0.5], [0.5, 0.5]], 0, 0),
        ([[0.5, 0], [0.5, 0], [0, 1], [0, 0]], 1, (0.5 + 1) / 2),  # a factor over two of four dimensions
        ([[1, 1], [0, 0]], 0, 1),  # one dimension for both factors
        ([[0.75, 0], [0.25, 1]], None, None),
    ],
    ids=["identity", "uniform", "spread", "shared", "unequal"],
)
def test_scores_of_known_importances(importances, disentanglement, completeness):
    matrix = np.array(importances, dtype=float)
    if disentanglement is None:

        def h(p):
            return -sum(q * math.log2(q) for q in (p, 1 - p))

        disentanglement = (0.75 * 1 + 1.25 * (1 - h(0.2))) / 2
        completeness = ((1 - h(0.75)) + 1) / 2
    assert disentanglement_of(matrix) == pytest.approx(disentanglement)
    assert completeness_of(matrix) == pytest.approx(completeness)


def test_forests_that_find_nothing_score_nothing():
    assert disentanglement_of(np.zeros((3, 2))) == 0
    assert completeness_of(np.zeros((3, 2))) == 0


def test_dci_of_a_perfect_code(generator, angles):
    codes = np.stack([generator.normal(size=COUNT), digits, angles], axis=1)
    scores = dci(codes, {"angle": angles, "digit": digits}, trees=20)
    assert scores.disentanglement > 0.97
    assert scores.completeness > 0.97
    assert scores.informativeness["digit"] == 1
    assert scores.informativeness["angle"] > 0.999
    assert np.argmax(scores.importances["angle"]) == 2
    assert sum(scores.importances["digit"]) == pytest.approx(1)


def test_dci_of_factors_mixed_alike(generator):
    # Every dimension holds as much of the one as of the other.
    first, second = generator.uniform(-1, 1, (2, COUNT))
    codes = np.stack([first + second, first - second], axis=1)
    scores = dci(codes, {"first": first, "second": second}, trees=20)
    assert scores.disentanglement < 0.02
    assert scores.completeness < 0.02
    assert min(scores.informativeness.values()) > 0.9


def test_dci_of_an_independent_code(generator, angles):
    scores = dci(generator.normal(size=(COUNT, 3)), {"angle": angles, "digit": digits}, trees=20)
    assert scores.informativeness["angle"] < 0.02
    assert scores.informativeness["digit"] == pytest.approx(1 / 8, abs=0.04)


def test_dci_of_a_full_turn(generator):
    turns = generator.uniform(-180, 180, COUNT)
    radians = np.deg2rad(turns)
    codes = np.stack([np.cos(radians), np.sin(radians), digits], axis=1)
    scores = dci(codes, {"angle": turns, "digit": digits}, full_turn=["angle"], trees=20)
    assert scores.informativeness["angle"] > 0.99
    assert scores.importances["angle"][:2] == pytest.approx([0.5, 0.5], abs=0.1)


def test_the_seed_decides_and_tensors_are_taken(generator, angles):
    codes = generator.normal(size=(COUNT, 2)) + angles[:, None] / 90
    factors = {"angle": angles, "digit": digits}
    tensors = {name: torch.from_numpy(values) for name, values in factors.items()}
    first = dci(codes, factors, trees=3, seed=1)
    assert dci(torch.from_numpy(codes), tensors, trees=3, seed=1) == first
    assert dci(codes, factors, trees=3, seed=2) != first
    assert sap(codes, digits, seed=1) == sap(torch.from_numpy(codes), tensors["digit"], seed=1)


def test_groups_keep_sources_apart(generator):
    # Each dimension numbers the source; only where a source is in both halves can its class be looked up.
    source = np.repeat(np.arange(100), 20)
    classes = generator.integers(0, 2, 100)[source]
    codes = generator.normal(size=(100, 2))[source]
    factors = {"class": classes, "other": digits}
    leaking = dci(codes, factors, trees=20).informativeness["class"]
    apart = dci(codes, factors, trees=20, groups=source).informativeness["class"]
    assert leaking > 0.95 > 0.75 > apart


def test_what_is_wrong_is_named():
    codes = np.zeros((6, 2))
    factor = np.arange(6.0)
    for score in (mig, sap):
        with pytest.raises(ValueError, match=r"D of at least 2, got shape \(6, 1\)"):
            score(codes[:, :1], factor)
        with pytest.raises(ValueError, match=r"factor must be \(6,\), one value per code, got shape \(5,\)"):
            score(codes, factor[:5])
        with pytest.raises(ValueError, match="factor must take at least two values, got 3 everywhere"):
            score(codes, np.full(6, 3))
    with pytest.raises(ValueError, match="bins must be at least 2, got 1"):
        mutual_information(codes, factor, bins=1)
    with pytest.raises(ValueError, match=r"factors must be at least two, got \['angle'\]"):
        dci(codes, {"angle": factor})
    with pytest.raises(ValueError, match=r"factors\['b'\] must be finite"):
        dci(codes, {"a": factor, "b": factor * math.nan})
    with pytest.raises(ValueError, match=r"full_turn must name factors \(\['a', 'b'\]\), got \['c'\]"):
        dci(codes, {"a": factor, "b": factor}, full_turn=["c"])
    with pytest.raises(ValueError, match="trees must be at least 1, got 0"):
        dci(codes, {"a": factor, "b": factor}, trees=0)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(
        ImportError, match=r"rotfast.metrics needs scikit-learn: pip install 'rotfast\[recipes\]'"
    ):
        mig(np.zeros((6, 2)), np.arange(6.0))
