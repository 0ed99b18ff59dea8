"""Pair distances, neighbours and points in space."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

from rotfast.plots import plot_embedding_3d, plot_neighbours, plot_pair_distances
from rotfast.plots._figure import GREEN, VERMILION


def test_pair_distances_are_two_densities(tmp_path):
    same, different = torch.rand(100), 1 + torch.rand(50)
    figure = plot_pair_distances(same, different, tmp_path / "pairs.png", threshold=0.5, title="Pairs")
    axes = figure.axes[0]
    areas = [sum(bar.get_width() * bar.get_height() for bar in bars) for bars in axes.containers]
    assert areas == pytest.approx([1, 1])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(labels) == ["One class", "Threshold 0.5", "Two classes"]
    assert (tmp_path / "pairs.png").stat().st_size > 1000


def test_pairs_all_at_distance_zero():
    assert plot_pair_distances(np.zeros(3), np.zeros(2)).axes


@pytest.mark.parametrize(
    ("same", "message"),
    [
        ([], r"same: expected \(N,\) with N of at least 1, got shape \(0,\)"),
        ([[1.0]], r"same: expected \(N,\) .* got shape \(1, 1\)"),
        ([float("nan")], "same: expected finite values"),
    ],
)
def test_bad_distances(same, message):
    with pytest.raises(ValueError, match=message):
        plot_pair_distances(same, [1.0])


@pytest.mark.parametrize("channels", [1, 3])
def test_neighbours(tmp_path, channels):
    queries, others = torch.rand(2, channels, 4, 4), torch.rand(2, 3, channels, 4, 4)
    right = torch.tensor([[True, False, True], [False, False, True]])
    figure = plot_neighbours(queries, others, right, tmp_path / "rows.png", title="Rows")
    images = [axes.images[0].get_array() for axes in figure.axes]
    assert len(images) == 8
    shown = images[5][..., None] if channels == 1 else images[5]
    assert np.allclose(shown, others[1, 0].permute(1, 2, 0))
    frames = [axes.patches[0].get_edgecolor() for axes in figure.axes]
    colors = {True: to_rgba(GREEN), False: to_rgba(VERMILION)}
    assert frames[1:4] + frames[5:] == [colors[bool(each)] for each in right.flatten()]
    assert (tmp_path / "rows.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 2, 4, 4), (2, 3, 2, 4, 4), (2, 3)), r"queries: expected \(R, C, H, W\) with C 1 or 3"),
        (((2, 1, 4, 4), (2, 3, 1, 4, 5), (2, 3)), r"neighbours: expected \(2, 'K', 1, 4, 4\)"),
        (((2, 1, 4, 4), (2, 3, 1, 4, 4), (3, 2)), r"right: expected \(2, 3\), got shape \(3, 2\)"),
    ],
)
def test_bad_neighbours(shapes, message):
    with pytest.raises(ValueError, match=message):
        plot_neighbours(*(torch.rand(shape) for shape in shapes))


def test_points_in_space(tmp_path):
    points, labels = torch.rand(30, 3), torch.arange(30) % 3
    figure = plot_embedding_3d(points, labels, tmp_path / "space.png", class_names=["a", "b", "c"], title="T")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c"]
    assert sum(len(part.get_offsets()) for part in axes.collections) == 30
    assert (tmp_path / "space.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("points", "labels", "names", "message"),
    [
        (torch.rand(4, 2), torch.zeros(4), None, r"points: expected \(N, 3\), got shape \(4, 2\)"),
        (torch.rand(4, 3), torch.zeros(3), None, r"labels: expected \(4,\)"),
        (torch.rand(4, 3), torch.zeros(4), ["a", "b"], "class_names: expected 1 names, got 2"),
    ],
)
def test_bad_points(points, labels, names, message):
    with pytest.raises(ValueError, match=message):
        plot_embedding_3d(points, labels, class_names=names)
