import math

import numpy as np
import pytest

from rotfast.plots import plot_budget

CURVES = {"none": {10: [0.8, 0.9], 1: [0.5, 0.7]}, "both": {1: [0.75], 10: [0.95]}}


def test_means_and_intervals():
    axes = plot_budget(CURVES, title="heading").axes[0]
    first, second = axes.containers
    np.testing.assert_allclose(first.lines[0].get_xdata().astype(float), [1, 10], rtol=0.02)
    np.testing.assert_allclose(first.lines[0].get_ydata().astype(float), [0.6, 0.85])
    half = 12.7062 * 0.2 / math.sqrt(2) / math.sqrt(2)
    bars = first.lines[2][0].get_segments()
    np.testing.assert_allclose(bars[0][:, 1].astype(float), [0.6 - half, 0.6 + half])
    assert not second.has_yerr
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["none", "both"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10"]


def test_file(tmp_path):
    path = tmp_path / "budget.png"
    plot_budget(CURVES, path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves: expected at least one, got none"),
        ({"a": {}}, r"curves\['a'\]: expected at least one point, got none"),
        ({"a": {0: [1.0]}}, r"curves\['a'\]: expected positive sizes"),
        ({"a": {1: []}}, r"curves\['a'\]: expected positive sizes, each with values"),
        ({"a": {1: [math.nan]}}, r"curves\['a'\]\[1\]: expected finite values"),
    ],
)
def test_wrong_arguments(curves, message):
    with pytest.raises(ValueError, match=message):
        plot_budget(curves)
