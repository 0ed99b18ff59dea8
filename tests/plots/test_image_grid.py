import numpy as np
import pytest
import torch
from PIL import Image

from rotfast.plots import plot_image_grid, save_animation


def test_images_stand_in_rows_and_columns():
    images = torch.zeros(2, 3, 4, 4)
    images[1, 2] = 1
    figure = plot_image_grid(images, row_names=["a", "b"], column_names=["x", "y", "z"], title="title")
    sheet = figure.axes[0].get_images()[0].get_array().filled(np.nan)
    assert sheet.shape == (2 * 4 + 1, 3 * 4 + 2)
    assert (sheet[5:, 10:] == 1).all()
    assert np.nansum(sheet) == 16
    assert np.isnan(sheet[4]).all()


def test_values_outside_are_cut_off():
    figure = plot_image_grid(torch.tensor([[[[-1.0, 2.0]]]]))
    assert figure.axes[0].get_images()[0].get_array().tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"images": torch.zeros(2, 3, 4)}, r"images: expected \(R, C, H, W\), got shape \(2, 3, 4\)"),
        ({"images": torch.full((1, 1, 2, 2), torch.nan)}, "images: expected finite values, got 4 of 4"),
        ({"images": torch.zeros(2, 1, 2, 2), "row_names": ["a"]}, "row_names: expected 2, got 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        plot_image_grid(**arguments)


def test_a_film_runs_to_and_fro(tmp_path):
    frames = torch.linspace(0, 1, 4).reshape(4, 1, 1, 1).expand(4, 2, 12, 12)
    path = save_animation(frames, tmp_path / "film.gif", seconds=0.05)
    with Image.open(path) as film:
        assert film.n_frames == 6
        assert film.info["duration"] == 50
        greys = []
        for index in range(6):
            film.seek(index)
            greys.append(film.convert("L").getpixel((5, 5)))
    assert greys == pytest.approx([255, 170, 85, 0, 85, 170], abs=2)
    assert not list(tmp_path.glob(".*"))


def test_a_film_is_a_gif(tmp_path):
    with pytest.raises(ValueError, match=r"path: expected a file name ending in .gif, got '.*film.png'"):
        save_animation(torch.zeros(2, 1, 4, 4), tmp_path / "film.png")
