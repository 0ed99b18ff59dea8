"""CIFAR-10 from its official python-version files, or downloaded with a checksum."""

import io
import math
import os
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rotfast.data import _files

__all__ = ["load_cifar10"]

# Published by the data set's authors (archive) and in wide use (its members).
_ARCHIVE = "cifar-10-python.tar.gz"
_CHECKSUMS = {
    _ARCHIVE: "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
    "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
    "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "md5:40351d587109b95175f43aff81a1287e",
    "batches.meta": "md5:5ff9c542aee3614f3951f8cda6e48888",
}
_FOLDER = "cifar-10-batches-py"
_PLACES = (f"cifar10/{_FOLDER}", _FOLDER, "cifar10", ".")
_MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)


def load_cifar10(
    root: str | os.PathLike[str] | None = None,
    split: str = "train",
    batches: Sequence[int] = (1, 2, 3, 4, 5),
    download: bool = True,
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Load one split of CIFAR-10 (Krizhevsky 2009), or some of the five batches of its training split.

    Looked for in this order: under ``root`` when given, otherwise under the folder that the environment
    variable ``ROTFAST_DATA`` names and then in pooch's cache folder. Under each folder the batches, or the
    official archive with all of them, may lie in ``cifar10/cifar-10-batches-py/``, ``cifar-10-batches-py/``,
    ``cifar10/`` or the folder itself. What is found nowhere is read from the archive, downloaded to
    ``<root>/cifar10`` when ``root`` is given and to the cache otherwise (163 MiB).

    The files are pickles. Each is checked against its published checksum before it is opened, and then read
    by an unpickler that can make nothing but lists, dicts, numbers, strings and one array.

    Args:
        root: data folder.
        split: ``"train"`` or ``"test"`` (10,000 images).
        batches: the training batches wanted, of 10,000 images each, in this order; the test split is one
            whole.
        download: whether the archive may be downloaded when a file is missing (needs pooch).

    Returns:
        images uint8 (N, 3, 32, 32); labels int64 (N,); the names of the ten classes.

    Raises:
        ValueError: unknown split or batch, wrong checksum or damaged file; the message names the file.
        FileNotFoundError: a file is missing and ``download`` is False; the message says which batches there
            are.
        ConnectionError: the archive could not be downloaded; the message says the same.
        ImportError: a file is missing and pooch is not installed.

    Example:
        >>> images, labels, names = load_cifar10(batches=[1, 2])  # doctest: +SKIP
        >>> images.shape, images.dtype, names[labels[0]]  # doctest: +SKIP
        (torch.Size([20000, 3, 32, 32]), torch.uint8, 'frog')
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    wanted = [*batches]
    if not wanted or len(set(wanted)) != len(wanted) or not set(wanted) <= {1, 2, 3, 4, 5}:
        raise ValueError(f"batches must be different numbers from 1 to 5, at least one, got {batches!r}")
    folder = None if root is None else Path(root)
    stems = [f"data_batch_{number}" for number in wanted] if split == "train" else ["test_batch"]
    contents = _read(["batches.meta", *stems], folder, download)
    names = tuple(name.decode() for name in contents[0][b"label_names"])
    data = [content[b"data"].to_numpy().reshape(-1, 3, 32, 32) for content in contents[1:]]
    labels = [label for content in contents[1:] for label in content[b"labels"]]
    return torch.from_numpy(np.concatenate(data)), torch.tensor(labels), names


def _read(names: list[str], root: Path | None, download: bool) -> list[dict[bytes, Any]]:
    paths = {name: _files.find([name], _PLACES, root) for name in names}
    archive = None
    absent = [name for name, path in paths.items() if path is None]
    if absent:
        archive = _files.find([_ARCHIVE], _PLACES, root) or _fetch(absent, root, download)
    packed = {} if archive is None else _members(archive, absent)
    return [
        _unpickle(_files.read(path, _CHECKSUMS[name]) if path else packed[name], str(path or name))
        for name, path in paths.items()
    ]


def _fetch(absent: list[str], root: Path | None, download: bool) -> Path:
    found = [
        number for number in range(1, 6) if _files.find([f"data_batch_{number}"], _PLACES, root) is not None
    ]
    hint = f"; of the training batches there are {found}: batches={found} reads these" if found else ""
    if not download:
        raise FileNotFoundError(f"{_files.missing(', '.join(absent), _PLACES, root)}{hint}")
    try:
        return _files.fetch(_ARCHIVE, _CHECKSUMS[_ARCHIVE], _MIRRORS, "cifar10", root)
    except ConnectionError as error:
        raise ConnectionError(f"{', '.join(absent)} not found, and {error}{hint}") from error


def _members(archive: Path, names: list[str]) -> dict[str, bytes]:
    """Files of the archive, each checked."""
    contents = {}
    try:
        with tarfile.open(archive) as tar:
            for name in names:
                file = tar.extractfile(f"{_FOLDER}/{name}")
                contents[name] = b"" if file is None else file.read()
    except (EOFError, KeyError, OSError, tarfile.TarError) as error:
        raise ValueError(f"{archive}: damaged, or not the official file: {error}") from error
    return {
        name: _files.check(data, _CHECKSUMS[name], f"{archive}, {name}") for name, data in contents.items()
    }


class _Array:
    """What the pickles hold in numpy's place: its state, of which only uint8 values are accepted."""

    def __init__(self, *arguments: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        _, shape, kind, _, values = self.state
        if not isinstance(kind, _Kind) or kind.code != b"u1" or len(values) != math.prod(shape):
            raise ValueError(f"expected {math.prod(shape)} values of uint8, got {len(values)} bytes")
        return np.frombuffer(bytearray(values), np.uint8).reshape(shape)


class _Kind:
    """numpy.dtype's place."""

    def __init__(self, code: bytes, *arguments: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        pass


_KNOWN: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in it")
        return _KNOWN[module, name]


def _unpickle(data: bytes, name: str) -> dict[bytes, Any]:
    try:
        content: dict[bytes, Any] = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle fails in any way
        raise ValueError(f"{name}: not a batch of CIFAR-10: {error}") from error
    return content
