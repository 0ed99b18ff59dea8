"""Checks of constructor arguments; each returns the argument in the form the transforms keep."""

import math
from collections.abc import Sequence
from numbers import Real

import torch

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
PADDING_MODES = ("constant", "border", "reflection")

_DEGREES = "a number from 0 up or (low, high)"

Range = tuple[float, float]


def is_number(value: object) -> bool:
    """A finite real number that is no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """One of the given strings, or an enumeration's member whose value is one."""
    choice = getattr(value, "value", value)
    if choice not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return str(choice)


def check_bool(name: str, value: object) -> bool:
    """A bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {value!r}")
    return value


def check_fraction(name: str, value: object) -> float:
    """A number in [0, 1]."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number from 0 to 1, got {value!r}")
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")
    return float(value)


def check_numbers(name: str, value: object, lengths: tuple[int, ...], form: str) -> tuple[float, ...]:
    """A sequence of as many finite numbers as one of ``lengths``; no lengths, any number but 0."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{name} must be {form}, got {value!r}")
    if not (len(value) in lengths if lengths else len(value)) or not all(map(is_number, value)):
        raise ValueError(f"{name} must be {form}, got {value!r}")
    return tuple(map(float, value))


def check_range(name: str, value: object, form: str) -> Range:
    """A pair of finite numbers (low, high) with low at most high."""
    low, high = check_numbers(name, value, (2,), form)
    if low > high:
        raise ValueError(f"{name} must be {form}, got {value!r}")
    return low, high


def check_degrees(name: str, value: object, form: str = _DEGREES) -> Range:
    """A range, or a number d of at least 0 that stands for (-d, d)."""
    if isinstance(value, Real) and not isinstance(value, bool):
        if not 0 <= float(value) < math.inf:
            raise ValueError(f"{name} must be {form}, got {value!r}")
        return -float(value), float(value)
    return check_range(name, value, form)


def check_center(center: object) -> Range | None:
    """A point (x, y), or None for the middle."""
    if center is None:
        return None
    x, y = check_numbers("center", center, (2,), "two numbers (x, y)")
    return x, y


def check_channels(name: str, value: object) -> float | tuple[float, ...]:
    """A number, or one per channel."""
    form = "a number or one per channel"
    return float(value) if is_number(value) else check_numbers(name, value, (), form)  # type: ignore[arg-type]


def check_generator(generator: object) -> torch.Generator | None:
    """A torch.Generator, or None for torch's global one."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator or None, got {type(generator).__name__}")
    return generator
