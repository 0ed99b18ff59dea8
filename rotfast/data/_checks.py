"""Checks that the data sets share."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def check_positive(**numbers: int) -> None:
    """Every argument is an integer of at least 1."""
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"{name} must be an int, got {type(number).__name__}")
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")


def check_images_labels(images: Tensor, labels: Tensor) -> Tensor:
    """Check an image set and return its images as (N, 1, H, W), dtype unchanged."""
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a Tensor, got {type(images).__name__}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"images must be uint8 or floating point, got {images.dtype}")
    if images.dim() == 3:
        images = images.unsqueeze(1)
    if images.dim() != 4 or images.shape[1] != 1:
        raise ValueError(f"images must be (N, H, W) or (N, 1, H, W), got shape {tuple(images.shape)}")
    if labels.is_floating_point():
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels must be ({images.shape[0]},), one per image, got shape {tuple(labels.shape)}"
        )
    return images


def check_angles(angles: Sequence[float] | Tensor) -> Tensor:
    """Check a list of angles in degrees and return it as float32 (A,)."""
    values = torch.as_tensor(angles, dtype=torch.float32)
    if values.dim() != 1 or values.numel() == 0:
        raise ValueError(f"angles must be a non-empty list of degrees, got {angles!r}")
    if not values.isfinite().all():
        raise ValueError(f"angles must be finite, got {angles!r}")
    return values


def check_angle_range(angle_range: tuple[float, float]) -> tuple[float, float]:
    """Check a range of angles in degrees."""
    low, high = angle_range
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"angle_range must be finite (low, high) with low <= high, got {angle_range!r}")
    return float(low), float(high)
