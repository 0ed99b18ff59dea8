"""Compose."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rotfast.transforms._base import Transform, Transformed

__all__ = ["Compose"]


class Compose(Transform):
    """Transforms one after the other, drawn, replayed and undone as one.

    Parameters are a tuple with those of each transform; the inverse goes through the transforms backwards.
    Each transform resamples, so one ``RandomAffine`` is sharper than a rotation followed by a scaling.
    Give ``mean`` and ``std`` to one of them, best the first: later ones then work in floating point.

    Args:
        transforms: random transforms of this module, or further ``Compose``. Other modules go before or
            after, in an ``nn.Sequential``.

    Raises:
        TypeError: an element is no transform of this module.

    Example:
        >>> import torch
        >>> from rotfast.transforms import Compose, RandomPerspective, RandomRotation
        >>> x, augment = torch.rand(8, 3, 32, 32), Compose([RandomRotation(30), RandomPerspective(0.2)])
        >>> params = augment.sample(x)
        >>> y = augment(x, params=params)
        >>> augment.inverse(y, params).shape
        torch.Size([8, 3, 32, 32])
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__()
        if not isinstance(transforms, Sequence):
            raise TypeError(f"transforms must be a sequence, got {type(transforms).__name__}")
        for transform in transforms:
            if not isinstance(transform, Transform):
                raise TypeError(
                    f"transforms must be random transforms of rotfast, got {type(transform).__name__}"
                )
        self.transforms = nn.ModuleList(transforms)

    def sample(self, x: Tensor) -> tuple[Any, ...]:
        """Draw the parameters of every transform, in order."""
        return tuple(transform.sample(x) for transform in self._parts())

    def _parts(self) -> list[Transform]:
        return [part for part in self.transforms if isinstance(part, Transform)]

    def _move(self, batch: Transformed, params: tuple[Any, ...], inverse: bool) -> Transformed:
        parts = self._parts()
        if not isinstance(params, tuple | list):
            raise TypeError(f"params must be a tuple, got {type(params).__name__}")
        if len(params) != len(parts):
            raise ValueError(f"params must be {len(parts)}, one for each transform, got {len(params)}")
        steps = list(zip(parts, params, strict=True))
        for part, drawn in reversed(steps) if inverse else steps:
            batch = part._move(batch, drawn, inverse)
        return batch
