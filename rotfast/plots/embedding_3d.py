"""Points of three dimensions, coloured by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from rotfast.plots._figure import SMALL_SIZE, TITLE_SIZE, PathLike, finite_array, new_figure, save_figure

__all__ = ["plot_embedding_3d"]

SIDE = 5.0


def plot_embedding_3d(
    points: Tensor | npt.ArrayLike,
    labels: Tensor | npt.ArrayLike,
    path: PathLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show points in space, coloured by class.

    Args:
        points: (N, 3).
        labels: (N,) whole numbers: the class of each point, at most 20 classes are told apart.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        class_names: Names of the classes in ascending order of their labels; None takes the labels.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: The points are not (N, 3) or not finite, or labels or names are not as many.

    Example:
        >>> figure = plot_embedding_3d([[0, 0, 1], [1, 0, 0]], [4, 7])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['4', '7']
    """
    places = finite_array(points, "points")
    if places.ndim != 2 or places.shape[1] != 3 or not len(places):
        raise ValueError(f"points: expected (N, 3), got shape {places.shape}")
    classes = finite_array(labels, "labels")
    if classes.shape != (len(places),):
        raise ValueError(f"labels: expected ({len(places)},), one for a point, got shape {classes.shape}")
    present = np.unique(classes)
    names = [f"{label:g}" for label in present] if class_names is None else class_names
    if len(names) != len(present):
        raise ValueError(f"class_names: expected {len(present)} names, got {len(names)}")
    colors = colormaps["tab10" if len(present) <= 10 else "tab20"]
    figure = new_figure(SIDE + 1.2, SIDE, automatic=True)
    axes = cast(Any, figure.add_subplot(projection="3d"))  # matplotlib's 3-D axes carry no types
    size = float(np.clip(4000 / len(places), 3, 30))
    for number, (label, name) in enumerate(zip(present, names, strict=True)):
        chosen = places[classes == label]
        axes.scatter(
            chosen[:, 0], chosen[:, 1], chosen[:, 2], s=size, color=colors(number % colors.N), label=name
        )
    axes.tick_params(labelsize=SMALL_SIZE)
    axes.legend(frameon=False, fontsize=SMALL_SIZE, loc="center left", bbox_to_anchor=(1.05, 0.5))
    if title is not None:
        axes.set_title(title, fontsize=TITLE_SIZE, loc="left")
    return save_figure(figure, path)
