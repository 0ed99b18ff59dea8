"""Arguments of the metrics as float64 arrays, the split into halves, and the import of scikit-learn."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Values: TypeAlias = torch.Tensor | npt.ArrayLike
Array: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]

_LEAST_SAMPLES = 4  # two in each half


def as_array(name: str, values: Values) -> npt.NDArray[np.generic]:
    """The values on the CPU, their dtype kept where NumPy has it."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numbers, got dtype {array.dtype}")
    return array


def finite(name: str, values: Values, dimensions: int, form: str) -> Array:
    """Finite float64 values with so many dimensions."""
    array = as_array(name, values).astype(np.float64)
    if array.ndim != dimensions:
        raise ValueError(f"{name} must be {form}, got shape {array.shape}")
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{name} must be finite, got {bad} of {array.size} values NaN or infinite")
    return array


def check_codes(codes: Values, dimensions: int = 1) -> Array:
    """Codes (N, D), with enough rows for two halves."""
    array = finite("codes", codes, 2, "(N, D)")
    if array.shape[0] < _LEAST_SAMPLES or array.shape[1] < dimensions:
        raise ValueError(
            f"codes must be (N, D) with N of at least {_LEAST_SAMPLES} and D of at least {dimensions}, "
            f"got shape {array.shape}"
        )
    return array


def check_vector(name: str, values: Values, rows: int | None = None) -> Array:
    """Finite values (N,)."""
    array = finite(name, values, 1, "(N,)")
    check_rows(name, len(array), rows)
    return array


def check_classes(name: str, values: Values, rows: int | None = None) -> Integers:
    """Integers (N,)."""
    array = as_array(name, values)
    if array.dtype.kind not in "biu":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must be (N,), got shape {array.shape}")
    check_rows(name, len(array), rows)
    return array.astype(np.int64)


def check_rows(name: str, length: int, rows: int | None) -> None:
    if rows is not None and length != rows:
        raise ValueError(f"{name} must be ({rows},), one value per code, got shape ({length},)")


def check_factor(name: str, values: Values, rows: int) -> Array | Integers:
    """One value per code: integers are classes, floating-point values a quantity; it must vary."""
    array = as_array(name, values)
    check = check_classes if array.dtype.kind in "biu" else check_vector
    factor: Array | Integers = check(name, array, rows)
    if factor.min() == factor.max():
        raise ValueError(f"{name} must take at least two values, got {factor[0]} everywhere")
    return factor


def is_classes(factor: Array | Integers) -> bool:
    return factor.dtype.kind == "i"


def halves(rows: int, groups: Values | None, seed: int) -> tuple[Integers, Integers]:
    """Indices of a random half and of the other one, each in ascending order; no group is in both."""
    generator = np.random.default_rng(seed)
    if groups is None:
        mixed = generator.permutation(rows)
        return np.sort(mixed[: rows // 2]), np.sort(mixed[rows // 2 :])
    labels = check_classes("groups", groups, rows)
    names = np.unique(labels)
    if len(names) < 2:
        raise ValueError(f"groups must be at least two, to have one in each half, got {len(names)}")
    first = np.isin(labels, generator.permutation(names)[: len(names) // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def unit_vectors(degrees: Array) -> Array:
    """Cosine and sine of angles (N,), side by side (N, 2)."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def sklearn_module(name: str) -> ModuleType:
    """A module of scikit-learn, which comes with an extra."""
    try:
        return importlib.import_module(f"sklearn.{name}")
    except ImportError as error:
        raise ImportError("rotfast.metrics needs scikit-learn: pip install 'rotfast[recipes]'") from error
