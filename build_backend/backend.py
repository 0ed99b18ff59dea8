"""setuptools' build backend, told to compile against the torch that will load the extension.

An isolated build sees only what ``build-system.requires`` names. Naming torch there would download a second
torch, perhaps of another version, although the interpreter that asked for the build has one. So torch is
asked for only when that interpreter has none that is new enough; otherwise its import path is made visible to
the build.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import build_sdist, get_requires_for_build_sdist

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

OLDEST_TORCH = (2, 11)

# importlib.metadata reads the version without importing torch, which takes seconds.
_PROBE = """
import importlib.metadata, json, sys
try:
    version = importlib.metadata.version("torch")
except importlib.metadata.PackageNotFoundError:
    version = None
print(json.dumps([version, sys.path]))
"""

Settings = Mapping[str, Any] | None


@functools.cache
def _target() -> tuple[str | None, list[str]]:
    """The torch version and the import path of the interpreter outside the isolated environment."""
    isolation = ("PYTHONPATH", "PYTHONNOUSERSITE")
    environment = {name: value for name, value in os.environ.items() if name not in isolation}
    # The current folder is the project's: started elsewhere, the probe cannot pick up something from it.
    answer = subprocess.run(
        [sys.executable, "-c", _PROBE],
        env=environment,
        cwd=os.path.dirname(sys.executable),
        capture_output=True,
        text=True,
        check=True,
    )
    version, path = json.loads(answer.stdout)
    return version, [entry for entry in path if entry]


def _has_torch() -> bool:
    version, _ = _target()
    return version is not None and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_TORCH


def _requirements(names: list[str]) -> list[str]:
    return names if _has_torch() else [*names, "torch>={}.{}".format(*OLDEST_TORCH)]


def _show_target() -> None:
    if _has_torch():
        sys.path.extend(entry for entry in _target()[1] if entry not in sys.path)


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return _requirements([])


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return _requirements([])


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    return build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Settings = None) -> str:
    return build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    _show_target()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    _show_target()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
