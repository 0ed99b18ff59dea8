"""MNIST from local IDX files, or downloaded with checksums."""

import os
from pathlib import Path

import torch
from torch import Tensor

from rotfast.data import _files
from rotfast.data.idx import parse_idx

__all__ = ["load_mnist"]

_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# Of the official files, as distributed (.gz) and uncompressed.
_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_PLACES = ("mnist", ".", "MNIST/raw")
_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def load_mnist(
    root: str | os.PathLike[str] | None = None, split: str = "train", download: bool = True
) -> tuple[Tensor, Tensor]:
    """Load one split of MNIST (LeCun, Cortes, Burges 1998).

    Looked for in this order: under ``root`` when given, otherwise under the folder that the environment
    variable ``ROTFAST_DATA`` names and then in pooch's cache folder. Under each folder the four files, with
    or without ``.gz``, may lie in ``mnist/``, in the folder itself, or in ``MNIST/raw/``. A file found
    nowhere is downloaded, to ``<root>/mnist`` when ``root`` is given and to the cache otherwise. Every file
    is checked against its sha256, and a download that breaks leaves nothing behind.

    Args:
        root: data folder.
        split: ``"train"`` (60,000 images) or ``"test"`` (10,000).
        download: whether a missing file may be downloaded (needs pooch).

    Returns:
        images uint8 (N, 28, 28), 0 background, 255 ink; labels int64 (N,).

    Raises:
        ValueError: unknown split, wrong checksum or damaged file; the message names the file.
        FileNotFoundError: a file is missing and ``download`` is False.
        ConnectionError: no mirror answered.
        ImportError: a file is missing and pooch is not installed.

    Example:
        >>> images, labels = load_mnist(split="test")  # doctest: +SKIP
        >>> images.shape, images.dtype, labels[:3]  # doctest: +SKIP
        (torch.Size([10000, 28, 28]), torch.uint8, tensor([7, 2, 1]))
    """
    if split not in _STEMS:
        raise ValueError(f"split must be one of {sorted(_STEMS)}, got {split!r}")
    folder = None if root is None else Path(root)
    images, labels = (_load(stem, folder, download) for stem in _STEMS[split])
    return images, labels.to(torch.int64)


def _load(stem: str, root: Path | None, download: bool) -> Tensor:
    packed = stem + ".gz"
    path = _files.find([packed, stem], _PLACES, root)
    if path is None:
        if not download:
            raise _files.missing(packed, _PLACES, root)
        path = _files.fetch(packed, f"sha256:{_SHA256[packed]}", _MIRRORS, "mnist", root)
    return torch.from_numpy(parse_idx(_files.read(path, f"sha256:{_SHA256[path.name]}"), str(path)))
