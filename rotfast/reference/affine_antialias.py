"""Resampling of images under affine maps in plain PyTorch, with a kernel as wide as the map shrinks."""

import math

import torch
from torch import Tensor

from rotfast.reference.affine import bounded, finished, normalize, positions, weighted_sum

_REACH = {"bilinear": 1, "bicubic": 2}


def affine_antialias(
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
    """``affine`` with weights w(t / s) / Σ w(t / s) along each axis of the source.

    s is the length of (m00, m01) along columns and of (m10, m11) along rows, at least 1 and at most the
    image's size.
    """
    image, outside = normalize(x, fill, mean, std)
    axes = []
    for axis, position in enumerate(positions(matrix, size)):
        extent = x.shape[-1 - axis]
        step = matrix[..., axis, :2].square().sum(-1).clamp(1, extent * extent).sqrt()
        # Such a kernel never reaches further than twice the image.
        near = bounded(position, extent, padding_mode, 2 * extent + 1)
        axes.append(_taps(near, step, interpolation))
    y = weighted_sum(image, axes[0], axes[1], outside, padding_mode)
    return finished(y, x, mean, std)


def _taps(position: Tensor, step: Tensor, interpolation: str) -> list[tuple[Tensor, Tensor]]:
    """The source indices that a position reads, and their weights."""
    reach = _REACH[interpolation]
    kernel = _hat if interpolation == "bilinear" else _keys
    widest = step.detach().max().item() if step.numel() else 1
    step = step[..., None, None]
    here, radius = position.detach(), reach * step.detach()
    first, last = (here - radius).ceil(), (here + radius).floor()
    indices = [first + k for k in range(math.floor(2 * reach * widest) + 1)]
    weights = [kernel(((index - position) / step).abs()) for index in indices]
    total = torch.stack(weights).sum(0)
    # Where a narrower kernel ends, weights are 0, and a pixel beyond, which may not be finite, is not read.
    return [(index.minimum(last).long(), w / total) for index, w in zip(indices, weights, strict=True)]


def _hat(t: Tensor) -> Tensor:
    return (1 - t).clamp(min=0)


def _keys(t: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -0.5, as torch.nn.functional.interpolate(antialias=True) has it."""
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return torch.where(t < 1, near, torch.where(t < 2, far, 0))
