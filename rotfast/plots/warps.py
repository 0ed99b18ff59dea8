"""Heat maps of the symmetry parameters (warps) of weight-sharing layers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import nn

from rotfast.plots._figure import (
    SMALL_SIZE,
    Array,
    PathLike,
    add_colorbar,
    add_heading,
    add_note,
    add_panel,
    add_title,
    arrange,
    check_model,
    finite_array,
    new_figure,
    save_figure,
    show_image,
    sparse,
    symmetric_limit,
    tile,
)

KRONECKER = {"A_warp": "output channel", "B_warp": "input channel", "C_warp": "kernel tap"}
# Inches around a panel: tick and axis labels, heading and title, and on the right of a layer the colour bar.
LEFT, TOP, BOTTOM, RIGHT = 0.5, 0.55, 0.5, 0.7

MAX_SIDE = 512
MAX_COLUMNS_OF_U = 36


@dataclass(frozen=True)
class _Map:
    title: str
    values: Array  # (rows, columns), NaN where nothing is shown
    x_label: str
    y_label: str
    mosaic: bool = False


def visualize_warps(model: nn.Module, path: PathLike | None = None) -> Figure:
    """Show the symmetry parameters of every weight-sharing layer as heat maps.

    `A_warp`, `B_warp` and `C_warp` are shown as the square matrices they are (after the sigmoid in a layer
    with `temp_warp`). A dense `warp` (out * in, latent), beside `out_features` and `in_features` or beside
    `weight_shape`, is shown column by column, each reshaped to (out, in): column l is what latent parameter l
    adds to the weight. Other matrices that a layer names in `symmetry_parameter_names` are shown as they are.
    Every layer has a symmetric colour scale. Matrices with a side above 512 are only named in a note below.

    Args:
        model: Any module; its layers are found by walking its submodules.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.

    Returns:
        The figure.

    Raises:
        TypeError: `model` is not a module.
        ValueError: The model has no symmetry parameter that can be drawn, or one is not finite.

    Example:
        >>> import torch
        >>> layer = torch.nn.Conv2d(1, 4, 3)
        >>> for name, size in (("A_warp", 4), ("B_warp", 1), ("C_warp", 9)):
        ...     setattr(layer, name, torch.nn.Parameter(torch.eye(size)))
        >>> [axes.get_title(loc="left") for axes in visualize_warps(layer).axes[:3]]
        ['A_warp (4, 4)', 'B_warp (1, 1)', 'C_warp (9, 9)']
    """
    check_model(model)
    layers: dict[str, list[_Map]] = {}
    left_out: list[str] = []
    for name, module in model.named_modules():
        maps, too_large = _maps(name, module)
        left_out += too_large
        if maps:
            layers[name] = maps
    if not layers:
        raise ValueError(
            f"model: expected a layer with symmetry parameters (A_warp, B_warp, C_warp or warp) of at most "
            f"{MAX_SIDE} rows and columns, got none in {type(model).__name__}"
        )
    rows, columns = arrange(len(layers))
    count = max(len(maps) for maps in layers.values())
    side = 5.2 if count == 1 else 2.6 if len(layers) <= 10 else 1.8
    tallest = [max(_size(heat_map, side)[1] for heat_map in maps) for maps in layers.values()]
    pitches = [TOP + max(tallest[row * columns : (row + 1) * columns]) + BOTTOM for row in range(rows)]
    width = count * (LEFT + side) + RIGHT
    figure = new_figure(columns * width, sum(pitches) + (0.3 if left_out else 0.0))
    for index, (name, maps) in enumerate(layers.items()):
        row, column = divmod(index, columns)
        top = sum(pitches[:row]) + TOP
        limit = symmetric_limit(*(heat_map.values for heat_map in maps))
        places = [column * width + LEFT + panel * (LEFT + side) for panel in range(len(maps))]
        panels = [
            add_panel(figure, left, top, *_size(heat_map, side))
            for left, heat_map in zip(places, maps, strict=True)
        ]
        for axes, heat_map in zip(panels, maps, strict=True):
            image = _draw(axes, heat_map, limit)
        add_colorbar(image, axes)
        add_heading(panels[0], f"layer {name}" if name else "layer")
    if left_out:
        add_note(figure, sum(pitches), f"Too large to draw: {', '.join(left_out)}")
    return save_figure(figure, path)


def plot_group_action(
    learned: torch.Tensor | npt.ArrayLike,
    true: torch.Tensor | npt.ArrayLike,
    path: PathLike | None = None,
    title: str | None = None,
) -> Figure:
    """Show a learned warp beside the true action of the group on the same space.

    Each matrix has its own symmetric colour scale: a warp is learned up to scale, which the inner parameters
    absorb.

    Args:
        learned: Matrix (n, m) that the layer learned, for example an `A_warp`.
        true: Matrix of the same shape of the group's action, for example a permutation of orientations.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        title: Heading of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: One is not a matrix, is empty or not finite, or their shapes differ.

    Example:
        >>> import torch
        >>> shift = torch.eye(8).roll(1, dims=0)
        >>> figure = plot_group_action(0.9 * shift + 0.02, shift)
        >>> [axes.get_title(loc="left") for axes in figure.axes[:2]]
        ['learned', 'true']
    """
    matrices = {"learned": finite_array(learned, "learned"), "true": finite_array(true, "true")}
    for name, matrix in matrices.items():
        if matrix.ndim != 2 or not matrix.size:
            raise ValueError(f"{name}: expected a matrix with at least one entry, got shape {matrix.shape}")
    shapes = [matrix.shape for matrix in matrices.values()]
    if shapes[0] != shapes[1]:
        raise ValueError(f"learned and true: expected equal shapes, got {shapes[0]} and {shapes[1]}")
    side = 2.8
    figure = new_figure(2 * (LEFT + side + RIGHT), TOP + side + BOTTOM)
    for index, (name, matrix) in enumerate(matrices.items()):
        heat_map = _Map(name, matrix, "from", "to")
        width, height = _size(heat_map, side)
        axes = add_panel(figure, LEFT + index * (LEFT + side + RIGHT), TOP, width, height)
        add_colorbar(_draw(axes, heat_map, symmetric_limit(matrix)), axes)
        if title is not None and index == 0:
            add_heading(axes, title)
    return save_figure(figure, path)


def _size(heat_map: _Map, side: float) -> tuple[float, float]:
    """Width and height in inches of a heat map whose longer side has the given length."""
    height, width = heat_map.values.shape
    return side * width / max(height, width), side * height / max(height, width)


def has_kronecker_warps(module: nn.Module) -> bool:
    """Whether a layer has A_warp, B_warp and C_warp."""
    return all(isinstance(getattr(module, name, None), torch.Tensor) for name in KRONECKER)


def kronecker_warps(module: nn.Module) -> dict[str, torch.Tensor]:
    """A_warp, B_warp and C_warp as they act: through the sigmoid where the layer has a temperature."""
    warps = {name: attrgetter(name)(module).detach() for name in KRONECKER}
    temperature = getattr(module, "temp_warp", None)
    if isinstance(temperature, torch.Tensor):
        return {name: torch.sigmoid(temperature.detach() * warp) for name, warp in warps.items()}
    return warps


def _maps(layer: str, module: nn.Module) -> tuple[list[_Map], list[str]]:
    """The heat maps of a module's own symmetry parameters, and what is too large to be one."""
    maps: list[_Map] = []
    left_out: list[str] = []
    for name, tensor in _symmetry_matrices(module):
        weight_shape = _weight_shape(module, name, tensor)
        if max(weight_shape or tensor.shape) > MAX_SIDE:
            left_out.append(f"{layer + '.' if layer else ''}{name} {tuple(tensor.shape)}")
            continue
        values = finite_array(tensor, f"model: {name} of layer {layer!r}")
        if weight_shape:
            maps.append(_unfold(name, values, weight_shape))
        else:
            space = KRONECKER.get(name)
            x_label, y_label = (f"from {space}", f"to {space}") if space else ("column", "row")
            maps.append(_Map(f"{name} {tuple(tensor.shape)}", values, x_label, y_label))
    return maps, left_out


