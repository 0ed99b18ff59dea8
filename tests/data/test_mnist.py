import gc
import gzip
import hashlib
import http.server
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from rotfast.data import _files, load_mnist, mnist

# requests leaves the socket of a failed download to the garbage collector; `mirrors` collects it afterwards.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

NAMES = [stem for stems in mnist._STEMS.values() for stem in stems]


def tiny_files() -> dict[str, bytes]:
    """Raw IDX content of a two-image MNIST."""
    images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(
        i % 256 for i in range(2 * 784)
    )
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 2])
    return {name: images if "images" in name else labels for name in NAMES}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Files by name, .gz and raw, whose checksums count as the official ones; the cache is empty."""
    files = tiny_files()
    files |= {name + ".gz": gzip.compress(data, mtime=0) for name, data in files.items()}
    monkeypatch.setattr(
        mnist, "_SHA256", {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    )
    monkeypatch.delenv("ROTFAST_DATA", raising=False)
    monkeypatch.setattr(_files, "cache", lambda: tmp_path / "cache")
    return files


def put(folder: Path, files: dict[str, bytes], ending: str) -> None:
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / (name + ending)).write_bytes(files[name + ending])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("ending", [".gz", ""], ids=["gz", "raw"])
@pytest.mark.parametrize("layout", ["mnist", ".", "MNIST/raw"])
def test_layouts(tmp_path, tiny, layout, ending, split):
    root = tmp_path / "data"
    put(root / layout, tiny, ending)
    images, labels = load_mnist(root, split, download=False)
    assert images.shape == (2, 28, 28)
    assert images.dtype == torch.uint8
    assert images[0, 0, :3].tolist() == [0, 1, 2]
    assert labels.dtype == torch.int64
    assert labels.tolist() == [7, 2]


def test_environment_variable(tmp_path, tiny, monkeypatch):
    put(tmp_path / "data" / "mnist", tiny, ".gz")
    monkeypatch.setenv("ROTFAST_DATA", str(tmp_path / "data"))
    assert load_mnist(download=False)[1].tolist() == [7, 2]


def test_unknown_split():
    with pytest.raises(ValueError, match=r"split must be one of \['test', 'train'\], got 'validation'"):
        load_mnist(split="validation")


@pytest.mark.parametrize("ending", [".gz", ""], ids=["gz", "raw"])
def test_wrong_checksum_names_the_file(tmp_path, tiny, ending):
    put(tmp_path / "data", tiny, ending)
    file = tmp_path / "data" / f"t10k-labels-idx1-ubyte{ending}"
    file.write_bytes(file.read_bytes()[:-1] + b"\x09")
    with pytest.raises(ValueError, match=f"t10k-labels-idx1-ubyte{ending}: expected sha256 .*, got "):
        load_mnist(tmp_path / "data", "test", download=False)


def test_missing_without_download_says_where_it_looked(tmp_path, tiny):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.gz not found; looked in .*data"):
        load_mnist(tmp_path / "data", download=False)


def test_download_needs_pooch(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"train-images.*needs pooch: pip install 'rotfast\[recipes\]'"):
        load_mnist(tmp_path / "data")


Answer = Callable[[str, bytes], tuple[int, bytes]]


@pytest.fixture
def mirrors(tiny, monkeypatch) -> Iterator[Callable[..., list[str]]]:
    """Start one local server per given behaviour, as the mirrors; returns the list of requested paths."""
    servers: list[http.server.ThreadingHTTPServer] = []
    requested: list[str] = []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def start(*answers: Answer) -> list[str]:
        for answer in answers:

            class Handler(http.server.BaseHTTPRequestHandler):
                behave = staticmethod(answer)

                def do_GET(self) -> None:
                    requested.append(self.path)
                    whole = tiny[os.path.basename(self.path)]
                    status, body = self.behave(self.path, whole)
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(whole)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *args: object) -> None:
                    pass

            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            servers.append(server)
        monkeypatch.setattr(mnist, "_MIRRORS", [f"http://127.0.0.1:{s.server_port}/" for s in servers])
        return requested

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def whole(path: str, data: bytes) -> tuple[int, bytes]:
    return 200, data


def half(path: str, data: bytes) -> tuple[int, bytes]:
    return 200, data[: len(data) // 2]


def wrong(path: str, data: bytes) -> tuple[int, bytes]:
    return 200, bytes(len(data))


def absent(path: str, data: bytes) -> tuple[int, bytes]:
    return 404, b""


def files_under(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_download_to_the_cache_happens_once(tmp_path, mirrors):
    requested = mirrors(whole)
    assert load_mnist()[1].tolist() == [7, 2]
    assert load_mnist(download=False)[1].tolist() == [7, 2]
    assert requested == ["/train-images-idx3-ubyte.gz", "/train-labels-idx1-ubyte.gz"]
    assert files_under(tmp_path / "cache" / "mnist") == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]


def test_download_to_the_given_root(tmp_path, mirrors):
    mirrors(whole)
    load_mnist(tmp_path / "data", "test")
    assert files_under(tmp_path / "data" / "mnist") == [
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]


@pytest.mark.parametrize("first", [half, wrong, absent])
def test_second_mirror_helps_out(mirrors, first):
    mirrors(first, whole)
    assert load_mnist()[1].tolist() == [7, 2]


@pytest.mark.parametrize("behaviour", [half, absent])
def test_broken_download_leaves_no_file(tmp_path, mirrors, behaviour):
    mirrors(behaviour)
    with pytest.raises(ConnectionError, match=r"could not download train-images-idx3-ubyte.gz: http://127"):
        load_mnist()
    assert files_under(tmp_path) == []


def test_download_with_wrong_checksum_leaves_no_file(tmp_path, mirrors):
    mirrors(wrong)
    with pytest.raises(ValueError, match=r"could not download train-images-idx3-ubyte.gz.*hash"):
        load_mnist()
    assert files_under(tmp_path) == []


def test_interrupted_download_leaves_no_file(tmp_path, tiny, monkeypatch):
    def interrupted(self: object, url: str, output: str, *args: object) -> None:
        Path(output).write_bytes(tiny["train-images-idx3-ubyte.gz"][:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_mnist()
    assert files_under(tmp_path) == []


@pytest.mark.skipif("ROTFAST_DATA" not in os.environ, reason="ROTFAST_DATA does not name a folder with MNIST")
@pytest.mark.parametrize(
    ("split", "first_labels", "per_class"),
    [
        ("train", [5, 0, 4, 1, 9], [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        ("test", [7, 2, 1, 0, 4], [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ],
)
def test_real_mnist(split, first_labels, per_class):
    images, labels = load_mnist(split=split, download=False)
    assert images.shape == (sum(per_class), 28, 28)
    assert labels[:5].tolist() == first_labels
    assert np.bincount(labels.numpy()).tolist() == per_class
    # The digit lies in the central 20x20 box up to centring by mass.
    assert images.float().mean().item() == pytest.approx(33.5, abs=0.5)
