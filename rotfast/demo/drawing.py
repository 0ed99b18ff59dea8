"""A drawn digit as a model knows digits: laid out like MNIST's, turned, and of the model's size."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast import functional

__all__ = ["as_input", "mnist_layout"]

_SIDE, _BOX = 28, 20
_INK = 0.1  # what is darker counts as paper


def mnist_layout(drawing: Tensor) -> Tensor:
    """Lay a drawing out as MNIST does: 20 pixels long, its centre of mass in the middle of 28x28.

    Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits".

    Args:
        drawing: ink on empty ground, (H, W) in [0, 1].

    Returns:
        (28, 28) in [0, 1]; empty where the drawing is.

    Example:
        >>> drawing = torch.zeros(100, 100)
        >>> drawing[5:45, 10:20] = 1
        >>> image = mnist_layout(drawing)
        >>> rows, columns = image.nonzero(as_tuple=True)
        >>> rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()
        (4, 23, 12, 16)
    """
    rows, columns = (drawing > _INK).nonzero(as_tuple=True)
    if not len(rows):
        return torch.zeros(_SIDE, _SIDE)
    ink = drawing[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].float()
    scale = _BOX / max(ink.shape)
    height, width = (max(1, round(size * scale)) for size in ink.shape)
    small = F.interpolate(
        ink[None, None], (height, width), mode="bilinear", align_corners=False, antialias=True
    )[0, 0].clamp(0, 1)
    # Up to half of the box may lie on one side of the centre of mass, and the box has 4 pixels around it.
    image = torch.zeros(_SIDE, _SIDE)
    top, left = (_start(small.sum(dim=1 - axis), small.shape[axis]) for axis in (0, 1))
    image[top : top + height, left : left + width] = small
    return image


def _start(mass: Tensor, size: int) -> int:
    """Where a line of that mass starts for its centre to lie in the middle, without leaving the image."""
    centre = float((mass * torch.arange(size)).sum() / mass.sum())
    return min(max(round((_SIDE - 1) / 2 - centre), 0), _SIDE - size)


def as_input(drawing: Tensor, image_size: int, turn: float, centred: bool) -> Tensor:
    """A model's input from a drawing.

    Args:
        drawing: (H, W) in [0, 1].
        image_size: height and width of the result.
        turn: angle in degrees, counter-clockwise, by which the digit is turned.
        centred: whether to lay it out like MNIST first; otherwise its place and size stay.

    Returns:
        (1, 1, image_size, image_size) in [0, 1].
    """
    upright = mnist_layout(drawing) if centred else drawing
    size = (image_size, image_size)
    image = F.interpolate(upright[None, None], size, mode="bilinear", align_corners=False, antialias=True)
    return functional.rotate(image, turn).clamp(0, 1)
