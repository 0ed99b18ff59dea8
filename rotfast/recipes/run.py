"""A run folder: configuration, metrics, checkpoint, figures and summary of one training.

config.yaml                     the configuration, one field a line
metrics.jsonl                   one JSON object a line
checkpoint/model.safetensors    the network's weights under their state dict names
checkpoint/state.pt             everything else that an exact continuation needs
figures/                        plots
summary.json                    final figures, command and versions
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import safetensors.torch
import torch
import yaml
from torch import Tensor

__all__ = ["RunError", "RunFolder", "RunStopped", "StopRequest", "catch_interrupt"]

_MISSING = object()


class RunError(Exception):
    """Something about a run that its user can mend; the command line shows the message alone."""


class RunStopped(Exception):
    """The user stopped a run, which can be resumed; the command line exits with code 130."""


class RunFolder:
    """The files of one run.

    Args:
        path: The folder.

    Example:
        >>> import tempfile
        >>> run = RunFolder(Path(tempfile.mkdtemp()) / "run")
        >>> run.create({"steps": 3})
        >>> run.append_metrics({"step": 1, "loss": 0.5})
        >>> run.read_config(), run.read_metrics()
        ({'steps': 3}, [{'step': 1, 'loss': 0.5}])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.figures = self.path / "figures"
        self._metrics = self.path / "metrics.jsonl"
        self._checkpoint = self.path / "checkpoint"
        # A checkpoint is written beside the current one; the old name exists only while they change places.
        self._new_checkpoint = self.path / "checkpoint.new"
        self._old_checkpoint = self.path / "checkpoint.old"

    def create(self, config: Mapping[str, Any]) -> None:
        """Make the folder and write config.yaml.

        Raises:
            RunError: The folder holds something already, or cannot be written.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise RunError(f"run folder {self.path} is not empty: choose another --run, or --resume it")
            self.write_text("config.yaml", yaml.safe_dump(dict(config), sort_keys=False))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Say which folder could not be written when a system call fails inside."""
        try:
            yield
        except OSError as error:
            raise RunError(f"run folder {self.path} cannot be written: {error}") from error

    def read_config(self) -> dict[str, Any]:
        """What config.yaml says.

        Raises:
            RunError: There is none, or it is no mapping.
        """
        path = self.path / "config.yaml"
        if not path.is_file():
            raise RunError(f"{self.path} is no run folder: it has no config.yaml")
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        if not isinstance(config, dict):
            raise RunError(f"{path} must hold one 'field: value' a line, got {type(config).__name__}")
        return config

    def check_config(self, config: Mapping[str, Any], free: frozenset[str] = frozenset()) -> None:
        """Refuse to continue under another configuration.

        Args:
            config: The configuration asked for.
            free: Fields that may differ.

        Raises:
            RunError: A field differs; the message names it and both values.
        """
        before = self.read_config()
        for field in {**before, **config}:
            old, new = before.get(field, _MISSING), config.get(field, _MISSING)
            if field not in free and old != new:
                old_text, new_text = ("nothing" if value is _MISSING else repr(value) for value in (old, new))
                raise RunError(
                    f"cannot resume {self.path} with another configuration: {field} is {old_text} in its "
                    f"config.yaml, got {new_text}"
                )

    def write_text(self, name: str, text: str) -> None:
        """Write one file of the folder whole or not at all."""
        target = self.path / name
        partial = target.with_name(f".{target.name}.part")
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            _flush(file.fileno())
        os.replace(partial, target)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write an object as indented JSON, whole or not at all."""
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON object of the folder, None where the file does not exist."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        return content

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line that a crash cut short is left out."""
        if not self._metrics.exists():
            return []
        records: list[dict[str, Any]] = []
        lines = self._metrics.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                if number == len(lines):
                    break
                raise RunError(f"{self._metrics}, line {number}: {error}") from error
        return records

    def truncate_metrics(self, step: int) -> None:
        """Forget the lines after `step`: the checkpoint that a run continues from knows nothing of them."""
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        self.write_text("metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept))

    @property
    def checkpoint(self) -> Path:
        """The folder of the newest whole checkpoint."""
        # A crash between the two renames of save_checkpoint leaves the previous one under its old name.
        if not self._checkpoint.exists() and self._old_checkpoint.exists():
            return self._old_checkpoint
        return self._checkpoint

    @property
    def has_checkpoint(self) -> bool:
        """Whether a whole checkpoint exists."""
        return self.checkpoint.exists()

    def save_checkpoint(self, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Replace the checkpoint; a crash at any point leaves the previous or the new one whole.

        Args:
            weights: The network's state dict.
            state: Tensors, numbers, strings, lists and dicts of them: it is read with weights_only=True.
        """
        previous = self.checkpoint
        shutil.rmtree(self._new_checkpoint, ignore_errors=True)
        self._new_checkpoint.mkdir()
        tensors = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
        safetensors.torch.save_file(tensors, self._new_checkpoint / "model.safetensors")
        torch.save(dict(state), self._new_checkpoint / "state.pt")
        for path in (*self._new_checkpoint.iterdir(), self._new_checkpoint):
            _sync(path)
        if previous == self._checkpoint and previous.exists():
            shutil.rmtree(self._old_checkpoint, ignore_errors=True)
            os.rename(self._checkpoint, self._old_checkpoint)
        os.rename(self._new_checkpoint, self._checkpoint)
        _sync(self.path)
        shutil.rmtree(self._old_checkpoint, ignore_errors=True)

    def load_weights(self) -> dict[str, Tensor]:
        """The weights of the checkpoint.

        Raises:
            RunError: There is no checkpoint, or its file is damaged.
        """
        path = self._checkpoint_file("model.safetensors")
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:
            raise RunError(f"{path} is damaged: {error}") from error

    def load_state(self) -> dict[str, Any]:
        """The rest of the checkpoint, on the CPU.

        Raises:
            RunError: There is no checkpoint, or its file is damaged.
        """
        path = self._checkpoint_file("state.pt")
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise RunError(f"{path} is damaged: {error}") from error
        return state

    def _checkpoint_file(self, name: str) -> Path:
        path = self.checkpoint / name
        if not path.is_file():
            raise RunError(f"{self.path} has no checkpoint: {path} does not exist")
        return path


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _sync(path: Path) -> None:
    """Force a file's or folder's content to the disk, where the system can do it for that kind of path."""
    if path.is_dir() and sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


class StopRequest:
    """Says whether the user asked to stop; true once Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked


@contextmanager
def catch_interrupt() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C into a request that the loop answers between two steps; a second one interrupts.

    Example:
        >>> with catch_interrupt() as stop:
        ...     signal.raise_signal(signal.SIGINT)
        ...     bool(stop)
        True
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python lets the main thread alone handle signals
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
