"""The filters of a model's convolutions, before and after weight sharing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from rotfast.plots._figure import (
    SMALL_SIZE,
    Array,
    PathLike,
    add_colorbar,
    add_heading,
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
from rotfast.plots.warps import has_kronecker_warps, kronecker_warps

# Inches around a panel: tick and axis labels, heading and title, and on the right of a layer the colour bar.
LEFT, TOP, BOTTOM, RIGHT = 0.5, 0.55, 0.4, 0.7
MIN_WIDTH, MIN_SIDE = 2.2, 1.0

MAX_FILTERS = 64
MAX_ROWS, MAX_COLUMNS = 32, 16  # of the table shown when a filter has several input channels


@dataclass(frozen=True)
class _Layer:
    name: str
    panels: dict[str, Array]  # title -> filters (out, in, height, width)
    out_channels: int
    in_channels: int


def visualize_weights(model: nn.Module, path: PathLike | None = None) -> Figure:
    """Show the filters of every convolution in a model; of a weight-sharing one before and after its warps.

    A layer with `A_warp`, `B_warp` and `C_warp` shows its parameter `weight` and the kernel it convolves
    with, W[o,i,k] = sum A[o,p] B[i,q] C[k,l] weight[p,q,l] (the Kronecker-factored U of Zhou, Knowles and
    Finn 2020, arXiv 2007.02933), in one colour scale. A layer that offers `get_weight()` is asked for that
    kernel. Other nn.Conv1d and nn.Conv2d layers show their weight. Filters of one input channel are laid out
    row by row; otherwise rows are output and columns input channels. At most 64 filters, or 32 by 16
    channels, are shown.

    Args:
        model: Any module; its convolutions are found by walking its submodules.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.

    Returns:
        The figure.

    Raises:
        TypeError: `model` is not a module.
        ValueError: The model has no convolution, or a weight is not finite.

    Example:
        >>> from torch import nn
        >>> figure = visualize_weights(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()))
        >>> figure.axes[0].get_title(loc="left")
        'filters (4, 1, 3, 3)'
    """
    check_model(model)
    layers = [
        layer for name, module in model.named_modules() if (layer := _read_layer(name, module)) is not None
    ]
    if not layers:
        raise ValueError(f"model: expected at least one convolution, got none in {type(model).__name__}")
    rows, columns = arrange(len(layers))
    count = max(len(layer.panels) for layer in layers)
    sizes = [_size(layer) for layer in layers]
    heights = [max(height for _, height in sizes[row * columns : (row + 1) * columns]) for row in range(rows)]
    pitch = LEFT + max(MIN_WIDTH, *(width for width, _ in sizes))
    figure = new_figure(columns * (count * pitch + RIGHT), sum(heights) + rows * (TOP + BOTTOM))
    for index, (layer, (width, height)) in enumerate(zip(layers, sizes, strict=True)):
        row, column = divmod(index, columns)
        top = sum(heights[:row]) + row * (TOP + BOTTOM) + TOP
        left = column * (count * pitch + RIGHT) + LEFT
        places = [left + panel * pitch for panel in range(len(layer.panels))]
        _draw_layer([add_panel(figure, place, top, width, height) for place in places], layer)
    return save_figure(figure, path)


def effective_weight(module: nn.Module) -> torch.Tensor:
    """The kernel a weight-sharing convolution applies, in the shape of its weight.

    Example:
        >>> import torch
        >>> layer = torch.nn.Conv2d(1, 1, 1, bias=False)
        >>> for name in ("A_warp", "B_warp", "C_warp"):
        ...     setattr(layer, name, torch.nn.Parameter(torch.full((1, 1), 2.0)))
        >>> bool(effective_weight(layer) == 8 * layer.weight)
        True
    """
    get_weight = getattr(module, "get_weight", None)
    with torch.no_grad():
        if callable(get_weight):
            weight = get_weight()
            assert isinstance(weight, torch.Tensor)
            return weight
        parameter = module.weight
        assert isinstance(parameter, torch.Tensor)
        a, b, c = kronecker_warps(module).values()
        flat = torch.einsum("op,iq,kl,pql->oik", a, b, c, parameter.flatten(2))
        return flat.reshape(parameter.shape)


def _read_layer(name: str, module: nn.Module) -> _Layer | None:
    panels: dict[str, torch.Tensor] = {}
    weight = getattr(module, "weight", None)
    if has_kronecker_warps(module) and isinstance(weight, torch.Tensor):
        panels = {"before warps": weight, "after warps": effective_weight(module)}
    elif hasattr(module, "symmetry_parameter_names") and hasattr(module, "get_weight"):
        panels = {"generated filters": effective_weight(module)}
    elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
        panels = {"filters": module.weight}
    shown = {}
    for title, filters in panels.items():
        if filters.dim() not in (3, 4):
            return None
        array = finite_array(filters, f"model: {title} of layer {name!r}")
        if array.ndim == 3:
            array = array[:, :, None, :]
        shown[f"{title} {tuple(filters.shape)}"] = array
    if not shown:
        return None
    out_channels, in_channels = next(iter(shown.values())).shape[:2]
    return _Layer(name, shown, out_channels, in_channels)


def _grid(layer: _Layer) -> tuple[int, int]:
    if layer.in_channels == 1:
        filters = min(layer.out_channels, MAX_FILTERS)
        columns = min(filters, 8)
        return -(-filters // columns), columns
    return min(layer.out_channels, MAX_ROWS), min(layer.in_channels, MAX_COLUMNS)


def _size(layer: _Layer) -> tuple[float, float]:
    """Width and height in inches of one panel of the layer."""
    rows, columns = _grid(layer)
    height, width = next(iter(layer.panels.values())).shape[2:]
    inches = (0.4 if layer.in_channels == 1 else 0.27) / max(height, width)
    inches = max(inches, MIN_SIDE / max(columns * width, rows * height))
    return columns * inches * width, rows * inches * height


def _draw_layer(panels: list[Axes], layer: _Layer) -> None:
    rows, columns = _grid(layer)
    limit = symmetric_limit(*layer.panels.values())
    for axes, (title, filters) in zip(panels, layer.panels.items(), strict=False):
        if layer.in_channels == 1:
            tiles = filters[:MAX_FILTERS, 0]
        else:
            tiles = filters[:rows, :columns].reshape(rows * columns, *filters.shape[2:])
        mosaic, x, y = tile(tiles, columns)
        image = show_image(axes, mosaic, limit)
        add_title(axes, title)
        if layer.in_channels == 1:
            axes.set_yticks(y, [str(row * columns) for row in range(rows)])
            axes.set_ylabel("first filter of row" if rows > 2 else "filter", fontsize=SMALL_SIZE)
        else:
            axes.set_xticks(x[:: sparse(columns).step], [str(index) for index in sparse(columns)])
            axes.set_yticks(y[:: sparse(rows).step], [str(index) for index in sparse(rows)])
            axes.set_xlabel("input channel", fontsize=SMALL_SIZE)
            axes.set_ylabel("output channel", fontsize=SMALL_SIZE)
    add_colorbar(image, axes)
    add_heading(panels[0], _heading(layer, rows, columns))


def _heading(layer: _Layer, rows: int, columns: int) -> str:
    shown = min(layer.out_channels, MAX_FILTERS) if layer.in_channels == 1 else rows
    parts = [f"layer {layer.name}" if layer.name else "layer"]
    if shown < layer.out_channels:
        parts.append(f"first {shown} of {layer.out_channels} filters")
    if layer.in_channels > columns and layer.in_channels > 1:
        parts.append(f"first {columns} of {layer.in_channels} input channels")
    return ", ".join(parts)
