"""Bar charts over the rotation angles of a data set or an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rotfast.plots._figure import (
    BLUE,
    DARK,
    LABEL_SIZE,
    SMALL_SIZE,
    TITLE_SIZE,
    VERMILION,
    PathLike,
    add_title,
    new_figure,
    save_figure,
    style_axes,
)

# Keys may be strings, as they are after a round trip through JSON.
AngleCounts: TypeAlias = Mapping[float, int] | Mapping[str, int]

COLORS = {"train": BLUE, "test": VERMILION}


def plot_images_per_angle(
    counts: AngleCounts | Mapping[str, AngleCounts],
    path: PathLike | None = None,
    title: str | None = None,
) -> Figure:
    """Plot how many images each angle has.

    Args:
        counts: Number of images of each angle in degrees, positive counter-clockwise; the keys may be numbers
            or their decimal text. Or a mapping from split ("train", "test") to such counts: one panel for
            each.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        TypeError: `counts` is no mapping.
        ValueError: `counts` is empty, a key is no finite angle or a value no whole number of at least 0.

    Example:
        >>> figure = plot_images_per_angle({"train": {0: 80, 9: 78}, "test": {0: 20, 9: 22}})
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['train: 158 images', 'test: 42 images']
    """
    panels = _as_panels(counts)
    figure, grid = _panels(len(panels), max(len(panel) for panel in panels.values()), title)
    for axes, (split, panel) in zip(grid, panels.items(), strict=True):
        values = list(panel.values())
        _draw_bars(axes, list(panel), values, COLORS.get(split, BLUE))
        _annotate(axes, values, [str(value) for value in values])
        axes.set_ylabel("Images", fontsize=LABEL_SIZE)
        add_title(axes, f"{split + ': ' if split else ''}{sum(values):,} images")
    return save_figure(figure, path)


def plot_errors_per_angle(
    errors: AngleCounts,
    counts: AngleCounts,
    path: PathLike | None = None,
    title: str | None = None,
) -> Figure:
    """Plot the errors of each angle and, beside them, the error rate with its 95 % interval.

    Bars of the first panel carry "errors/images". Whiskers of the second are Wilson's score interval; the
    dashed line is the error rate over all angles. An angle without images has no rate.

    Args:
        errors: Number of wrong answers of each angle in degrees, positive counter-clockwise; the keys may be
            numbers or their decimal text.
        counts: Number of images judged, for the same angles.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        TypeError: `errors` or `counts` is no mapping.
        ValueError: `errors` or `counts` is empty, they have different angles, a key is no finite angle, a
            value is no whole number of at least 0, or an angle has more errors than images.

    Example:
        >>> figure = plot_errors_per_angle({0.0: 3, 9.0: 5}, {0.0: 19, 9.0: 19})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['Errors', 'Error rate (%), 95 % interval']
    """
    wrong, images = _check_counts(errors, "errors"), _check_counts(counts, "counts")
    if wrong.keys() != images.keys():
        only = sorted(wrong.keys() ^ images.keys())
        raise ValueError(f"errors and counts: expected the same angles, got {only} in only one of them")
    for angle in wrong:
        if wrong[angle] > images[angle]:
            raise ValueError(
                f"errors: expected at most {images[angle]} at {angle:g} degrees, got {wrong[angle]}"
            )
    angles = list(wrong)
    figure, (left, right) = _panels(2, len(angles), title)
    all_wrong, all_images = sum(wrong.values()), sum(images.values())

    _draw_bars(left, angles, list(wrong.values()), VERMILION)
    _annotate(left, list(wrong.values()), [f"{wrong[angle]}/{images[angle]}" for angle in angles])
    left.set_ylabel("Errors", fontsize=LABEL_SIZE)
    left.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    add_title(left, f"{all_wrong:,} errors of {all_images:,} images")

    rates = [100 * wrong[angle] / images[angle] if images[angle] else 0.0 for angle in angles]
    _draw_bars(right, angles, rates, VERMILION)
    known = [index for index, angle in enumerate(angles) if images[angle]]
    shown = np.array([rates[index] for index in known])
    bounds = 100 * np.array([wilson_interval(wrong[angles[index]], images[angles[index]]) for index in known])
    if known:
        reach = np.maximum([shown - bounds[:, 0], bounds[:, 1] - shown], 0)
        right.errorbar(known, shown, yerr=reach, fmt="none", ecolor=DARK, elinewidth=1, capsize=2)
        overall = 100 * all_wrong / all_images
        right.axhline(overall, color=DARK, linewidth=1, linestyle=(0, (4, 3)))
        add_title(right, f"{overall:.1f} % overall (dashed)")
    right.set_ylabel("Error rate (%), 95 % interval", fontsize=LABEL_SIZE)
    right.set_ylim(bottom=0)
    return save_figure(figure, path)


def wilson_interval(wrong: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion.

    Example:
        >>> low, high = wilson_interval(0, 10)
        >>> round(low, 3), round(high, 3)
        (0.0, 0.278)
    """
    z = 1.959964
    rate = wrong / total
    centre = (rate + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(rate * (1 - rate) / total + z**2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _as_panels(counts: AngleCounts | Mapping[str, AngleCounts]) -> dict[str, dict[float, int]]:
    if not isinstance(counts, Mapping):
        raise TypeError(f"counts: expected a mapping from angle to number, got {type(counts).__name__}")
    nested = [isinstance(value, Mapping) for value in counts.values()]
    if nested and all(nested):
        splits = cast("Mapping[str, AngleCounts]", counts)
        return {str(split): _check_counts(panel, f"counts[{split!r}]") for split, panel in splits.items()}
    return {"": _check_counts(cast("AngleCounts", counts), "counts")}


def _check_counts(counts: AngleCounts, name: str) -> dict[float, int]:
    """The counts with float keys in ascending order."""
    if not isinstance(counts, Mapping):
        raise TypeError(f"{name}: expected a mapping from angle to number, got {type(counts).__name__}")
    if not counts:
        raise ValueError(f"{name}: expected at least one angle, got an empty mapping")
    checked: dict[float, int] = {}
    for key, value in counts.items():
        try:
            angle = float(key)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: expected angles in degrees as keys, got {key!r}") from None
        if not math.isfinite(angle):
            raise ValueError(f"{name}: expected finite angles as keys, got {key!r}")
        if angle in checked:
            raise ValueError(f"{name}: expected each angle once, got {angle:g} twice")
        if not isinstance(value, (int, float, np.number)) or not float(value).is_integer() or value < 0:
            raise ValueError(
                f"{name}: expected whole numbers of at least 0, got {value!r} at {angle:g} degrees"
            )
        checked[angle] = int(value)
    return dict(sorted(checked.items()))


def _panels(count: int, angles: int, title: str | None) -> tuple[Figure, Sequence[Axes]]:
    """A figure of panels side by side, or one below the other when the angles are many."""
    width = min(15.0, max(3.4, 1.1 + 0.36 * angles))
    extra = 0.3 if title else 0.0
    stacked = angles > 12
    size = (width, 2.6 * count + extra) if stacked else (width * count, 3.0 + extra)
    figure = new_figure(*size, automatic=True)
    if title is not None:
        figure.suptitle(title, fontsize=TITLE_SIZE, fontweight="bold", color=DARK, x=0.01, ha="left")
    rows, columns = (count, 1) if stacked else (1, count)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _draw_bars(axes: Axes, angles: Sequence[float], heights: Sequence[float], color: str) -> None:
    style_axes(axes)
    axes.bar(range(len(angles)), heights, width=0.75, color=color)
    # At most about 40 labels keep their distance at the greatest width.
    ticks = range(0, len(angles), -(-len(angles) // 40))
    axes.set_xticks(ticks, [f"{angles[index]:g}" for index in ticks])
    axes.set_xlim(-0.7, len(angles) - 0.3)
    axes.set_xlabel("Angle (degrees)", fontsize=LABEL_SIZE)


def _annotate(axes: Axes, heights: Sequence[float], labels: Sequence[str]) -> None:
    """Write a label over each bar, upright where it is wider than the bar, and leave room for it."""
    if len(labels) > 40:
        return
    upright = max(len(label) for label in labels) * len(labels) > 24
    for index, (height, label) in enumerate(zip(heights, labels, strict=True)):
        axes.annotate(
            label,
            (index, height),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7 if upright else SMALL_SIZE,
            rotation=90 if upright else 0,
            color=DARK,
        )
    axes.set_ylim(0, max(1.0, *heights) * (1.35 if upright else 1.15))
