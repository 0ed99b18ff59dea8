"""Reader of the IDX format, in which MNIST is distributed, with numpy only."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["parse_idx", "read_idx"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[np.generic]:
    """Read one IDX file, plain or gzip-compressed (told apart by content, not by name).

    Args:
        path: the file.

    Returns:
        Array with the file's dimensions in native byte order; uint8 (N, 28, 28) for MNIST's images.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, truncated or no IDX file; the message names it.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp(), "labels")
        >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> read_idx(file)
        array([7, 2, 1], dtype=uint8)
    """
    return parse_idx(Path(path).read_bytes(), os.fspath(path))


def parse_idx(data: bytes, name: str) -> npt.NDArray[np.generic]:
    """Decode the bytes of one IDX file, plain or gzip-compressed.

    Layout: two zero bytes, a type code, the number of dimensions, one big-endian uint32 per dimension,
    then the values row-major and big-endian.

    Args:
        data: the whole file.
        name: what error messages call it.

    Returns:
        Array with the file's dimensions in native byte order.

    Raises:
        ValueError: damaged gzip stream, wrong magic number, unknown type code, truncated header or values,
            or bytes after the values.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 5, 6]), "tiny")
        array([[5, 6]], dtype=uint8)
    """
    if data.startswith(_GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{name}: damaged gzip file: {error}") from error
    if len(data) < 4:
        raise ValueError(f"{name}: expected an IDX header of at least 4 bytes, got {len(data)} bytes")
    zero, code, dims = struct.unpack(">HBB", data[:4])
    if zero != 0 or code not in _TYPES:
        raise ValueError(
            f"{name}: expected an IDX magic number (two zero bytes, then a type code among "
            f"{', '.join(f'{known:#04x}' for known in _TYPES)}), got {data[:4].hex(' ')}"
        )
    header = 4 + 4 * dims
    if len(data) < header:
        raise ValueError(
            f"{name}: expected a header of {header} bytes for {dims} dimensions, got {len(data)}"
        )
    shape = struct.unpack(f">{dims}I", data[4:header])
    dtype = np.dtype(_TYPES[code])
    expected = math.prod(shape) * dtype.itemsize
    got = len(data) - header
    if got != expected:
        fault = "truncated" if got < expected else "has trailing bytes"
        raise ValueError(f"{name}: {fault}: expected {expected} bytes of values for shape {shape}, got {got}")
    values = np.frombuffer(data, dtype, offset=header).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
