"""Accuracy against the number of labels, or any other figure against a size, with error bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rotfast.plots._figure import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    LABEL_SIZE,
    PURPLE,
    SMALL_SIZE,
    VERMILION,
    PathLike,
    add_title,
    finite_array,
    new_figure,
    save_figure,
    style_axes,
)
from rotfast.plots.losses import student_t_975

Curve: TypeAlias = Mapping[float, Sequence[float]] | Mapping[int, Sequence[float]]

COLORS = (BLUE, VERMILION, GREEN, PURPLE, DARK, GREY, "#E69F00", "#56B4E9")
MARKERS = "osD^vP*X"


def plot_budget(
    curves: Mapping[str, Curve],
    path: PathLike | None = None,
    *,
    xlabel: str = "Labels per class",
    ylabel: str = "Test accuracy",
    title: str | None = None,
) -> Figure:
    """Plot one curve for each method: the mean over repetitions, with Student's 95 % interval.

    The horizontal axis is logarithmic. Where a point has one repetition alone it has no interval.

    Args:
        curves: For each method, what was measured in each repetition at each size: {"both": {1: [.7, .6],
            10: [.95, .96]}}. Sizes are positive.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        xlabel, ylabel: What the axes show.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: There is no curve, a curve or point is empty, a size is not positive, or a value is not
            finite.

    Example:
        >>> figure = plot_budget({"augmented": {1: [0.5, 0.6], 10: [0.9, 0.92]}})
        >>> figure.axes[0].get_legend().get_texts()[0].get_text()
        'augmented'
    """
    if not curves:
        raise ValueError("curves: expected at least one, got none")
    figure = new_figure(6.4, 4.0, automatic=True)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.set_xscale("log")
    sizes: set[float] = set()
    repeated = False
    for number, (name, curve) in enumerate(curves.items()):
        if not curve:
            raise ValueError(f"curves[{name!r}]: expected at least one point, got none")
        points = sorted((float(size), list(values)) for size, values in curve.items())
        means, halves = [], []
        for size, values in points:
            if not (0 < size < math.inf) or not values:
                raise ValueError(
                    f"curves[{name!r}]: expected positive sizes, each with values, got {size:g}: {values}"
                )
            array = finite_array(values, f"curves[{name!r}][{size:g}]")
            count = len(array)
            means.append(array.mean())
            halves.append(
                student_t_975(count - 1) * array.std(ddof=1) / math.sqrt(count) if count > 1 else 0.0
            )
            repeated = repeated or count > 1
        x = [size for size, _ in points]
        sizes.update(x)
        # A little apart, so that the bars of two methods do not lie on each other.
        shifted = np.array(x) * 1.012 ** (number - (len(curves) - 1) / 2)
        axes.errorbar(
            shifted,
            means,
            yerr=halves if any(halves) else None,
            label=name,
            color=COLORS[number % len(COLORS)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1.5,
            elinewidth=1,
            capsize=2.5,
        )
    axes.set_xticks(sorted(sizes), [f"{size:g}" for size in sorted(sizes)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(xlabel, fontsize=LABEL_SIZE)
    axes.set_ylabel(ylabel, fontsize=LABEL_SIZE)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(
        frameon=False,
        fontsize=SMALL_SIZE,
        title="bars: 95 % interval" if repeated else None,
        title_fontsize=SMALL_SIZE,
        alignment="left",
    )
    if title is not None:
        add_title(axes, title)
    return save_figure(figure, path)
