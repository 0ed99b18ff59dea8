"""The deck's preprocessing: black and white images, and the projections and profiles of them."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["binarise", "projection_features"]


def binarise(images: Tensor, mean: float = 0.1307, std: float = 0.3081) -> Tensor:
    """Black and white: 1 where the normalised pixel (x - mean) / std is above 0, else 0.

    By default MNIST's mean and standard deviation; a uint8 pixel is then lit from 34 on.

    Args:
        images: uint8 0..255, counting as 0..1, or floating point; any shape.
        mean, std: of the normalisation; std only has to be positive, and changes nothing.

    Returns:
        Tensor of zeros and ones of the same shape, float32 for uint8, otherwise of the images' dtype.

    Raises:
        TypeError: images of another dtype.
        ValueError: std is not positive.

    Example:
        >>> binarise(torch.tensor([0, 33, 34, 255], dtype=torch.uint8))
        tensor([0., 0., 1., 1.])
    """
    if std <= 0:
        raise ValueError(f"std must be positive, got {std}")
    return ((_floating(images) - mean) / std > 0).to(_floating_dtype(images))


def projection_features(images: Tensor) -> Tensor:
    """Sums and profiles of black and white images: 112 numbers of a 28×28 image.

    In this order: column sums (W), row sums (H), left profile (H) and right profile (H). A profile counts the
    pixels between the image's edge and the first lit pixel of a row, from the left or from the right; an
    empty row gives 0. A pixel is lit where it is above 0.

    Args:
        images: (N, H, W) or (N, 1, H, W), uint8 or floating point. Sums add the values as they are.

    Returns:
        features (N, W + 3H), float32 for uint8, otherwise of the images' dtype.

    Raises:
        TypeError: images of another dtype.
        ValueError: a shape other than these.

    Example:
        >>> image = torch.tensor([[0, 1, 1], [0, 0, 0]], dtype=torch.uint8)
        >>> projection_features(image[None]).int().tolist()
        [[0, 1, 1, 2, 0, 1, 0, 0, 0]]
    """
    if images.dim() == 4 and images.shape[1] == 1:
        images = images.squeeze(1)
    if images.dim() != 3:
        raise ValueError(f"images must be (N, H, W) or (N, 1, H, W), got shape {tuple(images.shape)}")
    dtype = _floating_dtype(images)
    values, lit = images.to(dtype), (images > 0).to(torch.uint8)
    from_left, from_right = (_distance(side) for side in (lit, lit.flip(-1)))
    return torch.cat([values.sum(1), values.sum(2), from_left.to(dtype), from_right.to(dtype)], 1)


def _distance(lit: Tensor) -> Tensor:
    """Index of the first 1 in every row, 0 where there is none."""
    # Not argmax: of several equal values it may return any.
    width = lit.shape[-1]
    rank = torch.arange(width, 0, -1, device=lit.device)
    nearest = F.pad(lit * rank, (1, 0)).amax(-1)
    return torch.where(nearest > 0, width - nearest, 0)


def _floating(images: Tensor) -> Tensor:
    dtype = _floating_dtype(images)
    return images.to(dtype) / 255 if images.dtype == torch.uint8 else images


def _floating_dtype(images: Tensor) -> torch.dtype:
    if images.dtype == torch.uint8:
        return torch.float32
    if not images.is_floating_point():
        raise TypeError(f"images must be uint8 or floating point, got {images.dtype}")
    return images.dtype
