"""Which Triton kernels there are: what a check has to reach."""

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from rotfast.ops.triton import OPERATORS


def modules() -> list[ModuleType]:
    """The modules with kernels, those of the operators and what they share."""
    return [
        importlib.import_module(f"rotfast.ops.triton.{name}")
        for name in ("common", *sorted(set(OPERATORS.values())))
    ]


def kernels() -> set[str]:
    """Every function that is launched, and not called by another kernel, as ``share_conv2d._forward``."""
    found = set()
    for module in modules():
        jitted = dict(_jitted(module))
        for name in jitted:
            others = (inspect.getsource(other) for key, other in jitted.items() if key != name)
            if not any(re.search(rf"\b{name}\(", source) for source in others):
                found.add(label(jitted[name]))
    return found


def label(function: Any) -> str:
    """A kernel's name with its module's."""
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


def _jitted(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The Python functions under ``triton.jit``, compiled or interpreted, that a module defines."""
    for name, value in vars(module).items():
        function = getattr(value, "fn", None)
        if inspect.isfunction(function) and function.__module__ == module.__name__:
            yield name, function
