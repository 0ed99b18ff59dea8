"""Matrices of rotations in plain PyTorch."""

import torch
from torch import Tensor

Point = tuple[float, float]


def cos_sin(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of degrees, exact at multiples of 90, with the derivatives of cosine and sine."""
    quarters = (angle.detach() / 90).round()
    rest = (angle - 90 * quarters).deg2rad()
    turn = quarters % 4
    cos_turn, sin_turn = (turn - 2).abs() - 1, 1 - (turn - 1).abs()
    cos, sin = rest.cos(), rest.sin()
    return cos * cos_turn - sin * sin_turn, sin * cos_turn + cos * sin_turn


def rotation_matrix(angle: Tensor, source: Point, target: Point) -> Tensor:
    """(..., 2, 3) for angles (...): the point ``target`` of the turned image comes from ``source``."""
    cos, sin = (part.unsqueeze(-1) for part in cos_sin(angle))
    (u, v), (x, y) = source, target
    rows = ((1.0, 0.0, -x, 0.0, 1.0, -y), (0.0, -1.0, y, 1.0, 0.0, -x), (0.0, 0.0, u, 0.0, 0.0, v))
    # Copied from ordinary memory, they reach a GPU without the host waiting for it.
    of_cos, of_sin, rest = torch.tensor(rows, dtype=angle.dtype).to(angle.device, non_blocking=True)
    entries: Tensor = rest + cos * of_cos + sin * of_sin
    return entries.reshape(*angle.shape, 2, 3)
