"""Omniglot: its characters by alphabet, and the 20 one-shot runs of its authors."""

import importlib
import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast.data import _files

__all__ = ["OneShotRun", "load_omniglot", "load_omniglot_runs"]

_SIDE, _DRAWERS = 105, 20
# The number of the first character in the file names; then the alphabets in order, with their characters.
_FIRST = {"background": 1, "evaluation": 965}
_ALPHABETS = {
    "background": """
        Arcadian 26, Armenian 41, Asomtavruli 40, Balinese 24, Bengali 46, Blackfoot 14, Braille 26,
        Cyrillic 33, Early_Aramaic 22, Syriac_(Estrangelo) 23, Anglo-Saxon_Futhorc 29, Futurama 26,
        Grantha 43, Greek 24, Gujarati 48, Hebrew 22, Japanese_(hiragana) 52, Inuktitut 16, Malay_(Jawi) 40,
        Japanese_(katakana) 47, Korean 40, Latin 26, Alphabet_of_the_Magi 20, Mkhedruli 41,
        Burmese_(Myanmar) 34, N_Ko 33, Ojibwe 14, Sanskrit 42, Tagalog 17, Tifinagh 55""",
    "evaluation": """
        Angelic 20, Atemayar_Qelisayer 26, Atlantean 26, Aurek-Besh 26, Avesta 26, Ge_ez 26, Glagolitic 45,
        Gurmukhi 45, Kannada 41, Keble 26, Malayalam 47, Manipuri 40, Mongolian 30,
        Old_Church_Slavonic_(Cyrillic) 45, Oriya 46, Sylheti 28, Syriac_(Serto) 23, Tengwar 25, Tibetan 42,
        ULOG 26""",
}
_CHECKSUMS = {
    # A repack of the authors' archives as arrays; no checksum of it was ever published by them.
    "images_background.npz": "sha256:8bf84167413cd00beacdce3fe582f780ab538d8dbef043a6d688f2527bbce199",
    "images_evaluation.npz": "sha256:0b84c7ffd94c4841c0040e529c86a82eaaccb986d8eadad5673f7991b7475276",
    # The authors' archives.
    "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
    "all_runs.zip": "sha256:437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325",
}
_PLACES = ("omniglot", ".", "omniglot-py")
_MIRRORS = ("https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",)
_RUN_MIRRORS = (f"{_MIRRORS[0]}one-shot-classification/",)


class OneShotRun(NamedTuple):
    """One of the 20 runs: tell which of 20 characters of one alphabet a drawing shows, from one drawing each.

    Attributes:
        support: uint8 (20, S, S), one drawing of each character.
        query: uint8 (20, S, S), drawings of the same characters by another hand.
        answer: int64 (20,), for every query image the index of its character's support image.
    """

    support: Tensor
    query: Tensor
    answer: Tensor


