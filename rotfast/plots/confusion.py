"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rotfast.plots._figure import (
    DARK,
    GREY,
    LABEL_SIZE,
    SMALL_SIZE,
    Array,
    PathLike,
    add_note,
    add_panel,
    finite_array,
    new_figure,
    save_figure,
)

CELL, GAP = 0.42, 0.12  # inches
LEFT, TOP, RIGHT, BOTTOM = 1.0, 0.75, 0.2, 0.65
COLORS = "Blues"


def plot_confusion(
    confusion: Tensor | npt.ArrayLike,
    path: PathLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show a confusion matrix, with the recall of every class at the right and the precision below.

    Cells say how many images of the row's true class were given the column's class, coloured by their share
    of the row. Recall is the share of a true class that was found, precision the share of a predicted class
    that is right; a class without images, or never predicted, has none. The corner is the accuracy.

    Args:
        confusion: (C, C) counts, rows true, columns predicted; several matrices (R, C, C), of seeds say, are
            added up.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        class_names: Names of the classes; None numbers them from 0.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: The matrix is not square, is empty or has a negative or infinite count, or the names are
            not as many as the classes.

    Example:
        >>> figure = plot_confusion([[8, 2], [1, 9]], class_names=["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[1].texts]
        ['80', '90']
    """
    counts = finite_array(confusion, "confusion")
    if counts.ndim == 3:
        counts = counts.sum(0)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"confusion: expected a square matrix of counts, got shape {counts.shape}")
    if counts.min() < 0:
        raise ValueError(f"confusion: expected counts of at least 0, got {counts.min():g}")
    classes = len(counts)
    names = [str(number) for number in range(classes)] if class_names is None else list(class_names)
    if len(names) != classes:
        raise ValueError(f"class_names: expected {classes} names, got {len(names)}")

    left = max(LEFT, 0.55 + 0.075 * max(map(len, names)))
    bottom = BOTTOM if max(map(len, names)) <= 3 else 0.45 + 0.075 * max(map(len, names))
    side = classes * CELL
    width, height = left + side + GAP + CELL + RIGHT, TOP + side + GAP + CELL + bottom
    figure = new_figure(max(width, 3.2), height)
    with np.errstate(invalid="ignore"):
        share = counts / counts.sum(1, keepdims=True)
        recall = np.diag(counts) / counts.sum(1)
        precision = np.diag(counts) / counts.sum(0)
    text = [[f"{value:.0f}" if value else "" for value in row] for row in counts]

    axes = add_panel(figure, left, TOP, side, side)
    _draw(axes, share, text)
    axes.set_yticks(range(classes), names)
    axes.set_ylabel("True class", fontsize=LABEL_SIZE)
    right = add_panel(figure, left + side + GAP, TOP, CELL, side)
    _draw(right, recall[:, None], [[_percent(value)] for value in recall])
    right.set_title("Recall\n%", fontsize=SMALL_SIZE, color=DARK)
    below = add_panel(figure, left, TOP + side + GAP, side, CELL)
    _draw(below, precision[None], [[_percent(value) for value in precision]])
    below.set_xticks(range(classes), names, rotation=0 if bottom == BOTTOM else 90)
    below.set_xlabel("Predicted class", fontsize=LABEL_SIZE)
    below.set_yticks([0], ["Precision %"])
    total = counts.sum()
    accuracy = np.trace(counts) / total if total else np.nan
    corner = add_panel(figure, left + side + GAP, TOP + side + GAP, CELL, CELL)
    _draw(corner, np.array([[accuracy]]), [[_percent(accuracy, 1)]])
    add_note(figure, 0.12, f"{title}\n" if title else "")
    add_note(figure, 0.34, f"{total:,.0f} images, {total - np.trace(counts):,.0f} errors")
    return save_figure(figure, path)


def _percent(value: float, digits: int = 0) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.{digits}f}"


def _draw(axes: Axes, share: Array, text: Sequence[Sequence[str]]) -> None:
    axes.imshow(np.nan_to_num(share), cmap=COLORS, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(labelsize=SMALL_SIZE, length=0)
    axes.spines[:].set_color(GREY)
    axes.spines[:].set_linewidth(0.5)
    for row, cells in enumerate(text):
        for column, cell in enumerate(cells):
            color = "white" if share[row, column] > 0.6 else DARK
            size = SMALL_SIZE if len(cell) < 5 else SMALL_SIZE - 2
            axes.text(column, row, cell, ha="center", va="center", fontsize=size, color=color)
