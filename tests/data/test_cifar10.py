import hashlib
import io
import os
import struct
import tarfile
from pathlib import Path

import pytest
import torch

from rotfast.data import _files, cifar10, load_cifar10


def text(value: bytes) -> bytes:
    return b"T" + struct.pack("<I", len(value)) + value


def names(*values: bytes) -> bytes:
    return b"\x80\x02}" + text(b"label_names") + b"](" + b"".join(map(text, values)) + b"es."


def batch(labels: list[int], values: bytes, kind: bytes = b"u1") -> bytes:
    """A batch as Python 2 pickled it: numpy's state of an array, (version, shape, dtype, Fortran, bytes)."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    shape = b"K" + bytes([len(labels)]) + b"M\x00\x0c\x86"
    dtype = b"cnumpy\ndtype\n" + text(kind) + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNNJ" + b"\xff" * 4
    dtype += b"J" + b"\xff" * 4 + b"K\x00tb"
    state = b"(K\x01" + shape + dtype + b"\x89" + text(values) + b"tb"
    items = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"labels") + items + text(b"data") + array + state + b"u."


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """A CIFAR-10 of two images a file, whose checksums count as the official ones; the cache is empty."""
    contents = {"batches.meta": names(b"cat", b"dog")}
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], 1):
        contents[name] = batch([number, 0], bytes([number]) * 3072 + bytes(i % 256 for i in range(3072)))
    checksums = {name: "md5:" + hashlib.md5(data).hexdigest() for name, data in contents.items()}
    monkeypatch.setattr(cifar10, "_CHECKSUMS", checksums | {cifar10._ARCHIVE: "sha256:0"})
    monkeypatch.delenv("ROTFAST_DATA", raising=False)
    monkeypatch.setattr(_files, "cache", lambda: tmp_path / "cache")
    return contents


def put(folder: Path, files: dict[str, bytes], *left_out: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in files.keys() - {*left_out}:
        (folder / name).write_bytes(files[name])
    return folder


def pack(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("layout", ["cifar10/cifar-10-batches-py", "cifar-10-batches-py", "cifar10", "."])
def test_layouts(tmp_path, files, layout):
    put(tmp_path / layout, files)
    images, labels, classes = load_cifar10(tmp_path, download=False)
    assert images.shape == (10, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert labels.tolist() == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    assert classes == ("cat", "dog")
    assert images[2].unique().tolist() == [2]
    images, labels, _ = load_cifar10(tmp_path, "test", download=False)
    assert labels.tolist() == [6, 0]
    # A row holds all red values, row by row, then green, then blue.
    assert images[1].flatten().tolist() == [i % 256 for i in range(3072)]


@pytest.mark.parametrize("place", ["cifar10", "."])
def test_archive(tmp_path, files, place):
    pack(tmp_path / place / cifar10._ARCHIVE, files)
    assert load_cifar10(tmp_path, download=False)[1].tolist() == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]


def test_some_batches(tmp_path, files, monkeypatch):
    put(tmp_path / "cifar10", files, "data_batch_3", "data_batch_5")
    monkeypatch.setenv("ROTFAST_DATA", str(tmp_path))
    assert load_cifar10(batches=[4, 1], download=False)[1].tolist() == [4, 0, 1, 0]
    with pytest.raises(FileNotFoundError, match=r"data_batch_3, data_batch_5 not found.*batches=\[1, 2, 4\]"):
        load_cifar10(download=False)


def test_missing_files_come_from_the_downloaded_archive(tmp_path, files, monkeypatch):
    put(tmp_path / "cifar10", files, "data_batch_3")
    archive = pack(tmp_path / "elsewhere.tar.gz", files)
    asked = []
    monkeypatch.setattr(_files, "fetch", lambda *arguments: asked.append(arguments) or archive)
    assert load_cifar10(tmp_path)[1].tolist() == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    assert asked == [("cifar-10-python.tar.gz", "sha256:0", cifar10._MIRRORS, "cifar10", tmp_path)]


def test_failed_download_says_what_there_is(tmp_path, files, monkeypatch):
    put(tmp_path / "cifar10", files, "data_batch_3")
    monkeypatch.setattr(cifar10, "_MIRRORS", ["http://127.0.0.1:9/"])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(ConnectionError, match=r"data_batch_3 not found, and .*batches=\[1, 2, 4, 5\]"):
        load_cifar10(tmp_path)


def test_file_with_another_checksum_is_never_unpickled(tmp_path, files, monkeypatch):
    put(tmp_path, {**files, "data_batch_2": files["data_batch_2"] + b"."})
    opened = []
    unpickle = cifar10._unpickle
    monkeypatch.setattr(cifar10, "_unpickle", lambda data, name: opened.append(name) or unpickle(data, name))
    with pytest.raises(ValueError, match=r"data_batch_2: expected md5 .*: damaged, or not the official file"):
        load_cifar10(tmp_path, batches=[2], download=False)
    assert opened == [str(tmp_path / "batches.meta")]


def test_member_of_an_archive_with_another_checksum(tmp_path, files):
    pack(tmp_path / cifar10._ARCHIVE, {**files, "test_batch": b"."})
    with pytest.raises(ValueError, match=r"tar\.gz, test_batch: expected md5"):
        load_cifar10(tmp_path, "test", download=False)


@pytest.mark.parametrize("content", [b"", b"no archive"], ids=["empty", "text"])
def test_damaged_archive(tmp_path, files, content):
    (tmp_path / cifar10._ARCHIVE).write_bytes(content)
    with pytest.raises(ValueError, match=r"tar\.gz: damaged, or not the official file"):
        load_cifar10(tmp_path, download=False)


def test_archive_without_the_file(tmp_path, files):
    pack(tmp_path / cifar10._ARCHIVE, {"batches.meta": files["batches.meta"]})
    with pytest.raises(ValueError, match=r"tar\.gz: damaged.*test_batch"):
        load_cifar10(tmp_path, "test", download=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cposix\nsystem\n" + text(b"true") + b"\x85R.", "posix.system is not allowed"),
        (b"cbuiltins\neval\n" + text(b"1") + b"\x85R.", "builtins.eval is not allowed"),
        (b"cnumpy\nload\n" + text(b"f") + b"\x85R.", "numpy.load is not allowed"),
        (b"\x80\x02}", "not a batch of CIFAR-10: "),
    ],
    ids=["system", "eval", "numpy.load", "cut short"],
)
def test_pickle_can_make_nothing_else(content, message):
    with pytest.raises(ValueError, match=f"file: .*{message}"):
        cifar10._unpickle(content, "file")


@pytest.mark.parametrize(
    "content", [batch([1], bytes(3071)), batch([1], bytes(3072), b"O8")], ids=["too short", "objects"]
)
def test_only_an_array_of_bytes_is_accepted(content):
    with pytest.raises(ValueError, match="expected 3072 values of uint8"):
        cifar10._unpickle(content, "file")[b"data"].to_numpy()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "validation"}, "split must be 'train' or 'test', got 'validation'"),
        ({"batches": []}, r"batches must be different numbers from 1 to 5, at least one, got \[\]"),
        ({"batches": [1, 1]}, r"batches must be different .* got \[1, 1\]"),
        ({"batches": [0]}, r"batches must be .* from 1 to 5, at least one, got \[0\]"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_cifar10(**arguments)


@pytest.mark.skipif("ROTFAST_DATA" not in os.environ, reason="ROTFAST_DATA does not name a folder with CIFAR")
@pytest.mark.parametrize(
    ("arguments", "first_labels", "count"),
    [({"batches": [1]}, [6, 9, 9, 4, 1], 10_000), ({"split": "test"}, [3, 8, 8, 0, 6], 10_000)],
    ids=["batch 1", "test"],
)
def test_real_cifar10(arguments, first_labels, count):
    images, labels, classes = load_cifar10(**arguments, download=False)
    assert images.shape == (count, 3, 32, 32)
    assert labels[:5].tolist() == first_labels
    assert classes[0] == "airplane"
    assert classes[9] == "truck"
    # The means of the whole training split, red, green, blue.
    means = images.float().mean((0, 2, 3)) / 255
    torch.testing.assert_close(means, torch.tensor([0.4914, 0.4822, 0.4465]), rtol=0, atol=0.01)
