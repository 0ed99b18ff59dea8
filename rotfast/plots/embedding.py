"""Points of two dimensions, coloured by class or by angle: what PCA or t-SNE makes of features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from rotfast.plots._figure import (
    DARK,
    GREY,
    LABEL_SIZE,
    SMALL_SIZE,
    PathLike,
    add_title,
    finite_array,
    new_figure,
    save_figure,
)

# Three cosines a third of a turn apart: its ends meet, and no angle is as light as the paper.
_TURN = 2 * np.pi * (np.arange(256)[:, None] / 256 - np.array([0, 1 / 3, 2 / 3]))
CYCLIC = ListedColormap(0.45 + 0.4 * np.cos(_TURN))
CLASSES, MANY_CLASSES = "tab10", "gist_ncar"
SIDE = 4.0


def plot_embedding(
    points: Tensor | npt.ArrayLike,
    path: PathLike | None = None,
    *,
    labels: Tensor | npt.ArrayLike | None = None,
    angles: Tensor | npt.ArrayLike | None = None,
    period: float = 360.0,
    class_names: Sequence[str] | None = None,
    axis_names: tuple[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show points in the plane, coloured by class, by angle, or by both in two panels.

    Args:
        points: (N, 2).
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        labels: (N,) whole numbers from 0: the class of each point.
        angles: (N,) degrees; the colours run around a circle, so 0 and `period` look the same.
        period: Degrees after which an angle repeats itself.
        class_names: Names of the classes; None numbers them.
        axis_names: Names of the two axes; without them the axes carry no numbers, as t-SNE's mean nothing.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: The points are not (N, 2) or not finite, labels or angles are not as many, a label is no
            whole number from 0 or has no name, or `period` is not positive.

    Example:
        >>> points = [[0, 0], [1, 0], [0, 1]]
        >>> figure = plot_embedding(points, labels=[0, 1, 1], class_names=["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['cat', 'dog']
    """
    places = finite_array(points, "points")
    if places.ndim != 2 or places.shape[1] != 2 or not len(places):
        raise ValueError(f"points: expected (N, 2), got shape {places.shape}")
    if not period > 0:
        raise ValueError(f"period: expected a positive number of degrees, got {period}")
    classes = None if labels is None else _as_labels(labels, len(places), class_names)
    turns = None if angles is None else finite_array(angles, "angles")
    if turns is not None and turns.shape != (len(places),):
        raise ValueError(f"angles: expected ({len(places)},), one for a point, got shape {turns.shape}")

    panels = max(1, (classes is not None) + (turns is not None))
    figure = new_figure(0.3 + panels * (SIDE + 0.9), SIDE + 0.6, automatic=True)
    grid = figure.subplots(1, panels, squeeze=False)[0]
    # Drawn in a fixed random order, so that no class hides another.
    order = np.random.RandomState(0).permutation(len(places))
    size = float(np.clip(4000 / len(places), 3, 30))
    left = list(grid)
    if classes is not None:
        _draw_classes(left.pop(0), places[order], classes[order], class_names, size)
    if turns is not None:
        _draw_angles(left.pop(0), places[order], turns[order] % period, period, size)
    for axes in left:
        axes.scatter(places[:, 0], places[:, 1], s=size, color=GREY, linewidths=0)
    for axes in grid:
        _style(axes, axis_names)
    if title is not None:
        add_title(grid[0], title)
    return save_figure(figure, path)


def _as_labels(
    labels: Tensor | npt.ArrayLike, count: int, names: Sequence[str] | None
) -> npt.NDArray[np.int64]:
    values = finite_array(labels, "labels")
    if values.shape != (count,):
        raise ValueError(f"labels: expected ({count},), one for a point, got shape {values.shape}")
    if (values != values.round()).any() or values.min() < 0:
        raise ValueError(f"labels: expected whole numbers from 0, got {values.min():g} to {values.max():g}")
    if names is not None and values.max() >= len(names):
        raise ValueError(f"class_names: expected a name for class {values.max():g}, got {len(names)} names")
    return values.astype(np.int64)


def _draw_classes(
    axes: Axes,
    points: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    names: Sequence[str] | None,
    size: float,
) -> None:
    present = np.unique(labels)
    few = present.max() < 10
    colors = colormaps[CLASSES] if few else colormaps[MANY_CLASSES].resampled(int(present.max()) + 1)
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=size,
        c=[colors(int(label)) for label in labels],
        linewidths=0,
        alpha=0.8,
    )
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=5, color=colors(int(label)), label=name)
        for label in present
        for name in [str(label) if names is None else names[label]]
    ]
    axes.legend(
        handles=handles,
        frameon=False,
        fontsize=SMALL_SIZE,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        ncols=-(-len(handles) // 18),
        handletextpad=0.1,
    )


def _draw_angles(
    axes: Axes, points: npt.NDArray[np.float64], angles: npt.NDArray[np.float64], period: float, size: float
) -> None:
    scale = Normalize(0, period)
    axes.scatter(
        points[:, 0], points[:, 1], s=size, c=angles, cmap=CYCLIC, norm=scale, linewidths=0, alpha=0.8
    )
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(ScalarMappable(scale, CYCLIC), ax=axes, shrink=0.6, aspect=18, pad=0.02)
    bar.set_ticks([0, period / 4, period / 2, 3 * period / 4, period])
    bar.ax.tick_params(labelsize=SMALL_SIZE, color=GREY)
    bar.set_label("Angle (°)", fontsize=SMALL_SIZE, color=DARK)
    bar.outline.set_visible(False)


def _style(axes: Axes, names: tuple[str, str] | None) -> None:
    axes.spines[:].set_color(GREY)
    axes.spines[:].set_linewidth(0.5)
    axes.tick_params(labelsize=SMALL_SIZE, color=GREY)
    axes.set_box_aspect(1)
    if names is None:
        axes.set_xticks([])
        axes.set_yticks([])
    else:
        axes.set_xlabel(names[0], fontsize=LABEL_SIZE)
        axes.set_ylabel(names[1], fontsize=LABEL_SIZE)
