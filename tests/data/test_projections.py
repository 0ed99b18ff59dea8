"""Projections and profiles of hand-drawn images, and the threshold between black and white."""

import pytest
import torch

from rotfast.data import binarise, projection_features

DRAWN = """
. . # # .
. # . . .
. . . . .
# # # # #
"""


def drawing(text):
    rows = [[float(mark == "#") for mark in line.split()] for line in text.strip().splitlines()]
    return torch.tensor(rows)[None]


def parts(features, height, width):
    return [part.int().tolist() for part in features[0].split([width, height, height, height])]


def test_features_of_a_drawing():
    columns, rows, left, right = parts(projection_features(drawing(DRAWN)), 4, 5)
    assert columns == [1, 2, 2, 2, 1]
    assert rows == [2, 1, 0, 5]
    assert left == [2, 1, 0, 0]
    assert right == [1, 3, 0, 0]


def test_mirror_image_swaps_the_profiles():
    image = drawing(DRAWN)
    columns, rows, left, right = parts(projection_features(image), 4, 5)
    assert parts(projection_features(image.flip(-1)), 4, 5) == [columns[::-1], rows, right, left]


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 1, 28, 28), (0, 28, 28)], ids=str)
def test_112_features_of_a_digit(shape):
    assert projection_features(torch.zeros(shape, dtype=torch.uint8)).shape == (shape[0], 112)


def test_wide_images_do_not_overflow():
    image = torch.zeros(1, 1, 1000, dtype=torch.uint8)
    image[..., 700] = 255
    features = projection_features(image)
    assert (features[0, 700], features[0, 1001], features[0, 1002]) == (255, 700, 299)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_pixels_from_34_on_are_lit(dtype):
    grey = torch.arange(256, dtype=torch.uint8)
    white = binarise(grey if dtype == torch.uint8 else grey.to(dtype) / 255)
    assert white.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    assert torch.equal(white.bool(), grey >= 34)


def test_wrong_images():
    with pytest.raises(
        ValueError, match=r"images must be \(N, H, W\) or \(N, 1, H, W\), got shape \(28, 28\)"
    ):
        projection_features(torch.zeros(28, 28))
    with pytest.raises(TypeError, match="images must be uint8 or floating point, got "):
        projection_features(torch.zeros(1, 28, 28, dtype=torch.int64))
    with pytest.raises(TypeError, match="images must be uint8 or floating point, got "):
        binarise(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="std must be positive, got 0"):
        binarise(torch.zeros(2), std=0)
