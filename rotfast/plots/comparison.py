"""Several figures of several methods, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from rotfast.plots._figure import (
    BLUE,
    DARK,
    SMALL_SIZE,
    PathLike,
    add_title,
    finite_array,
    new_figure,
    save_figure,
    style_axes,
)

__all__ = ["plot_comparison"]


def plot_comparison(
    figures: Mapping[str, Mapping[str, Sequence[float]]],
    path: PathLike | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """One panel for each figure, in it a bar for each method: the mean over repetitions, each one a dot.

    Args:
        figures: For each figure and method what each repetition gave: {"R²": {"article": [.1, .2]}}.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: There is no figure, method or repetition, or a value is not finite.

    Example:
        >>> figure = plot_comparison({"R²": {"article": [0.1, 0.2], "own": [0.3]}, "MIG": {"article": [0.1]}})
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['R²', 'MIG']
    """
    if not figures:
        raise ValueError("figures: expected at least one, got none")
    for name, methods in figures.items():
        if not methods or not all(len(values) for values in methods.values()):
            raise ValueError(f"figures[{name!r}]: expected methods with at least one repetition each")
    most = max(len(methods) for methods in figures.values())
    figure = new_figure(2.3 * len(figures) + 0.9, 0.7 + 0.3 * most, automatic=True)
    panels = figure.subplots(1, len(figures), squeeze=False)[0]
    for index, (axes, (name, methods)) in enumerate(zip(panels, figures.items(), strict=True)):
        style_axes(axes)
        for place, (method, values) in enumerate(methods.items()):
            given = finite_array(values, f"figures[{name!r}][{method!r}]")
            axes.barh(place, given.mean(), color=BLUE, alpha=0.55, height=0.66)
            axes.plot(given, np.full(len(given), place), "o", color=DARK, markersize=3)
        names = list(methods) if index == 0 else [""] * len(methods)
        axes.set_yticks(range(len(methods)), names, fontsize=SMALL_SIZE)
        axes.invert_yaxis()
        add_title(axes, name)
    if title is not None:
        figure.suptitle(title, fontsize=10, x=0.01, ha="left", color=DARK)
    return save_figure(figure, path)
