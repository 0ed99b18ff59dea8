"""What all figures share: palette, colour scales, tiling, checks of the values shown, and saving."""

from __future__ import annotations

import os
import uuid
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.ticker import MaxNLocator
except ImportError as error:  # matplotlib comes with an extra, so say which
    raise ImportError("rotfast.plots needs matplotlib: pip install 'rotfast[recipes]'") from error

Array: TypeAlias = npt.NDArray[np.float64]
PathLike: TypeAlias = str | os.PathLike[str]

# Okabe and Ito's palette, distinguishable with every common colour vision deficiency.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
DARK, GREY = "#333333", "#8C8C8C"
SIGNED, POSITIVE = "RdBu_r", "viridis"

TITLE_SIZE, LABEL_SIZE, SMALL_SIZE = 10, 9, 8
DPI = 150


def add_panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches from the figure's upper left corner.

    Images keep their aspect, and the automatic layout does not settle where labels fit in the space this
    leaves empty. So figures made of images place their panels themselves.
    """
    full_width, full_height = figure.get_size_inches()
    bounds = left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height
    return figure.add_axes(bounds)


def add_note(figure: Figure, top: float, text: str) -> None:
    """A line of text, `top` inches from the figure's upper edge."""
    y = 1 - top / figure.get_size_inches()[1]
    figure.text(
        0.1 / figure.get_size_inches()[0], y, text, fontsize=SMALL_SIZE, color=DARK, ha="left", va="top"
    )


def new_figure(width: float, height: float, *, automatic: bool = False) -> Figure:
    """An empty figure of the given size in inches that belongs to no pyplot state.

    With `automatic` layout its subplots make room for their labels; without it `add_panel` places them.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained" if automatic else None)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: PathLike | None) -> Figure:
    """Write the figure when a path is given, whole or not at all, and return it."""
    if path is None:
        return figure
    target = Path(path)
    known = figure.canvas.get_supported_filetypes()
    file_format = target.suffix.lstrip(".").lower()
    if file_format not in known:
        raise ValueError(f"path: expected a file name ending in one of {sorted(known)}, got {str(target)!r}")
    content = BytesIO()
    figure.savefig(content, format=file_format)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        partial.write_bytes(content.getbuffer())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return figure


def finite_array(values: torch.Tensor | npt.ArrayLike, name: str) -> Array:
    """The values as a float64 array on the CPU; an error that says `name` when one is not finite."""
    if isinstance(values, torch.Tensor):
        values = values.detach().to("cpu", torch.float64).numpy()
    array = np.asarray(values, dtype=np.float64)
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise ValueError(
            f"{name}: expected finite values, got {bad} of {array.size} that are NaN or infinite"
        )
    return array


def check_model(model: object) -> None:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")


def symmetric_limit(*arrays: Array) -> float:
    """The largest magnitude in all arrays but NaN: zero then takes the middle colour of a signed scale."""
    limit = max((float(np.nanmax(np.abs(array))) for array in arrays if array.size), default=0.0)
    return limit if limit > 0 else 1.0


def style_axes(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=SMALL_SIZE, color=GREY)


def add_title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=TITLE_SIZE, loc="left", color=DARK)


def add_heading(axes: Axes, text: str) -> None:
    """A bold line above the title, at the left edge of the first panel of a group."""
    axes.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 20),
        textcoords="offset points",
        fontsize=TITLE_SIZE,
        fontweight="bold",
        color=DARK,
        annotation_clip=False,
    )


def show_image(axes: Axes, values: Array, limit: float, colors: str = SIGNED) -> AxesImage:
    """Draw values between -limit, or 0 when the colours are not signed, and limit; no frame, no ticks."""
    lowest = -limit if colors == SIGNED else 0.0
    image = axes.imshow(values, cmap=colors, vmin=lowest, vmax=limit, interpolation="nearest")
    bare_image_axes(axes)
    return image


def bare_image_axes(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=SMALL_SIZE, length=0)
    axes.set_xticks([])
    axes.set_yticks([])


def sparse(count: int, most: int = 8) -> range:
    """Indices below `count` at even distance, at most `most` of them."""
    return range(0, count, max(1, -(-count // most)))


def add_colorbar(image: AxesImage, axes: Axes) -> None:
    """A thin bar of the panel's height at its right edge."""
    figure = axes.get_figure()
    assert figure is not None
    width, height = axes.bbox.width / figure.dpi, axes.bbox.height / figure.dpi
    bar_axes = axes.inset_axes((1 + 0.08 / width, 0, 0.1 / width, 1))
    bar = figure.colorbar(image, cax=bar_axes, ticks=MaxNLocator(4 if height > 0.6 else 2))
    bar.outline.set_visible(False)
    bar_axes.tick_params(labelsize=SMALL_SIZE, color=GREY)


def tile(tiles: Array, columns: int) -> tuple[Array, Array, Array]:
    """Lay tiles (n, height, width) row by row on a grid with thin gaps.

    Returns the mosaic, NaN in the gaps, and the centres of the grid's columns (x) and rows (y) in its pixels.
    """
    count, height, width = tiles.shape
    # Pixels of small tiles are repeated, so that a gap is thin next to the tile and not a whole weight wide.
    scale = max(1, round(24 / max(height, width)))
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = tiles.shape[1:]
    gap = max(2, round(0.08 * max(height, width)))
    rows = -(-count // columns)
    mosaic = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for index in range(count):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        mosaic[top : top + height, left : left + width] = tiles[index]
    x = np.arange(columns) * (width + gap) + (width - 1) / 2
    y = np.arange(rows) * (height + gap) + (height - 1) / 2
    return mosaic, x, y


def arrange(count: int) -> tuple[int, int]:
    """Rows and columns for a figure of `count` layers: one below the other while they are few."""
    columns = 1 if count <= 5 else 2 if count <= 10 else 4
    return -(-count // columns), columns
