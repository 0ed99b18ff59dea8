import math

import pytest
import torch

from rotfast.data import steered_bank
from rotfast.data.steering import _scaled_basis, flip_action, rotation_action

FLIPS = pytest.mark.parametrize("flips", [False, True], ids=["rotations", "rotations and flips"])


def bank(flips: bool, fields: int = 3) -> torch.Tensor:
    coefficients = torch.randn(fields, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return steered_bank(coefficients, flips)


def rows(filters: torch.Tensor) -> torch.Tensor:
    return filters.flatten(0, 1).flatten(1)


@FLIPS
def test_quarter_turns_and_flips_are_exact(flips):
    filters = bank(flips)
    assert filters.shape == (3, 16 if flips else 8, 3, 3)
    for start in (0, 8) if flips else (0,):
        for k in range(8):
            turned = filters[:, start + k].rot90(1, (-2, -1))
            assert torch.equal(filters[:, start + (k + 2) % 8], turned)
    if flips:
        for k in range(8):
            assert torch.equal(filters[:, 8 + (-k) % 8], filters[:, k].flip(-1))


def test_every_orientation_is_the_turned_filter_sampled_analytically():
    coefficients = torch.randn(6, dtype=torch.float64)
    filters = steered_bank(coefficients)
    for k in range(8):
        expected = torch.einsum("b,bij->ij", coefficients, _scaled_basis(45.0 * k, 8))
        torch.testing.assert_close(filters[k], expected, rtol=0, atol=1e-15)


def test_orientation_is_counter_clockwise():
    """The cos harmonic of frequency 1 points to the right, then to the upper right, then up."""
    filters = steered_bank(torch.tensor([0.0, 0, 1, 0, 0, 0]))
    edge, corner = filters[0, 1, 2], filters[1, 0, 2]
    assert edge > 0
    assert (corner / edge).item() == pytest.approx(math.exp(-0.5 * ((math.sqrt(2) - 1) / 0.4) ** 2))
    assert filters[2, 0, 1] == edge
    assert filters[0, 1, 0].item() == pytest.approx(-edge.item())


@pytest.mark.parametrize(("flips", "energy"), [(False, 5 / 8), (True, 9 / 16)])
def test_expected_energy(flips, energy):
    basis = steered_bank(torch.eye(6, dtype=torch.float64), flips)
    assert basis.square().sum().item() / basis.shape[1] == pytest.approx(energy)


@FLIPS
def test_rotation_action(flips):
    weight = rows(bank(flips))
    action = rotation_action(3, flips)
    torch.testing.assert_close(weight @ action.taps.T, action.channels.T @ weight, rtol=0, atol=1e-14)
    assert torch.equal(action.channels.sum(0), torch.ones(len(weight), dtype=torch.float64))
    assert torch.equal(
        torch.linalg.matrix_power(action.channels, 8), torch.eye(len(weight), dtype=torch.float64)
    )
    half = torch.linalg.matrix_power(action.taps, 4)
    torch.testing.assert_close(weight @ half.T, weight.flip(-1), rtol=0, atol=1e-14)


def test_flip_action():
    weight = rows(bank(flips=True))
    action = flip_action(3)
    assert torch.equal(weight @ action.taps.T, action.channels.T @ weight)


@FLIPS
def test_convolution_is_equivariant_to_quarter_turns(flips):
    """Turning the input turns the output and moves every orientation on by two."""
    filters = bank(flips).flatten(0, 1).unsqueeze(1)
    x = torch.randn(2, 1, 9, 9, dtype=torch.float64)
    y = torch.nn.functional.conv2d(x, filters)
    turned = torch.nn.functional.conv2d(x.rot90(1, (-2, -1)), filters)
    channels = torch.linalg.matrix_power(rotation_action(3, flips).channels, 2)
    expected = torch.einsum("pc,nchw->nphw", channels, y.rot90(1, (-2, -1)))
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-13)


def test_convolution_is_equivariant_to_flips():
    filters = bank(flips=True).flatten(0, 1).unsqueeze(1)
    x = torch.randn(2, 1, 9, 9, dtype=torch.float64)
    y = torch.nn.functional.conv2d(x, filters)
    mirrored = torch.nn.functional.conv2d(x.flip(-1), filters)
    expected = torch.einsum("pc,nchw->nphw", flip_action(3).channels, y.flip(-1))
    torch.testing.assert_close(mirrored, expected, rtol=0, atol=1e-13)


def test_bad_input():
    with pytest.raises(ValueError, match=r"coefficients must be \(..., 6\), got shape \(3, 5\)"):
        steered_bank(torch.zeros(3, 5))
