"""Resampling of images under homographies in plain PyTorch."""

import torch
from torch import Tensor

from rotfast.reference.affine import finished, normalize, sample


def perspective(
    x: Tensor,
    matrix: Tensor,
    fill: Tensor | None = None,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    *,
    size: tuple[int, int],
    interpolation: str,
    padding_mode: str,
) -> Tensor:
    """out[n,k,c,Y,X] = x[n,c] at (a/w, b/w) with (a, b, w) = matrix[n,k] (X, Y, 1)ᵀ, normalised if asked.

    x is (N, C, H, W), matrix (N, K, 3, 3), size (OH, OW); fill, mean and std are (C,); all but x are float64.
    """
    image, outside = normalize(x, fill, mean, std)
    u, v = _positions(matrix, size)
    y = sample(image, u, v, outside, interpolation=interpolation, padding_mode=padding_mode)
    return finished(y, x, mean, std)


def _positions(matrix: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Column and row that every output pixel comes from, infinite where it comes from nowhere."""
    rows, columns = size
    X = torch.arange(columns, dtype=matrix.dtype, device=matrix.device)
    Y = torch.arange(rows, dtype=matrix.dtype, device=matrix.device).unsqueeze(-1)
    m = matrix.unsqueeze(-1).unsqueeze(-1)
    a, b, w = (m[..., i, 0, :, :] * X + (m[..., i, 1, :, :] * Y + m[..., i, 2, :, :]) for i in range(3))
    nowhere = w == 0
    w = torch.where(nowhere, 1, w)
    u, v = (torch.where(nowhere, torch.inf, p / w) for p in (a, b))
    return u, v
