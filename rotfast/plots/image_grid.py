"""Rows of images: reconstructions, traversals of a code; and the same as a moving picture."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from rotfast.plots._figure import (
    DARK,
    LABEL_SIZE,
    TITLE_SIZE,
    Array,
    PathLike,
    add_panel,
    bare_image_axes,
    finite_array,
    new_figure,
    save_figure,
)

__all__ = ["plot_image_grid", "save_animation"]

SIDE, GAP = 0.5, 0.04
LEFT_PER_LETTER, TOP = 0.075, 0.3
PIXELS = 84


def plot_image_grid(
    images: Tensor | npt.ArrayLike,
    path: PathLike | None = None,
    *,
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show grey images in rows and columns, 0 white and 1 black.

    Args:
        images: (R, C, H, W), of values in [0, 1]; what lies outside is cut off.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        row_names: What stands left of each row.
        column_names: What stands above each column.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: The images are not (R, C, H, W) or not finite, or the names are not as many.

    Example:
        >>> import torch
        >>> figure = plot_image_grid(torch.rand(2, 5, 8, 8), row_names=["input", "output"])
        >>> len(figure.axes)
        1
    """
    grid = _as_grid(images)
    rows, columns, height, width = grid.shape
    for name, names, count in (("row_names", row_names, rows), ("column_names", column_names, columns)):
        if names is not None and len(names) != count:
            raise ValueError(f"{name}: expected {count}, got {len(names)}")
    gap = max(1, round(max(height, width) * GAP / SIDE))
    sheet = _sheet(grid, gap)
    left = 0.12 + LEFT_PER_LETTER * max(map(len, row_names or [""]))
    top = 0.1 + (TOP if title else 0) + (0.2 if column_names else 0)
    wide, high = columns * (SIDE + GAP), rows * (SIDE + GAP) * height / width
    figure = new_figure(max(left + wide + 0.1, 0.1 * len(title or "")), top + high + 0.1)
    axes = add_panel(figure, left, top, wide, high)
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    bare_image_axes(axes)
    if row_names is not None:
        axes.set_yticks(np.arange(rows) * (height + gap) + (height - 1) / 2, row_names, fontsize=LABEL_SIZE)
    if column_names is not None:
        axes.set_xticks(
            np.arange(columns) * (width + gap) + (width - 1) / 2, column_names, fontsize=LABEL_SIZE
        )
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
    if title is not None:
        figure.text(
            0.1 / figure.get_figwidth(),
            1 - 0.08 / figure.get_figheight(),
            title,
            fontsize=TITLE_SIZE,
            color=DARK,
            ha="left",
            va="top",
        )
    return save_figure(figure, path)


def save_animation(images: Tensor | npt.ArrayLike, path: PathLike, *, seconds: float = 0.08) -> Path:
    """Write a GIF that runs to and fro for ever: one frame a step, several pictures side by side.

    Args:
        images: (F, C, H, W): F frames of C pictures, values in [0, 1], 0 white and 1 black.
        path: A file name that ends in .gif.
        seconds: Duration of a frame.

    Returns:
        The path.

    Raises:
        ValueError: The images are not (F, C, H, W) or not finite, or the file is no .gif.

    Example:
        >>> import tempfile, torch
        >>> path = save_animation(torch.rand(5, 3, 8, 8), Path(tempfile.mkdtemp()) / "turn.gif")
        >>> with Image.open(path) as film:
        ...     film.n_frames
        8
    """
    frames = _as_grid(images)
    target = Path(path)
    if target.suffix.lower() != ".gif":
        raise ValueError(f"path: expected a file name ending in .gif, got {str(target)!r}")
    enlarged = max(1, round(PIXELS / frames.shape[-1]))
    pictures = []
    for frame in frames:
        sheet = np.nan_to_num(_sheet(frame[None], max(1, frames.shape[-1] // 12)), nan=0.0)
        grey = np.round(255 * (1 - sheet)).astype(np.uint8)
        pictures.append(Image.fromarray(grey.repeat(enlarged, axis=0).repeat(enlarged, axis=1)))
    pictures += pictures[-2:0:-1]
    content = BytesIO()
    pictures[0].save(
        content,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 * seconds),
        loop=0,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        partial.write_bytes(content.getbuffer())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _as_grid(images: Tensor | npt.ArrayLike) -> Array:
    grid = finite_array(images, "images")
    if grid.ndim != 4 or not grid.size:
        raise ValueError(f"images: expected (R, C, H, W), got shape {grid.shape}")
    return grid.clip(0, 1)


def _sheet(grid: Array, gap: int) -> Array:
    """All images on one, with gaps of NaN, which shows as the paper."""
    rows, columns, height, width = grid.shape
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = grid[row, column]
    return sheet
