"""Draws of a few labelled images per class."""

from typing import NamedTuple

import torch
from torch import Tensor

from rotfast.data._checks import check_positive

__all__ = ["FewLabels", "draw_few_labels"]


class FewLabels(NamedTuple):
    """Which images are labelled.

    Attributes:
        train: (classes · k,) int64, indices of training images, class by class.
        validation: (classes · v,) int64, indices of further images, none of them in ``train``.
    """

    train: Tensor
    validation: Tensor


def draw_few_labels(
    labels: Tensor, per_class: int, *, validation_per_class: int = 0, seed: int = 0
) -> FewLabels:
    """Draw so many images of every class, and as many others for validation as asked.

    A seed orders the images of each class once: training images are the first of that order and validation
    images the last. So a larger ``per_class`` with the same seed keeps the images of a smaller one, and
    accuracies over a growing number of labels differ by the labels added alone.

    Args:
        labels: (N,) integers; the classes are the values that occur.
        per_class: training images of a class, at least 1.
        validation_per_class: validation images of a class, from 0.
        seed: of the draw, which depends on nothing else.

    Raises:
        TypeError: labels are not integers, or a number is no int.
        ValueError: a shape other than (N,), a number out of range, or a class with fewer images than asked.

    Example:
        >>> labels = torch.tensor([0, 1, 0, 1, 0, 1])
        >>> draw = draw_few_labels(labels, 2, validation_per_class=1, seed=3)
        >>> labels[draw.train].tolist(), labels[draw.validation].tolist()
        ([0, 0, 1, 1], [0, 1])
    """
    check_positive(per_class=per_class)
    if validation_per_class:
        check_positive(validation_per_class=validation_per_class)
    if labels.is_floating_point():
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if labels.dim() != 1:
        raise ValueError(f"labels must be (N,), got shape {tuple(labels.shape)}")
    labels = labels.cpu()
    generator = torch.Generator().manual_seed(seed)
    train, validation = [labels.new_empty(0, dtype=torch.int64)], [labels.new_empty(0, dtype=torch.int64)]
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        wanted = per_class + validation_per_class
        if len(members) < wanted:
            more = f" and {validation_per_class} for validation" if validation_per_class else ""
            raise ValueError(
                f"per_class must be at most what every class has: asked for {per_class}{more}, "
                f"but class {label} has {len(members)} images"
            )
        members = members[torch.randperm(len(members), generator=generator)]
        train.append(members[:per_class])
        validation.append(members[len(members) - validation_per_class :])
    return FewLabels(torch.cat(train), torch.cat(validation))
