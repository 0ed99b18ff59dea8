"""Images of any rank, and parameters that are one for all images, one per image, or K per image."""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from rotfast._checks import check_device
from rotfast.functional._constants import constants
from rotfast.ops.autograd import transformed

_DTYPES = {torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64}
_FORMS = {2: "(H, W)", 3: "(C, H, W)", 4: "(N, C, H, W)", 5: "(T, N, C, H, W)"}


def traced() -> bool:
    """Whether values may be missing, because torch.compile or a transform of torch.func is at work."""
    return torch.compiler.is_compiling() or transformed()


def readable(tensor: Tensor) -> bool:
    """Whether a look at values neither waits for a device nor disturbs a graph or transform."""
    return tensor.is_cpu and not traced()


def check_images(x: Tensor) -> None:
    """Images of a dtype that is resampled, with at least one pixel and channel."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a Tensor, got {type(x).__name__}")
    if x.dtype not in _DTYPES:
        raise TypeError(f"x must be uint8, float16, bfloat16, float32 or float64, got {x.dtype}")
    if x.dim() not in _FORMS:
        raise ValueError(f"x must be {', '.join(_FORMS.values())}, got shape {tuple(x.shape)}")
    if 0 in x.shape[-3:]:
        raise ValueError(f"x must have at least one channel, row and column, got shape {tuple(x.shape)}")


def as_batch(x: Tensor) -> Tensor:
    """The images as (N, C, H, W)."""
    dim = x.dim()
    if dim == 4:
        return x
    if dim == 5:
        return x.flatten(0, 1)
    return x[None] if dim == 3 else x[None, None]


class Samples:
    """The images of ``x`` and how many results each has; reads the parameters of their maps."""

    def __init__(self, x: Tensor) -> None:
        check_images(x)
        self.x = x
        self.lead = x.shape[:-3]
        self.channels = x.shape[-3] if x.dim() > 2 else 1
        # The first parameter that requires grad.
        self.differentiated: str | None = None
        # The first parameter that gives an image several results, and their number.
        self.per_image: tuple[str, int] | None = None

    def numbers(self, name: str, value: float | Tensor) -> float | Tensor:
        """A number, or a float64 tensor that broadcasts against (..., K)."""
        if isinstance(value, Tensor):
            return self._tensor(name, value, ())
        return _number(name, value, "a number or a Tensor")

    def points(self, name: str, value: Sequence[float] | Tensor) -> tuple[float | Tensor, float | Tensor]:
        """A pair of what ``numbers`` gives."""
        if isinstance(value, Tensor):
            x, y = self._tensor(name, value, (2,)).unbind(-1)
            return x, y
        if not isinstance(value, Sequence) or len(value) != 2:
            raise ValueError(f"{name} must be a pair of numbers or a Tensor, got {value!r}")
        form = "a pair of numbers or a Tensor"
        return _number(name, value[0], form), _number(name, value[1], form)

    def integers(self, name: str, value: int | Tensor) -> Tensor:
        """An int64 tensor that broadcasts against (..., K)."""
        if isinstance(value, Tensor):
            if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
                raise TypeError(f"{name} must hold integers, got {value.dtype}")
            return self._shaped(name, value, ()).long()
        if not isinstance(value, int):
            raise TypeError(f"{name} must be an int or a Tensor, got {type(value).__name__}")
        return torch.full((), value, dtype=torch.int64, device=self.x.device)

    def matrices(self, name: str, value: Tensor, rows: int) -> Tensor:
        """(..., rows, 3), as float64."""
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a Tensor, got {type(value).__name__}")
        return self._tensor(name, value, (rows, 3))

    def _tensor(self, name: str, value: Tensor, tail: tuple[int, ...]) -> Tensor:
        if value.dtype == torch.bool or value.is_complex():
            raise TypeError(f"{name} must hold real numbers, got {value.dtype}")
        if readable(value) and not _all_finite(value):
            raise ValueError(f"{name} must be finite, got nan or inf")
        if value.requires_grad and self.differentiated is None:
            self.differentiated = name
        return self._shaped(name, value, tail).double()

    def _shaped(self, name: str, value: Tensor, tail: tuple[int, ...]) -> Tensor:
        """The value with a dimension for K, if it has one for images."""
        if value.device != self.x.device:
            check_device(name, value, "x", self.x)
        lead, shape = self.lead, value.shape
        depth = len(shape) - len(tail)
        per_image = depth == len(lead) + 1
        images = lead if per_image else lead[max(len(lead) - depth, 0) :]
        if depth < 0 or shape[: len(images)] != images or shape[len(images) + per_image :] != tail:
            raise ValueError(f"{name} must be {self._forms(tail)}, got shape {tuple(shape)}")
        if per_image:
            self._count(name, shape[depth - 1])
        elif depth:
            value = value.unsqueeze(depth)
        return value

    def _count(self, name: str, results: int) -> None:
        if self.per_image is None:
            self.per_image = (name, results)
        elif self.per_image[1] != results:
            first, number = self.per_image
            raise ValueError(f"{name} must have the {number} values per image of {first}, got {results}")

    def _forms(self, tail: tuple[int, ...]) -> str:
        lead = self.lead
        forms = [(*lead, *tail), (*lead, "K", *tail)] if lead else [("K", *tail)]
        if len(lead) == 2:
            forms.insert(0, (lead[1], *tail))
        if tail:
            forms.insert(0, tail)
        words = [f"({', '.join(map(str, form))}{',' if len(form) == 1 else ''})" for form in forms]
        return f"{'of shape' if tail else 'a number or of shape'} {' or '.join(words)}"

    def channel_values(
        self, name: str, value: float | Sequence[float] | Tensor, *, positive: bool = False
    ) -> Tensor:
        """One number per channel, as float64 (C,)."""
        form = f"a number or {self.channels}, one per channel"
        if isinstance(value, Tensor):
            if value.requires_grad:
                raise TypeError(f"{name} must not require grad: there is no derivative with respect to it")
            if value.shape not in ((), (self.channels,)):
                raise ValueError(f"{name} must be {form}, got shape {tuple(value.shape)}")
            check_device(name, value, "x", self.x)
            if positive and readable(value) and not (value > 0).all():
                raise ValueError(f"{name} must be positive, got {value.tolist()}")
            return value.double().expand(self.channels)
        if isinstance(value, Real):
            values = [float(value)] * self.channels
        elif isinstance(value, Sequence) and len(value) == self.channels:
            values = [_number(name, entry, form, finite=False) for entry in value]
        else:
            raise ValueError(f"{name} must be {form}, got {value!r}")
        if positive and not all(entry > 0 for entry in values):
            raise ValueError(f"{name} must be positive, got {value!r}")
        return constants(values, self.x.device)

    def batch(self, value: Tensor, tail: int) -> Tensor:
        """One value per result, (N, K, ...), of ``tail`` dimensions, from what broadcasts to (..., K)."""
        results = 1 if self.per_image is None else self.per_image[1]
        every = value.expand(*self.lead, results, *value.shape[value.dim() - tail :])
        if not self.lead:
            return every[None]
        return every if len(self.lead) == 1 else every.flatten(0, 1)

    def restore(self, y: Tensor) -> Tensor:
        """Results (N, K, C, H, W) in the form of x, with K if a parameter had it."""
        if self.x.dim() == 2:
            y = y.squeeze(2)
        if self.per_image is None:
            y = y.squeeze(1)
        if not self.lead:
            return y.squeeze(0)
        return y if len(self.lead) == 1 else y.unflatten(0, self.lead)


def _number(name: str, value: object, form: str, *, finite: bool = True) -> float:
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be {form}, got {type(value).__name__}")
    number = float(value)
    if finite and not abs(number) < math.inf:  # as math.isfinite, but torch.compile follows it
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def _all_finite(value: Tensor) -> bool:
    # One sum tells at a fraction of the price; a closer look is needed only where finite numbers overflow.
    return math.isfinite(value.detach().sum().item()) or bool(value.isfinite().all())
