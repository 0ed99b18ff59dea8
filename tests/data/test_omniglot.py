import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rotfast.data import _files, load_omniglot, load_omniglot_runs, omniglot

real = pytest.mark.skipif(
    "ROTFAST_DATA" not in os.environ, reason="ROTFAST_DATA does not name a folder with Omniglot"
)


def paper(index: int) -> np.ndarray:
    """A drawing as it is stored: True is paper; a block of ink 7 pixels high and as wide as its number."""
    image = np.ones((105, 105), dtype=bool)
    image[:7, : index + 1] = False
    return image


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_zip(path: Path, entries: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An evaluation split of three characters, numbers 965 to 967; a written file counts as official."""
    monkeypatch.setattr(omniglot, "_ALPHABETS", {"evaluation": "Short 1, Long_(er) 2", "background": ""})
    monkeypatch.delenv("ROTFAST_DATA", raising=False)
    monkeypatch.setattr(_files, "cache", lambda: tmp_path / "cache")

    def official(path: Path) -> None:
        checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        monkeypatch.setitem(omniglot._CHECKSUMS, path.name, checksum)

    return official


def write_arrays(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    images = np.stack([paper(i) for i in range(60)]).reshape(3, 20, 105, 105)
    path = folder / "images_evaluation.npz"
    np.savez_compressed(path, images=images, labels=np.zeros((3, 20)))
    return path


def write_pictures(folder: Path) -> Path:
    path = folder / "images_evaluation.zip"
    place = "images_evaluation/An_alphabet/character01"
    entries = {
        f"{place}/{965 + i // 20:04d}_{i % 20 + 1:02d}.png": png(paper(i)) for i in reversed(range(60))
    }
    write_zip(path, {"images_evaluation/": b"", **entries})
    return path


@pytest.mark.parametrize("write", [write_arrays, write_pictures], ids=["arrays", "pictures"])
@pytest.mark.parametrize("place", ["omniglot", ".", "omniglot-py"])
def test_arrays_and_pictures_give_the_same(tmp_path, tiny, write, place):
    tiny(write(tmp_path / place))
    images, labels, alphabets = load_omniglot(tmp_path, "evaluation", size=105, download=False)
    assert images.shape == (60, 105, 105)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert alphabets == ("Short", "Long_(er)", "Long_(er)")
    assert torch.equal(images, 255 * torch.stack([~torch.from_numpy(paper(i)) for i in range(60)]))


def test_smaller_images_are_means_over_areas(tmp_path, tiny, monkeypatch):
    tiny(write_arrays(tmp_path))
    images, _, _ = load_omniglot(tmp_path, "evaluation", size=15, download=False)
    assert images.shape == (60, 15, 15)
    # 7 x 7 pixels make one: the 10 x 7 block covers one whole pixel and three sevenths of the next.
    assert images[9, 0].tolist() == [255, 109] + [0] * 13
    assert images[9, 1:].count_nonzero() == 0


def test_environment_variable(tmp_path, tiny, monkeypatch):
    tiny(write_arrays(tmp_path / "omniglot"))
    monkeypatch.setenv("ROTFAST_DATA", str(tmp_path))
    assert len(load_omniglot(split="evaluation", download=False)[0]) == 60


def test_missing_file_is_downloaded_as_the_archive(tmp_path, tiny, monkeypatch):
    path = write_pictures(tmp_path / "elsewhere")
    tiny(path)
    asked = []
    monkeypatch.setattr(_files, "fetch", lambda *arguments: asked.append(arguments) or path)
    assert len(load_omniglot(tmp_path / "data", "evaluation")[0]) == 60
    name, _, mirrors, place, root = asked[0]
    assert (name, place, root) == ("images_evaluation.zip", "omniglot", tmp_path / "data")
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in mirrors)


def test_missing_without_download(tmp_path, tiny):
    with pytest.raises(FileNotFoundError, match=r"images_evaluation.npz or images_evaluation.zip not found"):
        load_omniglot(tmp_path, "evaluation", download=False)
    with pytest.raises(FileNotFoundError, match=r"all_runs.zip not found; looked in"):
        load_omniglot_runs(tmp_path, download=False)


@pytest.mark.parametrize("name", ["images_background.npz", "images_background.zip"])
def test_wrong_checksum(tmp_path, name):
    (tmp_path / name).write_bytes(b"other")
    with pytest.raises(ValueError, match=rf"{name}: expected .*: damaged, or not the official file"):
        load_omniglot(tmp_path, download=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "train"}, "split must be 'background' or 'evaluation', got 'train'"),
        ({"size": 0}, "size must be an int from 1 to 105, got 0"),
        ({"size": 106}, "size must be an int from 1 to 105, got 106"),
        ({"size": 28.0}, r"size must be an int from 1 to 105, got 28\.0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_omniglot(**arguments)


def test_runs(tmp_path, tiny):
    entries = {}
    for run in range(1, 21):
        folder = f"run{run:02d}"
        pairs = []
        for k in range(20):
            entries[f"{folder}/training/class{k + 1:02d}.png"] = png(paper(k))
            entries[f"{folder}/test/item{k + 1:02d}.png"] = png(paper(40 + k))
            pairs.append(f"{folder}/test/item{k + 1:02d}.png {folder}/training/class{20 - k:02d}.png\n")
        entries[f"{folder}/class_labels.txt"] = "".join(pairs).encode()
    write_zip(tmp_path / "all_runs.zip", entries)
    tiny(tmp_path / "all_runs.zip")
    runs = load_omniglot_runs(tmp_path, size=105, download=False)
    assert len(runs) == 20
    assert runs[3].answer.tolist() == list(range(19, -1, -1))
    assert runs[3].support.flatten(1).count_nonzero(1).tolist() == [7 * (k + 1) for k in range(20)]
    assert runs[3].query.flatten(1).count_nonzero(1).tolist() == [7 * (k + 41) for k in range(20)]


@real
def test_real_runs_agree_with_the_real_evaluation_split():
    """Every drawing of the runs is one of the split, of the character that the run says, of one alphabet."""
    images, labels, alphabets = load_omniglot(split="evaluation", size=105, download=False)
    assert images.shape == (13180, 105, 105)
    assert len(alphabets) == 659
    label_of = dict(zip((image.numpy().tobytes() for image in images), labels.tolist(), strict=True))
    for run in load_omniglot_runs(size=105, download=False):
        support, query = ([label_of[image.numpy().tobytes()] for image in part] for part in run[:2])
        assert query == [support[answer] for answer in run.answer]
        assert len({alphabets[label] for label in support}) == 1
        assert len(set(support)) == 20