def _symmetry_matrices(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    if has_kronecker_warps(module):
        yield from kronecker_warps(module).items()
        return
    for name in getattr(module, "symmetry_parameter_names", ("warp",)):
        try:
            tensor = attrgetter(name)(module)
        except AttributeError:
            continue
        if not isinstance(tensor, torch.Tensor) or tensor.dim() < 2 or not tensor.numel():
            continue
        if math.prod(tensor.shape[2:]) == 1:  # a 1x1 convolution's weight is a matrix too
            yield name, tensor.flatten(1)


def _weight_shape(module: nn.Module, name: str, tensor: torch.Tensor) -> tuple[int, int] | None:
    """The matrix (out, all the rest) that the columns of a dense warp fill; None for any other parameter."""
    features = getattr(module, "out_features", 0), getattr(module, "in_features", 0)
    shape = tuple(getattr(module, "weight_shape", features))
    if name != "warp" or math.prod(shape) != tensor.shape[0]:
        return None
    return shape[0], math.prod(shape[1:])


def _unfold(name: str, values: Array, weight_shape: tuple[int, int]) -> _Map:
    latent = values.shape[1]
    shown = min(latent, MAX_COLUMNS_OF_U)
    mosaic, _, _ = tile(values.T[:shown].reshape(shown, *weight_shape), min(shown, 6))
    count = f"{latent} columns" if shown == latent else f"first {shown} of {latent} columns"
    return _Map(f"{name}: {count} as (out, in) = {weight_shape}", mosaic, "", "", mosaic=True)


def _draw(axes: Axes, heat_map: _Map, limit: float) -> AxesImage:
    values = heat_map.values
    image = show_image(axes, values, limit)
    add_title(axes, heat_map.title)
    axes.set_xlabel(heat_map.x_label, fontsize=SMALL_SIZE)
    axes.set_ylabel(heat_map.y_label, fontsize=SMALL_SIZE)
    if heat_map.mosaic:
        return image
    axes.set_xticks(sparse(values.shape[1]))
    axes.set_yticks(sparse(values.shape[0]))
    if max(values.shape) <= 3:
        for (row, column), value in np.ndenumerate(values):
            color = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=SMALL_SIZE, color=color)
    return image
