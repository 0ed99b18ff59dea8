"""Files of the data sets: where they may lie, their checksums, their download."""

import hashlib
import importlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["check", "fetch", "find", "missing", "read"]


def folders(root: Path | None) -> Iterator[Path]:
    """The data folders: ``root`` alone when given, otherwise ROTFAST_DATA and the download cache."""
    if root is not None:
        yield root
        return
    if os.environ.get("ROTFAST_DATA"):
        yield Path(os.environ["ROTFAST_DATA"])
    if importlib.util.find_spec("pooch"):
        yield cache()


def cache() -> Path:
    """The folder for downloads."""
    return Path(importlib.import_module("pooch").os_cache("rotfast"))


def find(names: Sequence[str], places: Sequence[str], root: Path | None) -> Path | None:
    """The first of these files that exists in one of these places under a data folder."""
    candidates = (data / place / name for data in folders(root) for place in places for name in names)
    return next((path for path in candidates if path.is_file()), None)


def missing(name: str, places: Sequence[str], root: Path | None) -> FileNotFoundError:
    """The error that says where a file was looked for."""
    looked = ", ".join(map(str, folders(root))) or "no folder (ROTFAST_DATA is not set)"
    return FileNotFoundError(f"{name} not found; looked in {looked}, each with {', '.join(places)}")


def check(data: bytes, checksum: str, name: str) -> bytes:
    """Return the data if they have the checksum, ``algorithm:hexadecimal`` as pooch writes it.

    Raises:
        ValueError: they have another.
    """
    algorithm, expected = checksum.split(":")
    got = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
    if got != expected:
        raise ValueError(
            f"{name}: expected {algorithm} {expected}, got {got}: damaged, or not the official file"
        )
    return data


def read(path: Path, checksum: str) -> bytes:
    """The content of a file, checked."""
    return check(path.read_bytes(), checksum, str(path))


def fetch(name: str, checksum: str, mirrors: Sequence[str], place: str, root: Path | None) -> Path:
    """Download a file from the first mirror that has it, into ``place`` under the root or the cache.

    Raises:
        ImportError: pooch is not installed.
        ConnectionError: no mirror answered.
        ValueError: what a mirror gave has another checksum.
    """
    try:
        pooch = importlib.import_module("pooch")
    except ImportError as error:
        raise ImportError(
            f"{name} is missing and downloading it needs pooch: pip install 'rotfast[recipes]', "
            "or give the folder that holds it by root or ROTFAST_DATA"
        ) from error
    failures: list[tuple[str, Exception]] = []
    for mirror in mirrors:
        try:
            # pooch writes to a temporary file and moves it into place only once its checksum is right.
            file = pooch.retrieve(
                mirror + name, known_hash=checksum, fname=name, path=(root or cache()) / place
            )
            return Path(file)
        except (OSError, ValueError) as error:  # network errors of requests are OSErrors
            failures.append((mirror, error))
    reasons = "; ".join(f"{mirror}: {error}" for mirror, error in failures)
    wrong_content = any(isinstance(error, ValueError) for _, error in failures)
    raise (ValueError if wrong_content else ConnectionError)(f"could not download {name}: {reasons}")
