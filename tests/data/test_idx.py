import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from rotfast.data import read_idx
from rotfast.data.idx import parse_idx


def idx_bytes(values: np.ndarray, code: int) -> bytes:
    header = bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
GOOD = idx_bytes(IMAGES, 0x08)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_reads_images(tmp_path: Path, compress):
    file = tmp_path / "images"
    file.write_bytes(compress(GOOD))
    values = read_idx(file)
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, IMAGES)


@pytest.mark.parametrize(
    ("code", "stored", "native"),
    [
        (0x09, ">i1", "i1"),
        (0x0B, ">i2", "i2"),
        (0x0C, ">i4", "i4"),
        (0x0D, ">f4", "f4"),
        (0x0E, ">f8", "f8"),
    ],
)
def test_value_types_come_in_native_byte_order(code, stored, native):
    values = np.array([1, -2, 100], dtype=stored)
    read = parse_idx(idx_bytes(values, code), "file")
    assert read.dtype == np.dtype(native)
    np.testing.assert_array_equal(read, values)


def test_empty_set():
    assert parse_idx(idx_bytes(np.empty((0, 28, 28), np.uint8), 0x08), "file").shape == (0, 28, 28)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "at least 4 bytes, got 0", id="empty file"),
        pytest.param(b"\x00\x00\x08", "at least 4 bytes, got 3", id="three bytes"),
        pytest.param(b"<html>404", "magic number.*got 3c 68 74 6d", id="a web page"),
        pytest.param(b"\x00\x00\x07\x01" + GOOD[4:], "magic number.*got 00 00 07 01", id="type code"),
        pytest.param(GOOD[:10], "header of 16 bytes for 3 dimensions, got 10", id="truncated header"),
        pytest.param(GOOD[:-1], "truncated: expected 24 bytes.*got 23", id="truncated values"),
        pytest.param(GOOD + b"\x00", "trailing bytes: expected 24 bytes.*got 25", id="trailing bytes"),
        pytest.param(gzip.compress(GOOD)[:-12], "damaged gzip", id="truncated gzip"),
        pytest.param(gzip.compress(GOOD)[:12] + b"\xff" * 20, "damaged gzip", id="damaged gzip"),
        pytest.param(gzip.compress(GOOD)[:-8] + bytes(8), "damaged gzip", id="gzip checksum"),
        pytest.param(
            bytes([0, 0, 8, 3]) + b"\xff" * 12, "truncated: expected 79228162458924105385300197375", id="huge"
        ),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, data: bytes, message: str):
    file = tmp_path / "images.gz"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=f"images.gz: .*{message}"):
        read_idx(file)


def test_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        read_idx(tmp_path / "nothing-here")
