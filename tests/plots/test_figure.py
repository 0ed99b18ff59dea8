import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from rotfast.plots import plot_images_per_angle
from rotfast.plots._figure import tile

COUNTS = {0.0: 3, 9.0: 4}


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.SVG", b"<?xml")])
def test_the_suffix_chooses_the_format(tmp_path, name, start):
    path = tmp_path / "figures" / name
    plot_images_per_angle(COUNTS, path)
    assert path.read_bytes().startswith(start)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a", "a.xyz"])
def test_an_unknown_format_writes_nothing(tmp_path, name):
    with pytest.raises(ValueError, match=rf"path: expected a file name ending in .*png.*{name}"):
        plot_images_per_angle(COUNTS, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(self, *args, **kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", fail)
        with pytest.raises(OSError, match="disk full"):
            plot_images_per_angle(COUNTS, path)
    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", fail)
        with pytest.raises(OSError, match="disk full"):
            plot_images_per_angle(COUNTS, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_pyplot_is_not_touched():
    code = "import sys, rotfast.plots as p; p.plot_images_per_angle({0: 1}); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "matplotlib.pyplot" not in result.stdout.split()


def test_tiles_are_laid_row_by_row():
    tiles = np.arange(3 * 24 * 24, dtype=float).reshape(3, 24, 24)
    mosaic, x, y = tile(tiles, 2)
    assert mosaic.shape == (50, 50)
    np.testing.assert_array_equal(mosaic[:24, 26:], tiles[1])
    np.testing.assert_array_equal(mosaic[26:, :24], tiles[2])
    assert np.isnan(mosaic[24:26]).all()
    assert np.isnan(mosaic[26:, 26:]).all()
    assert (x.tolist(), y.tolist()) == ([11.5, 37.5], [11.5, 37.5])
