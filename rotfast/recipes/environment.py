"""Where a recipe runs, and on which versions."""

from __future__ import annotations

import platform

import numpy as np
import torch
from lightning_fabric import Fabric

import rotfast
from rotfast.recipes.config import RecipeConfig
from rotfast.recipes.run import RunError

__all__ = ["make_fabric", "versions"]


def make_fabric(config: RecipeConfig) -> Fabric:
    """Device and number format of a configuration.

    Raises:
        RunError: The device is not there, or the format does not exist on it.
    """
    try:
        return Fabric(accelerator=config.device, devices=1, precision=config.precision)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"device {config.device} with precision {config.precision}: {error}") from error


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "rotfast": rotfast.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
