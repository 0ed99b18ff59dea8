"""Rotation as one writes it without rotfast: plainly, and tuned by hand.

Angles are in degrees, one for each image, positive counter-clockwise.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def rotate_plain(x: Tensor, angle: Tensor) -> Tensor:
    """affine_grid and grid_sample; coordinates run from -1 to 1 both ways, so a turn must know the aspect."""
    height, width = x.shape[2:]
    turn = angle * (math.pi / 180)
    cos, sin = turn.cos(), turn.sin()
    zero = torch.zeros_like(cos)
    rows = (cos, -sin * (height / width), zero, sin * (width / height), cos, zero)
    grid = F.affine_grid(torch.stack(rows, -1).view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def rotate_stacked(x: Tensor, angle: Tensor) -> Tensor:
    """The grid by broadcasting: u and v from what the column adds and what the row adds, stacked."""
    column, row = _terms(x, angle)
    u, v = (c[:, None] + r[:, :, None] for c, r in zip(column, row, strict=True))
    return F.grid_sample(x, torch.stack((u, v), -1), align_corners=False)


def rotate_planes(x: Tensor, angle: Tensor) -> Tensor:
    """The same without a copy: one sum, vectorized since u and v stay separate planes; the grid is a view."""
    column, row = _terms(x, angle)
    planes = column[:, :, None] + row[..., None]  # (2, N, H, W)
    return F.grid_sample(x, planes.movedim(0, -1), align_corners=False)


def _terms(x: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """What each column (2, N, W) and each row (2, N, H) adds to the positions, first u, then v."""
    height, width = x.shape[2:]
    turn = angle * (math.pi / 180)
    cos, sin = turn.cos(), turn.sin()
    dx = torch.arange((1 - width) / 2, width / 2, dtype=x.dtype, device=x.device)
    dy = torch.arange((1 - height) / 2, height / 2, dtype=x.dtype, device=x.device)
    across, down = 2 / width, 2 / height
    column = torch.stack((cos * across, sin * down))
    row = torch.stack((-sin * across, cos * down))
    return column[..., None] * dx, row[..., None] * dy


def affine_plain(x: Tensor, theta: Tensor) -> Tensor:
    """affine_grid and grid_sample; theta (N, 2, 3) in coordinates from -1 to 1, as they take it."""
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def affine_planes(x: Tensor, theta: Tensor) -> Tensor:
    """The same without a copy, as `rotate_planes` does it."""
    height, width = x.shape[2:]
    columns, rows = (
        torch.arange(1 - size, size, 2, dtype=x.dtype, device=x.device) / size for size in (width, height)
    )
    across = theta[..., :1] * columns  # (N, 2, W)
    down = theta[..., 1:2] * rows + theta[..., 2:]  # (N, 2, H)
    planes = across[:, :, None] + down[..., None]
    return F.grid_sample(x, planes.movedim(1, -1), align_corners=False)


def rotate_uint8_plain(x: Tensor, angle: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """8-bit images to 0..1, turned, normalised; mean and std (C, 1, 1)."""
    return (rotate_plain(x.to(angle.dtype) / 255, angle) - mean) / std


def rotate_uint8_folded(x: Tensor, angle: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The same, scaled and normalised in one."""
    return normalise_(rotate_planes(x.to(angle.dtype), angle), mean, std)


def normalise_(levels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(levels / 255 - mean) / std by one multiplication and one subtraction, in place."""
    return levels.mul_(1 / (255 * std)).sub_(mean / std)


def four_turns_plain(x: Tensor) -> Tensor:
    """All images, then all of them turned by 90°, by 180°, by 270°."""
    return torch.cat([torch.rot90(x, quarters, (2, 3)) for quarters in range(4)])


def four_turns_copied(x: Tensor) -> Tensor:
    """The same into a tensor made once, with one flip for each turn."""
    turns = x.new_empty(4, *x.shape[:2], x.shape[3], x.shape[2])
    transposed = x.transpose(2, 3)
    turns[0].copy_(x)
    turns[1].copy_(transposed.flip(2))
    turns[2].copy_(x.flip(2, 3))
    turns[3].copy_(transposed.flip(3))
    return turns.flatten(0, 1)


def four_turns_indexed(x: Tensor) -> Tensor:
    """The same by permutations of the pixels of a square plane."""
    planes = x.view(-1, x.shape[2] * x.shape[3])
    pixels = torch.arange(planes.shape[1], device=x.device).view(x.shape[2:])
    turns = x.new_empty(4, *planes.shape)
    for quarters, turned in enumerate(turns):
        torch.index_select(planes, 1, torch.rot90(pixels, quarters).flatten(), out=turned)
    return turns.view(-1, *x.shape[1:])
