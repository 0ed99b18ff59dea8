"""Loss against the outer step, of one run or of several seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rotfast.plots._figure import (
    BLUE,
    GREEN,
    GREY,
    LABEL_SIZE,
    PURPLE,
    SMALL_SIZE,
    VERMILION,
    Array,
    PathLike,
    add_title,
    new_figure,
    save_figure,
    style_axes,
)

Record: TypeAlias = Mapping[str, Any]
# For each split: step -> (loss, half width of its interval or NaN where the record gives none).
Curves: TypeAlias = dict[str, dict[int, tuple[float, float]]]

COLORS = {"train": BLUE, "test": VERMILION}
OTHER_COLORS = (GREEN, PURPLE, GREY)
LOG_SCALE_RATIO = 20.0
DENSE = 100


def plot_losses(
    metrics: Sequence[Record] | Sequence[Sequence[Record]],
    path: PathLike | None = None,
    *,
    title: str | None = None,
    xlabel: str = "Outer step",
) -> Figure:
    """Plot the loss of each split against the step, with 95 % intervals.

    One run: each curve with the interval its records give. Several runs (seeds): the mean over the runs at
    the steps all of them have, with Student's 95 % interval of that mean, and each run as a thin line where
    there are at most 100 steps. The loss axis is logarithmic when the curves are positive and span more than
    a factor of 20.

    Args:
        metrics: The records of a run, as in its `metrics.jsonl`, or a list of such runs. A record is a
            mapping with "step" (outer step), "split" ("train", "test"), "loss" and optionally "loss_ci95"
            (half width of the interval). Of several records of one split and step the last counts.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        title: Heading of the figure.
        xlabel: What a step is.

    Returns:
        The figure.

    Raises:
        TypeError: `metrics` is no list of records or of runs, or a value in it is no number.
        ValueError: There are no records, a record lacks a field or holds a value that is not finite, or the
            runs share no step.

    Example:
        >>> records = [{"step": s, "split": "test", "loss": 2 - s / 99, "loss_ci95": 0.1} for s in range(99)]
        >>> figure = plot_losses(records)
        >>> figure.axes[0].get_xlabel()
        'Outer step'
    """
    runs = _as_runs(metrics)
    several = len(runs) > 1
    curves = [_curves(run, f"metrics[{index}]" if several else "metrics") for index, run in enumerate(runs)]
    splits = sorted(
        {split for run in curves for split in run}, key=lambda name: (name != "train", name != "test", name)
    )
    colors = dict(COLORS)
    colors.update(zip((name for name in splits if name not in COLORS), OTHER_COLORS, strict=False))

    figure = new_figure(6.4, 3.8, automatic=True)
    axes = figure.add_subplot()
    style_axes(axes)
    for split in splits:
        color = colors.get(split, GREY)
        if several:
            _draw_seeds(axes, split, [run[split] for run in curves if split in run], len(runs), color)
        else:
            _draw_run(axes, split, curves[0][split], color)
    losses = [loss for run in curves for points in run.values() for loss, _ in points.values()]
    low, high = min(losses), max(losses)
    if low > 0 and high / low > LOG_SCALE_RATIO:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(0.7 * low, 1.4 * high)
    elif several and high > low:
        # Of two or three seeds the interval is wide; it must not squeeze the curves, so these set the axis.
        axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    axes.set_xlabel(xlabel, fontsize=LABEL_SIZE)
    axes.set_ylabel("Loss", fontsize=LABEL_SIZE)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    note = f"mean of {len(runs)} seeds, shaded: 95 % interval" if several else "shaded: 95 % interval"
    shaded = several or any(
        not math.isnan(half) for points in curves[0].values() for _, half in points.values()
    )
    axes.legend(
        frameon=False,
        fontsize=SMALL_SIZE,
        title=note if shaded else None,
        title_fontsize=SMALL_SIZE,
        alignment="left",
    )
    if title is not None:
        add_title(axes, title)
    return save_figure(figure, path)


def _as_runs(metrics: Sequence[Record] | Sequence[Sequence[Record]]) -> list[Sequence[Record]]:
    if isinstance(metrics, (str, bytes, Mapping)) or not isinstance(metrics, Sequence):
        raise TypeError(f"metrics: expected a list of records or of runs, got {type(metrics).__name__}")
    if not metrics:
        raise ValueError("metrics: expected at least one record, got an empty list")
    if isinstance(metrics[0], Mapping):
        return [cast("Sequence[Record]", metrics)]
    return list(cast("Sequence[Sequence[Record]]", metrics))


def _curves(run: Sequence[Record], name: str) -> Curves:
    if isinstance(run, Mapping) or not isinstance(run, Sequence):
        raise TypeError(f"{name}: expected a list of records, got {type(run).__name__}")
    if not run:
        raise ValueError(f"{name}: expected at least one record, got an empty list")
    curves: Curves = {}
    for index, record in enumerate(run):
        where = f"{name}[{index}]"
        if not isinstance(record, Mapping):
            raise TypeError(f"{where}: expected a record (mapping), got {type(record).__name__}")
        missing = [field for field in ("step", "split", "loss") if field not in record]
        if missing:
            raise ValueError(
                f"{where}: expected fields step, split and loss, got none of the name {missing[0]!r}"
            )
        loss = _finite(record["loss"], f"{where}['loss']")
        interval = record.get("loss_ci95")
        half = math.nan if interval is None else _finite(interval, f"{where}['loss_ci95']")
        if half < 0:
            raise ValueError(f"{where}['loss_ci95']: expected a half width of at least 0, got {half}")
        step = int(_finite(record["step"], f"{where}['step']"))
        curves.setdefault(str(record["split"]), {})[step] = (loss, half)
    return curves


def _finite(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number}")
    return number


def _arrays(points: Mapping[int, tuple[float, float]]) -> tuple[Array, Array, Array]:
    table = np.array([(step, *points[step]) for step in sorted(points)], dtype=np.float64)
    return table[:, 0], table[:, 1], table[:, 2]


def _draw_run(axes: Axes, split: str, points: Mapping[int, tuple[float, float]], color: str) -> None:
    steps, loss, half = _arrays(points)
    known = ~np.isnan(half)
    _draw_curve(axes, steps, loss, color, split)
    _draw_band(axes, steps[known], loss[known], half[known], color)


def _draw_seeds(
    axes: Axes, split: str, runs: Sequence[Mapping[int, tuple[float, float]]], count: int, color: str
) -> None:
    shared = sorted(set(runs[0]).intersection(*runs[1:]))
    if not shared or len(runs) < count:
        raise ValueError(
            f"metrics: expected runs that share steps, got none that all {count} have in split {split!r}"
        )
    if len(shared) <= DENSE:
        for run in runs:
            steps, loss, _ = _arrays(run)
            axes.plot(steps, loss, color=color, linewidth=0.7, alpha=0.5)
    values = np.array([[run[step][0] for step in shared] for run in runs])
    half = student_t_975(count - 1) * values.std(axis=0, ddof=1) / math.sqrt(count)
    steps = np.array(shared, dtype=np.float64)
    _draw_curve(axes, steps, values.mean(axis=0), color, split)
    _draw_band(axes, steps, values.mean(axis=0), half, color)


def _draw_curve(axes: Axes, steps: Array, loss: Array, color: str, label: str) -> None:
    """Thin when the points are many, with a mark at each point when they are few."""
    width = 0.8 if len(steps) > DENSE else 1.8
    marker = "o" if len(steps) <= 25 else None
    axes.plot(steps, loss, color=color, linewidth=width, marker=marker, markersize=4, label=label)


def _draw_band(axes: Axes, steps: Array, loss: Array, half: Array, color: str) -> None:
    axes.fill_between(steps, loss - half, loss + half, color=color, alpha=0.2, linewidth=0)


def student_t_975(freedom: int) -> float:
    """The 97.5 % point of Student's t: a table for few degrees of freedom, then a series around the normal's.

    Example:
        >>> round(student_t_975(2), 3), round(student_t_975(9), 2)
        (4.303, 2.26)
    """
    table = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706)
    if freedom <= len(table):
        return table[freedom - 1]
    z = 1.959964
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
