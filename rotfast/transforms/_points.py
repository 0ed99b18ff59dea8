"""Points that move with the pixels, and the map of a perspective.

Pixel centres lie at integers, x to the right and y downwards. Matrices are float64, (N, 2, 3) of affine maps
or (N, 3, 3) of homographies, and take positions in the input to positions in the output.
"""

import torch
from torch import Tensor

from rotfast.functional import _matrices

Size = tuple[int, int]  # height, width


def middle(size: Size) -> tuple[float, float]:
    """The default centre of an image, (x, y)."""
    return (size[1] - 1) / 2, (size[0] - 1) / 2


def inverted(matrix: Tensor) -> Tensor:
    """The inverse of affine maps (N, 2, 3)."""
    x, y = matrix[:, :, 2].unbind(1)
    return _matrices.source_matrix(_matrices.inverse_linear(matrix), (0.0, 0.0), (x, y), matrix.device)


def quadrilateral(corners: Tensor, size: Size) -> Tensor:
    """The homography that takes an image's corner pixels to ``corners``.

    Closed form of P. Heckbert, "Fundamentals of texture mapping and image warping", 1989, section 2.2.3. An
    image of one row or column counts as if it had two.

    Args:
        corners: (N, 4, 2), positions (x, y) of the top left, top right, bottom right, bottom left corner.
        size: height and width of the image.
    """
    (x0, x1, x2, x3), (y0, y1, y2, y3) = (c.unbind(1) for c in corners.double().unbind(2))
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / area, (dx1 * sy - sx * dy1) / area
    one = torch.ones_like(g)
    entries = [x1 - x0 + g * x1, x3 - x0 + h * x3, x0, y1 - y0 + g * y1, y3 - y0 + h * y3, y0, g, h, one]
    unit = corners.new_tensor([max(size[1] - 1, 1), max(size[0] - 1, 1), 1], dtype=torch.float64)
    return torch.stack(entries, 1).reshape(-1, 3, 3) / unit


def move_points(matrix: Tensor, points: Tensor) -> Tensor:
    """Points (N, M, 2) under the maps, in the dtype of the points."""
    moved = points.double() @ matrix[:, :, :2].mT + matrix[:, None, :, 2]
    return (moved if matrix.shape[1] == 2 else moved[..., :2] / moved[..., 2:]).to(points.dtype)


def move_boxes(matrix: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """Boxes (N, M, 4) that enclose the moved corners, clipped to an image of ``size``.

    Boxes bound pixels, and a pixel reaches half a pixel beyond its centre to every side.
    """
    corners = boxes.double()[..., [0, 1, 2, 1, 2, 3, 0, 3]].unflatten(2, (4, 2)) - 0.5
    moved = move_points(matrix, corners.flatten(1, 2)).unflatten(1, (boxes.shape[1], 4)) + 0.5
    limit = moved.new_tensor([size[1], size[0]])
    ends = [end.clamp(min=0).minimum(limit) for end in (moved.amin(2), moved.amax(2))]
    return torch.cat(ends, 2).to(boxes.dtype)
