import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from rotfast.plots import plot_confusion

COUNTS = [[8, 2, 0], [1, 9, 0], [0, 0, 0]]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_counts_recall_precision_and_accuracy():
    figure = plot_confusion(COUNTS, title="heading")
    assert isinstance(figure, Figure)
    counts, recall, precision, accuracy = figure.axes
    assert texts(counts) == ["8", "2", "", "1", "9", "", "", "", ""]
    assert texts(recall) == ["80", "90", "–"]
    assert texts(precision) == ["89", "82", "–"]
    assert texts(accuracy) == ["85.0"]
    shown = counts.images[0].get_array()
    np.testing.assert_allclose(shown, [[0.8, 0.2, 0], [0.1, 0.9, 0], [0, 0, 0]])
    assert "20 images, 3 errors" in figure.texts[1].get_text()


def test_matrices_of_several_seeds_add_up():
    figure = plot_confusion(torch.tensor([COUNTS, COUNTS]))
    assert texts(figure.axes[0])[:2] == ["16", "4"]


def test_classes_have_their_names(tmp_path):
    path = tmp_path / "confusion.png"
    figure = plot_confusion(COUNTS, path, class_names=["a", "bb", "automobile"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "bb", "automobile"]
    assert path.stat().st_size > 1000


def test_no_images_at_all():
    assert texts(plot_confusion([[0]]).axes[3]) == ["–"]


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [
        ([[1, 2]], None, r"expected a square matrix of counts, got shape \(1, 2\)"),
        (np.zeros((0, 0)), None, r"got shape \(0, 0\)"),
        ([[1, -1], [0, 1]], None, "expected counts of at least 0, got -1"),
        ([[np.nan]], None, "confusion: expected finite values"),
        (COUNTS, ["a"], "class_names: expected 3 names, got 1"),
    ],
)
def test_wrong_arguments(counts, names, message):
    with pytest.raises(ValueError, match=message):
        plot_confusion(counts, class_names=names)
