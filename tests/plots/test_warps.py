import numpy as np
import pytest
import torch
from torch import nn

import rotfast
from rotfast.models import SingleCircuit
from rotfast.plots import plot_group_action, visualize_warps


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def test_the_three_warps_of_a_convolution():
    layer = rotfast.ShareConv2d(2, 4, 3)
    figure = visualize_warps(layer)
    assert titles(figure) == ["A_warp (4, 4)", "B_warp (2, 2)", "C_warp (9, 9)"]
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), np.eye(9))
    assert {axes.images[0].get_clim() for axes in figure.axes[:3]} == {(-1, 1)}


def test_sigmoid_warps_are_shown_as_they_act():
    layer = rotfast.ShareConv2d(1, 4, 3, sigmoid=True)
    shown = visualize_warps(layer).axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, layer.get_warps()[0].detach(), rtol=1e-6)


def test_columns_of_a_dense_warp_become_weight_matrices():
    layer = rotfast.ShareLinearFull(30, 24, latent_size=2)
    figure = visualize_warps(layer)
    assert titles(figure) == ["warp: 2 columns as (out, in) = (24, 30)"]
    mosaic = figure.axes[0].images[0].get_array()
    for column, left in enumerate((0, 32)):
        expected = layer.warp[:, column].reshape(24, 30).detach()
        np.testing.assert_allclose(mosaic[:, left : left + 30], expected)


def test_other_layers():
    model = nn.Sequential(
        rotfast.ShareConv2dFull(1, 4, 3, latent_size=40),
        rotfast.ShareLinear(4, 3),
        rotfast.Identity1x1Conv(5),
    )
    assert titles(visualize_warps(model)) == [
        "warp: first 36 of 40 columns as (out, in) = (4, 9)",
        "weight (4, 4)",
        "weight (3, 3)",
        "weight (5, 5)",
    ]


def test_what_is_too_large_is_named():
    figure = visualize_warps(SingleCircuit())
    assert [text.get_text() for text in figure.texts] == ["Too large to draw: 3.warp (216320, 3)"]


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.Conv2d(1, 1, 1), rotfast.ShareLinearFull(1000, 2)])
def test_nothing_to_draw(model):
    with pytest.raises(ValueError, match=f"model: .*at most 512 .*, got none in {type(model).__name__}"):
        visualize_warps(model)


def test_warps_that_are_not_finite():
    layer = rotfast.ShareConv2d(1, 2, 3)
    with torch.no_grad():
        layer.A_warp[0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"model: A_warp of layer '0': .* 1 of 4 "):
        visualize_warps(nn.Sequential(layer))


def test_group_action_stands_beside_the_learned_one():
    true = torch.eye(6).roll(1, dims=0)
    learned, right = plot_group_action(0.4 * true, true, title="turn").axes[:2]
    np.testing.assert_array_equal(right.images[0].get_array(), true)
    assert learned.images[0].get_clim() == pytest.approx((-0.4, 0.4))


@pytest.mark.parametrize(
    ("learned", "true", "message"),
    [
        (torch.eye(3), torch.eye(4), r"learned and true: expected equal shapes, got \(3, 3\) and \(4, 4\)"),
        (torch.ones(3), torch.eye(3), r"learned: expected a matrix .*\(3,\)"),
        (torch.eye(3), torch.empty(0, 0), r"true: expected a matrix .*\(0, 0\)"),
        (torch.eye(3) * float("nan"), torch.eye(3), "learned: expected finite values, got 9 of 9"),
    ],
)
def test_bad_group_actions(learned, true, message):
    with pytest.raises(ValueError, match=message):
        plot_group_action(learned, true)
