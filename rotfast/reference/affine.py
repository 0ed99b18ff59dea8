"""Resampling of images under affine maps in plain PyTorch."""

import torch
from torch import Tensor

from rotfast.reference.layout import ordered_like

# Positions so far outside see nothing but what extends the image. Between pixel centres, where no weight is
# 0, so that an infinite border pixel stays infinite and is not multiplied by 0.
_MARGIN = 3.5
_CUBIC = -0.75


def affine(
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
    """out[n,k,c,Y,X] = x[n,c] at the position matrix[n,k] (X, Y, 1)ᵀ, normalised by mean and std if given.

    x is (N, C, H, W), matrix (N, K, 2, 3), size (OH, OW); fill, mean and std are (C,); all but x are float64.
    """
    image, outside = normalize(x, fill, mean, std)
    u, v = positions(matrix, size)
    y = sample(image, u, v, outside, interpolation=interpolation, padding_mode=padding_mode)
    return finished(y, x, mean, std)


def finished(y: Tensor, x: Tensor, mean: Tensor | None, std: Tensor | None) -> Tensor:
    """Results (N, K, C, H, W) in the dtype and memory order x asks for; uint8 is rounded half to even."""
    y = ordered_like(y, x)
    if x.dtype != torch.uint8:
        return y.to(x.dtype)
    return y.round().clamp(0, 255).to(torch.uint8) if mean is None and std is None else y


def normalize(
    x: Tensor, fill: Tensor | None, mean: Tensor | None, std: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Images in the dtype they are computed in, and fill: (unit - mean) / std, uint8 images counting as 0..1.

    Values stay as they are without mean and std.
    """
    image = x.double() if x.dtype == torch.float64 else x.float()
    if mean is None and std is None:
        return image, fill
    unit = 255 if x.dtype == torch.uint8 else 1
    outside = (torch.zeros(x.shape[1], dtype=torch.float64, device=x.device) if fill is None else fill) / unit
    image = image / unit
    if mean is not None:
        image, outside = image - mean.to(image.dtype)[:, None, None], outside - mean
    if std is not None:
        image, outside = image / std.to(image.dtype)[:, None, None], outside / std
    return image, outside


def positions(matrix: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where output pixels come from: column u and row v, each (..., OH, OW), of matrices (..., 2, 3)."""
    rows, columns = size
    X = torch.arange(columns, dtype=matrix.dtype, device=matrix.device)
    Y = torch.arange(rows, dtype=matrix.dtype, device=matrix.device).unsqueeze(-1)
    m = matrix.unsqueeze(-1).unsqueeze(-1)
    u, v = (m[..., i, 0, :, :] * X + (m[..., i, 1, :, :] * Y + m[..., i, 2, :, :]) for i in (0, 1))
    return u, v


def sample(
    x: Tensor,
    u: Tensor,
    v: Tensor,
    fill: Tensor | None = None,
    *,
    interpolation: str,
    padding_mode: str,
) -> Tensor:
    """The floating-point images x (N, C, H, W) at columns u and rows v (N, K, OH, OW): (N, K, C, OH, OW)."""
    H, W = x.shape[-2:]
    across = _taps(bounded(u, W, padding_mode), interpolation)
    down = _taps(bounded(v, H, padding_mode), interpolation)
    return weighted_sum(x, across, down, fill, padding_mode)


def weighted_sum(
    x: Tensor,
    across: list[tuple[Tensor, Tensor]],
    down: list[tuple[Tensor, Tensor]],
    fill: Tensor | None,
    padding_mode: str,
) -> Tensor:
    """Sum of weight times pixel of x (N, C, H, W), where the taps are indices and weights (N, K, OH, OW)."""
    N, C, H, W = x.shape
    pixels = x.flatten(2)
    background = None if fill is None else fill.to(x.dtype)[:, None, None]
    result = x.new_zeros(())
    for j, row_weight in down:
        row, in_rows = _source(j, H, padding_mode)
        for i, column_weight in across:
            column, in_columns = _source(i, W, padding_mode)
            index = (row * W + column).flatten(1).unsqueeze(1).expand(N, C, -1)
            value = pixels.gather(2, index).unflatten(2, i.shape[1:]).transpose(1, 2)
            if padding_mode == "constant":
                inside = (in_rows & in_columns).unsqueeze(2)
                value = torch.where(inside, value, 0 if background is None else background)
            result = result + (row_weight * column_weight).to(x.dtype).unsqueeze(2) * value
    return result


def bounded(position: Tensor, size: int, padding_mode: str, margin: float = _MARGIN) -> Tensor:
    """An equivalent position near the image, never NaN."""
    low, high = float(-margin), float(size - 1 + margin)
    if padding_mode == "reflection":
        period = 2 * (size - 1)
        position = position - period * (position / period).floor() if period else 0 * position
        low, high = 0.0, float(period)
    return position.nan_to_num(low, high, low).clamp(low, high)


def _taps(position: Tensor, interpolation: str) -> list[tuple[Tensor, Tensor]]:
    """The source indices that a position reads, and their weights."""
    if interpolation == "nearest":
        return [(position.round().long(), 1 + 0 * position)]  # derivatives are zeros, not missing
    cell = position.detach().floor()
    t, first = position - cell, cell.long()
    if interpolation == "bilinear":
        return [(first, 1 - t), (first + 1, t)]
    weights = (_far(1 + t), _near(t), _near(1 - t), _far(2 - t))
    return [(first + k, weight) for k, weight in enumerate(weights, -1)]


def _near(t: Tensor) -> Tensor:
    """Keys' cubic kernel for t up to 1."""
    return ((_CUBIC + 2) * t - (_CUBIC + 3)) * t * t + 1


def _far(t: Tensor) -> Tensor:
    """Keys' cubic kernel for t from 1 to 2."""
    return ((_CUBIC * t - 5 * _CUBIC) * t + 8 * _CUBIC) * t - 4 * _CUBIC


def _source(index: Tensor, size: int, padding_mode: str) -> tuple[Tensor, Tensor]:
    """The pixel that stands at an index of the extended image, and whether it lies inside."""
    inside = (index >= 0) & (index < size)
    if padding_mode == "reflection" and size > 1:
        index = index.remainder(2 * (size - 1))
        index = (size - 1) - (index - (size - 1)).abs()
    return index.clamp(0, size - 1), inside
