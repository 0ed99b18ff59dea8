"""Images and the images nearest to them, as rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from rotfast.plots._figure import (
    DARK,
    GREEN,
    VERMILION,
    PathLike,
    add_note,
    add_panel,
    bare_image_axes,
    finite_array,
    new_figure,
    save_figure,
)

__all__ = ["plot_neighbours"]

SIDE, GAP, MARGIN, TOP = 0.55, 0.08, 0.12, 0.55  # inches


def plot_neighbours(
    queries: Tensor | npt.ArrayLike,
    neighbours: Tensor | npt.ArrayLike,
    right: Tensor | npt.ArrayLike,
    path: PathLike | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Show each query image and, right of it, its neighbours from near to far, framed by right and wrong.

    Args:
        queries: (R, C, H, W) images in [0, 1], C 1 (grey, 0 shown black) or 3.
        neighbours: (R, K, C, H, W).
        right: (R, K), whether a neighbour is of the query's class: a green frame, otherwise a red one.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: A shape does not fit, or a value is not finite.

    Example:
        >>> import torch
        >>> figure = plot_neighbours(torch.rand(2, 1, 8, 8), torch.rand(2, 3, 1, 8, 8), torch.ones(2, 3))
        >>> len(figure.axes)
        8
    """
    first, others = finite_array(queries, "queries"), finite_array(neighbours, "neighbours")
    if first.ndim != 4 or first.shape[1] not in (1, 3) or not len(first):
        raise ValueError(f"queries: expected (R, C, H, W) with C 1 or 3, got shape {first.shape}")
    if others.ndim != 5 or others.shape[:1] + others.shape[2:] != first.shape or not others.shape[1]:
        raise ValueError(
            f"neighbours: expected {(len(first), 'K', *first.shape[1:])}, got shape {others.shape}"
        )
    marks = finite_array(right, "right")
    if marks.shape != others.shape[:2]:
        raise ValueError(f"right: expected {others.shape[:2]}, got shape {marks.shape}")
    rows, count = marks.shape
    # The query stands a little apart.
    width = 2 * MARGIN + (count + 1) * (SIDE + GAP) + 2 * GAP
    figure = new_figure(max(width, 3.0), TOP + rows * (SIDE + GAP) + MARGIN)
    for row in range(rows):
        top = TOP + row * (SIDE + GAP)
        _show(figure, MARGIN, top, first[row], DARK)
        for place in range(count):
            left = MARGIN + 3 * GAP + (place + 1) * (SIDE + GAP) - GAP
            _show(figure, left, top, others[row, place], GREEN if marks[row, place] else VERMILION)
    add_note(figure, 0.1, title or "")
    add_note(figure, 0.3, "Query, then its nearest images")
    return save_figure(figure, path)


def _show(figure: Figure, left: float, top: float, image: npt.NDArray[np.float64], color: str) -> None:
    axes = add_panel(figure, left, top, SIDE, SIDE)
    shown = np.clip(image.transpose(1, 2, 0), 0, 1)
    axes.imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1)
    bare_image_axes(axes)
    axes.add_patch(
        Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=color, linewidth=2.5)
    )
