import math

import pytest

from rotfast.plots import plot_errors_per_angle, plot_images_per_angle
from rotfast.plots.angles import wilson_interval


def bars(axes):
    return [bar.get_height() for bar in axes.patches]


def labels(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_images_are_sorted_by_angle_and_keys_may_be_text():
    (axes,) = plot_images_per_angle({"18.0": 3, "0.0": 1, "9.0": 2}).axes
    assert bars(axes) == [1, 2, 3]
    assert labels(axes) == ["0", "9", "18"]
    assert axes.get_xlabel() == "Angle (degrees)"


def test_splits_get_a_panel_each():
    train, test = plot_images_per_angle({"train": {0: 8, 9: 7}, "test": {0: 2, 9: 3}}, title="heading").axes
    assert (bars(train), bars(test)) == ([8, 7], [2, 3])


def test_errors_rates_and_counts():
    left, right = plot_errors_per_angle({0.0: 3, 9.0: 5}, {9.0: 10, 0.0: 20}).axes
    assert bars(left) == [3, 5]
    assert [text.get_text() for text in left.texts] == ["3/20", "5/10"]
    assert bars(right) == pytest.approx([15.0, 50.0])


def test_an_angle_without_images_has_no_rate():
    _, right = plot_errors_per_angle({0.0: 1, 9.0: 0}, {0.0: 4, 9.0: 0}).axes
    assert bars(right) == [25.0, 0.0]
    assert len(right.collections[0].get_paths()) == 1


def test_no_images_at_all_is_still_a_figure():
    assert len(plot_errors_per_angle({0.0: 0}, {0.0: 0}).axes) == 2


@pytest.mark.parametrize("count", [1, 5, 12, 13, 40, 100])
def test_figures_stay_legible_at_any_number_of_angles(count):
    figure = plot_errors_per_angle(
        {float(k): k % 3 for k in range(count)}, {float(k): 20 for k in range(count)}
    )
    assert figure.get_figwidth() <= 16
    assert len(labels(figure.axes[0])) <= 40


def test_wilson_interval():
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "counts: expected at least one angle"),
        ({"train": {}}, r"counts\['train'\]: expected at least one angle"),
        ({"nine": 3}, "counts: expected angles in degrees as keys, got 'nine'"),
        ({math.inf: 3}, "counts: expected finite angles"),
        ({"9": 3, "9.0": 4}, "counts: expected each angle once, got 9 twice"),
        ({9.0: -1}, "counts: expected whole numbers of at least 0, got -1 at 9 degrees"),
        ({9.0: 1.5}, "counts: expected whole numbers"),
        ({9.0: math.nan}, "counts: expected whole numbers"),
        ({9.0: None}, "counts: expected whole numbers"),
    ],
)
def test_bad_counts(counts, message):
    with pytest.raises(ValueError, match=message):
        plot_images_per_angle(counts)


def test_counts_that_are_no_mapping():
    with pytest.raises(TypeError, match="counts: expected a mapping from angle to number, got list"):
        plot_images_per_angle([1, 2])


@pytest.mark.parametrize(
    ("errors", "counts", "message"),
    [
        ({0: 1}, {0: 2, 9: 2}, r"errors and counts: expected the same angles, got \[9.0\] in only one"),
        ({0: 3}, {0: 2}, "errors: expected at most 2 at 0 degrees, got 3"),
        ({}, {}, "errors: expected at least one angle"),
        ({0: 1}, {}, "counts: expected at least one angle"),
    ],
)
def test_errors_that_do_not_fit_the_counts(errors, counts, message):
    with pytest.raises(ValueError, match=message):
        plot_errors_per_angle(errors, counts)