def load_omniglot(
    root: str | os.PathLike[str] | None = None,
    split: str = "background",
    size: int = 28,
    download: bool = True,
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Load one split of Omniglot (Lake, Salakhutdinov, Tenenbaum 2015): 20 drawings of each character.

    Looked for as arrays (``images_background.npz``, ``images_evaluation.npz``) and as the authors' archives
    (the same names ending in ``.zip``) in ``omniglot/``, ``omniglot-py/`` or the folder itself, under
    ``root`` when given, otherwise under the folder that ``ROTFAST_DATA`` names and in pooch's cache folder.
    What is found nowhere is downloaded as the authors' archive. Every file is checked by its checksum; the
    arrays are read with ``allow_pickle=False``.

    Args:
        root: data folder.
        split: ``"background"`` (964 characters of 30 alphabets) or ``"evaluation"`` (659 of 20).
        size: height and width; below the original 105 every pixel is the mean of the area that it covers.
        download: whether a missing archive may be downloaded (needs pooch).

    Returns:
        images uint8 (N, size, size), 0 paper, 255 ink, the 20 drawings of a character one after the other;
        labels int64 (N,), the character's number in its split, from 0; the alphabet of every character, one
        name per label.

    Raises:
        ValueError: unknown split, a size outside 1..105, wrong checksum or damaged file.
        FileNotFoundError: a file is missing and ``download`` is False.
        ConnectionError: the archive could not be downloaded.
        ImportError: a file is missing and pooch is not installed, or Pillow is missing to read the archive.

    Example:
        >>> images, labels, alphabets = load_omniglot(split="evaluation")  # doctest: +SKIP
        >>> images.shape, alphabets[labels[-1]]  # doctest: +SKIP
        (torch.Size([13180, 28, 28]), 'ULOG')
    """
    if split not in _ALPHABETS:
        raise ValueError(f"split must be 'background' or 'evaluation', got {split!r}")
    _check_size(size)
    path = _locate([f"images_{split}.npz", f"images_{split}.zip"], _MIRRORS, root, download)
    data = _files.read(path, _CHECKSUMS[path.name])
    sizes = (alphabet.split() for alphabet in _ALPHABETS[split].split(","))
    alphabets = tuple(name for name, count in sizes for _ in range(int(count)))
    ink = _from_arrays(data) if path.suffix == ".npz" else _from_pictures(data, len(alphabets), _FIRST[split])
    labels = torch.arange(len(alphabets)).repeat_interleave(_DRAWERS)
    return _shrink(ink, size), labels, alphabets


def load_omniglot_runs(
    root: str | os.PathLike[str] | None = None, size: int = 28, download: bool = True
) -> list[OneShotRun]:
    """Load the 20 one-shot runs in which Omniglot's authors compared people and models.

    Looked for and downloaded as in ``load_omniglot``, as ``all_runs.zip``; reading it needs Pillow.

    Args:
        root, size, download: as in ``load_omniglot``.

    Returns:
        The runs; all their characters are of the evaluation split.

    Raises:
        ValueError, FileNotFoundError, ConnectionError, ImportError: as ``load_omniglot``.

    Example:
        >>> runs = load_omniglot_runs()  # doctest: +SKIP
        >>> len(runs), runs[0].support.shape  # doctest: +SKIP
        (20, torch.Size([20, 28, 28]))
    """
    _check_size(size)
    path = _locate(["all_runs.zip"], _RUN_MIRRORS, root, download)
    archive = zipfile.ZipFile(io.BytesIO(_files.read(path, _CHECKSUMS[path.name])))
    runs = []
    for number in range(1, 21):
        folder = f"run{number:02d}"
        pairs = [line.split() for line in archive.read(f"{folder}/class_labels.txt").decode().splitlines()]
        support = [f"{folder}/training/class{k:02d}.png" for k in range(1, 21)]
        ink = np.stack([_picture(archive.read(name)) for name in [*support, *(pair[0] for pair in pairs)]])
        images = _shrink(ink, size)
        answer = torch.tensor([support.index(pair[1]) for pair in pairs])
        runs.append(OneShotRun(images[:20], images[20:], answer))
    return runs


def _check_size(size: int) -> None:
    if not isinstance(size, int) or not 1 <= size <= _SIDE:
        raise ValueError(f"size must be an int from 1 to {_SIDE}, got {size!r}")


def _locate(
    names: list[str], mirrors: tuple[str, ...], root: str | os.PathLike[str] | None, download: bool
) -> Path:
    """One of these files, or the last of them downloaded."""
    folder = None if root is None else Path(root)
    path = _files.find(names, _PLACES, folder)
    if path is not None:
        return path
    if not download:
        raise _files.missing(" or ".join(names), _PLACES, folder)
    return _files.fetch(names[-1], _CHECKSUMS[names[-1]], mirrors, "omniglot", folder)


def _from_arrays(data: bytes) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Ink of all drawings: the arrays hold True for paper."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        images: np.ndarray[Any, np.dtype[np.bool_]] = arrays["images"]
    return ~images.reshape(-1, _SIDE, _SIDE)


def _from_pictures(data: bytes, characters: int, first: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Ink of all drawings, from the archive's files CCCC_DD.png: character CCCC by drawer DD, both from 1."""
    ink = np.zeros((characters * _DRAWERS, _SIDE, _SIDE), dtype=np.bool_)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if found := re.search(r"(\d{4})_(\d{2})\.png$", name):
                index = (int(found[1]) - first) * _DRAWERS + int(found[2]) - 1
                ink[index] = _picture(archive.read(name))
    return ink


def _picture(data: bytes) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Ink of one PNG file, in which it is black."""
    try:
        image = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ImportError("reading Omniglot's archives needs Pillow: pip install pillow") from error
    return ~np.array(image.open(io.BytesIO(data)).convert("1"))


def _shrink(ink: np.ndarray[Any, np.dtype[np.bool_]], size: int) -> Tensor:
    """Ink as uint8 0..255 at the wanted size."""
    if size == _SIDE:
        return torch.from_numpy(ink).to(torch.uint8) * 255
    small = [
        F.interpolate(part.float().unsqueeze(1), size=(size, size), mode="area").squeeze(1)
        for part in torch.from_numpy(ink).split(1024)  # bounds the memory of the floating-point images
    ]
    return (torch.cat(small) * 255).round().to(torch.uint8)
