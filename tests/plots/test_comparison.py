import pytest

from rotfast.plots import plot_comparison


def test_a_bar_for_each_method_and_a_dot_for_each_repetition():
    figure = plot_comparison({"R²": {"article": [0.1, 0.3], "spatial": [0.9]}, "MIG": {"spatial": [0.5]}})
    first, second = figure.axes
    assert [bar.get_width() for bar in first.patches] == pytest.approx([0.2, 0.9])
    assert [list(line.get_xdata()) for line in first.lines] == [[0.1, 0.3], [0.9]]
    assert [label.get_text() for label in first.get_yticklabels()] == ["article", "spatial"]
    assert [bar.get_width() for bar in second.patches] == [0.5]


@pytest.mark.parametrize(
    ("figures", "match"),
    [
        ({}, "figures: expected at least one, got none"),
        ({"R²": {}}, r"figures\['R²'\]: expected methods"),
        ({"R²": {"a": []}}, r"figures\['R²'\]: expected methods"),
        ({"R²": {"a": [float("nan")]}}, r"figures\['R²'\]\['a'\]: expected finite values"),
    ],
)
def test_wrong_figures_are_named(figures, match):
    with pytest.raises(ValueError, match=match):
        plot_comparison(figures)
