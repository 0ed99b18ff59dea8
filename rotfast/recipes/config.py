"""What the configurations of all recipes share: their way through config.yaml, and checks of values."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Literal, TypeVar

from rotfast.recipes.run import RunError

__all__ = [
    "Device",
    "Precision",
    "Preset",
    "RecipeConfig",
    "check_at_least",
    "check_choice",
    "check_finite_not_negative",
    "config_from_dict",
    "config_to_dict",
]

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32-true", "64-true", "bf16-mixed", "16-mixed"]
Preset = Literal["as-in-deck", "recommended"]


class RecipeConfig:
    """Base of a recipe's configuration, a frozen dataclass that has at least the fields annotated here."""

    recipe: ClassVar[str]
    """The recipe's name, as in `rotfast train NAME`."""
    free_on_resume: ClassVar[frozenset[str]] = frozenset({"device", "data_dir", "checkpoint_every"})
    """Fields that change nothing in the result, or only by rounding: they may differ when a run goes on."""

    seed: int
    device: Device
    precision: Precision


Config = TypeVar("Config", bound=RecipeConfig)


def check_at_least(name: str, value: float, least: float) -> None:
    """Refuse a value below `least`.

    Raises:
        ValueError: It is.
    """
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def check_choice(name: str, value: object, choices: typing.Iterable[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ValueError: It is none.

    Example:
        >>> check_choice("model", "cn", ["cnn", "mlpc"])
        Traceback (most recent call last):
        ...
        ValueError: model must be one of cnn, mlpc, got 'cn'
    """
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_finite_not_negative(name: str, value: float) -> None:
    """Refuse a negative, infinite or undefined value.

    Raises:
        ValueError: It is.
    """
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be finite and not negative, got {value}")


def config_to_dict(config: RecipeConfig) -> dict[str, Any]:
    """The configuration as config.yaml holds it, the recipe's name first."""
    values = asdict(typing.cast(Any, config))
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {"recipe": config.recipe, **lists}


def config_from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Read a configuration back.

    Args:
        kind: The recipe's configuration class.
        values: What `config_to_dict` gave.

    Raises:
        RunError: The run is another recipe's, or a field is unknown, missing or has a wrong value.
    """
    values = dict(values)
    recipe = values.pop("recipe", None)
    if recipe != kind.recipe:
        raise RunError(f"config.yaml: recipe must be {kind.recipe}, got {recipe}")
    names = [field.name for field in fields(typing.cast(Any, kind))]
    for name in values:
        if name not in names:
            raise RunError(f"config.yaml has an unknown field {name!r}")
    for name in names:
        if name not in values:
            raise RunError(f"config.yaml lacks the field {name!r}")
    hints = typing.get_type_hints(kind)
    converted = {name: _convert(name, value, hints[name]) for name, value in values.items()}
    try:
        return kind(**converted)
    except ValueError as error:
        raise RunError(f"config.yaml: {error}") from error


def _convert(name: str, value: Any, hint: Any) -> Any:
    """A value as YAML gives it in the type of its field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(name, item, arguments[0]) for item in value)
    if origin is Literal and value in arguments:
        return value
    if origin is types.UnionType:
        return value if value is None else _convert(name, value, arguments[0])
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise RunError(f"config.yaml: {name} has the wrong value {value!r}")
