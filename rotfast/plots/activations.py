"""Feature maps of a model's layers for one image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from rotfast.plots._figure import (
    POSITIVE,
    SIGNED,
    Array,
    PathLike,
    add_colorbar,
    add_panel,
    add_title,
    bare_image_axes,
    check_model,
    finite_array,
    new_figure,
    save_figure,
    show_image,
    symmetric_limit,
    tile,
)

MAX_MAPS = 64
LINE_WIDTH, TITLE = 9.0, 0.32  # inches of a line of maps and of the title above it


def visualize_activations(
    model: nn.Module, x: torch.Tensor, path: PathLike | None = None, *extra: Any, index: int = 0
) -> Figure:
    """Show the feature maps of every layer for one image, up to where the model flattens them.

    Forward hooks collect the output of each innermost module that has the form (1, C, H, W) while
    `model(image, *extra)` runs, in the order of the calls: one row for each layer, and so one for each
    layer of each circuit of a model with several. The image stands beside each row. A layer that gets no
    image (a circuit that is not the image's) has no row. Maps without negative values have a sequential
    colour scale, others a signed one. At most 64 maps of a layer are shown. The model runs in evaluation
    mode without gradients and is left as it was.

    Args:
        model: Any module that takes images; it may be sequential or have several circuits.
        x: Images (N, C, H, W), of which one is shown.
        path: Where to write the figure; the suffix chooses the format. None writes nothing.
        *extra: Further arguments of the model's forward, such as the circuit (N,) of each image; tensors
            whose first size is N are cut to the shown image. (Given a scalar instead, DedicatedCircuits runs
            any circuit through the modules of its first, under whose name the maps then stand.)
        index: Which image of `x` is shown.

    Returns:
        The figure.

    Raises:
        TypeError: `model` is not a module or `x` no tensor.
        ValueError: `x` has another rank, is empty or not finite, `index` is outside it, or no layer gives
            feature maps.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
        >>> figure = visualize_activations(model, torch.rand(2, 1, 8, 8))
        >>> [axes.get_title(loc="left") for axes in figure.axes[1:4:2]]
        ['0 Conv2d: 4 maps 6 × 6', '1 ReLU: 4 maps 6 × 6']
    """
    check_model(model)
    image, arguments = _pick(x, extra, index)
    layers = _record(model, image, arguments)
    if not layers:
        name = type(model).__name__
        raise ValueError(
            f"model: expected a layer whose output has the form (N, C, H, W), got none in {name}"
        )
    per_line, image_side = (16, 0.75) if len(layers) <= 20 else (32, 0.45)
    side = LINE_WIDTH / per_line
    pitches = [max(image_side, _lines(maps, per_line) * side * _aspect(maps)) + TITLE for _, maps in layers]
    figure = new_figure(image_side + LINE_WIDTH + 1.0, sum(pitches) + 0.1)
    picture = _as_picture(finite_array(image[0], "x"))
    tall = max(picture.shape[:2])
    for index, (name, maps) in enumerate(layers):
        top = sum(pitches[:index]) + TITLE
        shape = picture.shape[1] / tall * image_side, picture.shape[0] / tall * image_side
        left = add_panel(figure, 0.1, top, *shape)
        left.imshow(picture, cmap="gray")
        bare_image_axes(left)
        columns = min(len(maps), MAX_MAPS, per_line)
        mosaic, _, _ = tile(maps[:MAX_MAPS], columns)
        height = _lines(maps, per_line) * side * _aspect(maps)
        right = add_panel(figure, 0.1 + image_side + 0.15, top, columns * side, height)
        colors = POSITIVE if maps.min() >= 0 else SIGNED
        drawn = show_image(right, mosaic, symmetric_limit(maps), colors)
        add_title(right, _heading(name, maps))
        add_colorbar(drawn, right)
    return save_figure(figure, path)


def _pick(x: torch.Tensor, extra: tuple[Any, ...], index: int) -> tuple[torch.Tensor, tuple[Any, ...]]:
    """The image at `index` as a batch of one, and the extra arguments cut to it."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x: expected a tensor of images, got {type(x).__name__}")
    if x.dim() != 4 or not x.numel():
        raise ValueError(f"x: expected images (N, C, H, W), none of them 0, got shape {tuple(x.shape)}")
    count = x.shape[0]
    if not -count <= index < count:
        raise ValueError(f"index: expected a number of one of the {count} images, got {index}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x: expected finite values, got NaN or infinity")
    at = torch.tensor([index % count])

    def cut(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == count:
            return value.index_select(0, at.to(value.device))
        return value

    return cut(x), tuple(cut(value) for value in extra)


def _record(model: nn.Module, image: torch.Tensor, extra: tuple[Any, ...]) -> list[tuple[str, Array]]:
    """Name and feature maps (C, H, W) of each innermost module that gives some, in the order of the calls."""
    seen: list[tuple[str, torch.Tensor]] = []

    def hook_for(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if (
                isinstance(output, torch.Tensor)
                and output.dim() == 4
                and output.shape[0] == 1
                and output.numel()
            ):
                # A clone, because a later in-place activation would overwrite what is shown.
                seen.append((f"{name} {type(module).__name__}".strip(), output[0].detach().clone()))

        return hook

    modes = {module: module.training for module in model.modules()}
    handles = [
        module.register_forward_hook(hook_for(name))
        for name, module in model.named_modules()
        if _is_innermost(module) and "parametrizations" not in name
    ]
    try:
        model.eval()
        with torch.no_grad():
            model(image, *extra)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return [(name, finite_array(maps, f"model: output of layer {name}")) for name, maps in seen]


def _is_innermost(module: nn.Module) -> bool:
    return all(name == "parametrizations" for name, _ in module.named_children())


def _as_picture(image: Array) -> Array:
    """Colour images as (H, W, 3) scaled to [0, 1], of all others the first channel."""
    if image.shape[0] != 3:
        first: Array = image[0]
        return first
    lowest, highest = min(0.0, float(image.min())), max(1.0, float(image.max()))
    scaled: Array = np.moveaxis((image - lowest) / (highest - lowest), 0, -1)
    return scaled


def _lines(maps: Array, per_line: int) -> int:
    return -(-min(len(maps), MAX_MAPS) // per_line)


def _aspect(maps: Array) -> float:
    return float(maps.shape[1] / maps.shape[2])


def _heading(name: str, maps: Array) -> str:
    count, height, width = maps.shape
    shown = f"first {MAX_MAPS} of {count}" if count > MAX_MAPS else str(count)
    return f"{name}: {shown} maps {height} × {width}"
