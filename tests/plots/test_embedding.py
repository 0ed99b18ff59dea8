import numpy as np
import pytest
import torch

from rotfast.plots import plot_embedding

POINTS = np.random.RandomState(0).rand(50, 2)


def colors(axes):
    """Colour of every point, in the order of the points."""
    (scatter,) = axes.collections
    places = [tuple(place) for place in np.asarray(scatter.get_offsets())]
    axes.figure.canvas.draw()
    found = dict(zip(places, scatter.get_facecolors(), strict=True))
    return np.array([found[tuple(point)] for point in POINTS])


def test_one_colour_for_each_class_and_its_name():
    labels = np.arange(50) % 3
    figure = plot_embedding(torch.from_numpy(POINTS), labels=labels, class_names=["a", "b", "c"], title="t")
    shown = colors(figure.axes[0])
    assert len(np.unique(shown, axis=0)) == 3
    assert all(len(np.unique(shown[labels == label], axis=0)) == 1 for label in range(3))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a", "b", "c"]


def test_angles_a_period_apart_have_one_colour():
    angles = np.linspace(-180, 180, 50)
    first, moved = (colors(plot_embedding(POINTS, angles=angles + turn).axes[0]) for turn in (0, 720))
    np.testing.assert_allclose(first, moved, atol=0.03)
    np.testing.assert_allclose(first[0], first[-1], atol=0.03)
    assert np.abs(first[0] - first[25]).max() > 0.3


def test_both_and_neither(tmp_path):
    path = tmp_path / "both.png"
    figure = plot_embedding(POINTS, path, labels=np.zeros(50), angles=np.zeros(50), axis_names=("x", "y"))
    assert len(figure.axes) == 3  # with the colour bar
    assert figure.axes[0].get_xlabel() == "x"
    assert path.stat().st_size > 1000
    assert len(plot_embedding(POINTS).axes) == 1


def test_many_classes():
    figure = plot_embedding(POINTS, labels=np.arange(50))
    assert len(np.unique(colors(figure.axes[0]), axis=0)) == 50


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (POINTS.T, {}, r"points: expected \(N, 2\), got shape \(2, 50\)"),
        (np.zeros((0, 2)), {}, r"points: expected \(N, 2\)"),
        (POINTS * np.nan, {}, "points: expected finite values"),
        (POINTS, {"labels": [0, 1]}, r"labels: expected \(50,\), one for a point, got shape \(2,\)"),
        (POINTS, {"labels": np.full(50, 0.5)}, "labels: expected whole numbers from 0"),
        (
            POINTS,
            {"labels": np.full(50, 2), "class_names": ["a"]},
            "expected a name for class 2, got 1 names",
        ),
        (POINTS, {"angles": [1.0]}, r"angles: expected \(50,\), one for a point, got shape \(1,\)"),
        (POINTS, {"angles": np.zeros(50), "period": 0}, "period: expected a positive number"),
    ],
)
def test_wrong_arguments(points, options, message):
    with pytest.raises(ValueError, match=message):
        plot_embedding(points, **options)
