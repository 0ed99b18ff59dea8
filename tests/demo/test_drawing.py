"""Drawings laid out like MNIST: size, place, empty and extreme ones."""

import pytest
import torch

import rotfast
from rotfast.data import load_digits
from rotfast.demo.drawing import as_input, mnist_layout


def box(image, least=0.1):
    rows, columns = (image > least).nonzero(as_tuple=True)
    return rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()


@pytest.mark.parametrize(
    ("top", "left", "height", "width"), [(0, 0, 30, 12), (50, 70, 50, 30), (2, 5, 90, 90)]
)
def test_the_longer_side_is_20_pixels_in_the_middle(top, left, height, width):
    drawing = torch.zeros(112, 112)
    drawing[top : top + height, left : left + width] = 1
    first, last, start, end = box(mnist_layout(drawing))
    assert (first, last) == (4, 23)
    assert start + end == pytest.approx(27, abs=1)
    assert end - start + 1 == pytest.approx(20 * width / height, abs=2)


def test_it_is_the_centre_of_mass_that_lies_in_the_middle():
    drawing = torch.zeros(40, 40)
    drawing[5:35, 5:9] = 1
    drawing[31:35, 5:25] = 1  # an L
    image = mnist_layout(drawing)
    grid = torch.arange(28.0)
    assert float((image.sum(dim=0) * grid).sum() / image.sum()) == pytest.approx(13.5, abs=0.5)
    assert float((image.sum(dim=1) * grid).sum() / image.sum()) == pytest.approx(13.5, abs=0.5)


def test_a_lopsided_drawing_stays_inside():
    drawing = torch.zeros(200, 200)
    drawing[0:200, 0:100] = 1
    drawing[0, 0:200] = 0.2
    image = mnist_layout(drawing)
    assert image.shape == (28, 28)
    assert image.sum() > 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1)])
def test_extreme_shapes(height, width):
    image = mnist_layout(torch.ones(height, width))
    assert image.shape == (28, 28)
    assert 0 < image.max() <= 1


def test_an_empty_drawing_stays_empty():
    assert not mnist_layout(torch.full((50, 50), 0.05)).any()
    assert not as_input(torch.zeros(50, 50), 64, 30.0, True).any()


def test_a_laid_out_digit_stays_almost_where_it_is():
    pytest.importorskip("sklearn")
    images, _ = load_digits("test")
    digit = images[0].float() / 255
    again = mnist_layout(mnist_layout(digit))
    assert torch.nn.functional.l1_loss(again, mnist_layout(digit)) < 0.03


def test_the_input_is_turned_counter_clockwise_and_of_the_models_size():
    drawing = torch.zeros(112, 112)
    drawing[10:60, 20:40] = 1
    upright, turned = (as_input(drawing, 64, turn, True) for turn in (0.0, 90.0))
    assert upright.shape == turned.shape == (1, 1, 64, 64)
    torch.testing.assert_close(turned, torch.rot90(upright, dims=(2, 3)))
    torch.testing.assert_close(as_input(drawing, 64, 30.0, True), rotfast.rotate(upright, 30.0).clamp(0, 1))
