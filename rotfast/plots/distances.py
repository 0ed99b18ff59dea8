"""How far apart pairs of one class and pairs of two are, as two histograms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch import Tensor

from rotfast.plots._figure import (
    BLUE,
    DARK,
    LABEL_SIZE,
    SMALL_SIZE,
    VERMILION,
    PathLike,
    add_title,
    finite_array,
    new_figure,
    save_figure,
    style_axes,
)

__all__ = ["plot_pair_distances"]

BINS = 60


def plot_pair_distances(
    same: Tensor | npt.ArrayLike,
    different: Tensor | npt.ArrayLike,
    path: PathLike | None = None,
    *,
    threshold: float | None = None,
    title: str | None = None,
) -> Figure:
    """Show the distances of pairs of one class and of pairs of two as densities over one axis.

    Args:
        same: (P,) distances of the pairs of one class.
        different: (Q,) distances of the pairs of two.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        threshold: A line where pairs stop to count as the same.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: One of them is no list of finite numbers, or empty.

    Example:
        >>> figure = plot_pair_distances([0.1, 0.2], [0.8, 1.0], threshold=0.5)
        >>> figure.axes[0].get_xlabel()
        'Distance'
    """
    values = {"same": finite_array(same, "same"), "different": finite_array(different, "different")}
    for name, distances in values.items():
        if distances.ndim != 1 or not len(distances):
            raise ValueError(f"{name}: expected (N,) with N of at least 1, got shape {distances.shape}")
    top = max(distances.max() for distances in values.values())
    edges = np.linspace(0, top if top > 0 else 1, BINS + 1).tolist()
    figure = new_figure(6.4, 3.4, automatic=True)
    axes = figure.add_subplot()
    style_axes(axes)
    labels = {"same": ("One class", BLUE), "different": ("Two classes", VERMILION)}
    for name, distances in values.items():
        label, color = labels[name]
        axes.hist(distances, edges, density=True, color=color, alpha=0.55, label=label)
    if threshold is not None:
        axes.axvline(threshold, color=DARK, linewidth=1, linestyle="--", label=f"Threshold {threshold:g}")
    axes.set_xlabel("Distance", fontsize=LABEL_SIZE)
    axes.set_ylabel("Density", fontsize=LABEL_SIZE)
    axes.legend(frameon=False, fontsize=SMALL_SIZE)
    if title is not None:
        add_title(axes, title)
    return save_figure(figure, path)
