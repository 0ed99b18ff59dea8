"""Scikit-learn's embedded digits in MNIST's format: real data for machines without a network."""

import importlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["load_digits"]

_TEST_IMAGES = 360


def load_digits(split: str | None = None) -> tuple[Tensor, Tensor]:
    """Load scikit-learn's 1,797 handwritten digits (8x8, 0..16), enlarged to 28x28.

    As in MNIST the digit fills a 20x20 box (bilinear, pixel areas aligned) with 4 empty pixels on each side,
    so that a rotation cuts little off. Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten
    Digits", UCI repository, 1998.

    The split is over source images and never changes: 360 test images by the permutation of
    ``numpy.random.RandomState(0)``, the other 1,437 train, both in the order of the source. (The source
    cycles through the ten digits, so taking every n-th image would not be balanced.)

    Args:
        split: ``"train"``, ``"test"``, or None for all images.

    Returns:
        images uint8 (N, 28, 28), 0 background, 255 ink; labels int64 (N,).

    Raises:
        ValueError: unknown split.
        ImportError: scikit-learn is not installed.

    Example:
        >>> images, labels = load_digits("test")
        >>> images.shape, images.dtype, labels[:5]
        (torch.Size([360, 28, 28]), torch.uint8, tensor([4, 5, 6, 9, 4]))
    """
    if split not in ("train", "test", None):
        raise ValueError(f"split must be 'train', 'test' or None, got {split!r}")
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise ImportError("load_digits needs scikit-learn: pip install 'rotfast[recipes]'") from error
    source = datasets.load_digits()
    small = torch.from_numpy(source.images).unsqueeze(1)
    large = F.interpolate(small, size=(20, 20), mode="bilinear", align_corners=False)
    images = F.pad(large * (255 / 16), (4, 4, 4, 4)).round().to(torch.uint8).squeeze(1)
    labels = torch.from_numpy(source.target).to(torch.int64)
    if split is None:
        return images, labels
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    chosen = (order[:_TEST_IMAGES] if split == "test" else order[_TEST_IMAGES:]).sort().values
    return images[chosen], labels[chosen]
