"""3x3 filter banks that are equivariant to rotations by 45 degrees, and to mirroring.

A filter is a combination of six functions of the plane, sampled on the 3x3 grid: a point at the centre, and
circular harmonics of frequency 0, 1 and 2 on a ring of radius 1 with a Gaussian profile of width 0.4. These
are the basis, the frequency cut-off and (by `steered_bank`) the generalised He scaling with which e2cnn
initialises R2Conv(trivial, regular, kernel_size=3) by default (Weiler, Cesa 2019, "General E(2)-Equivariant
Steerable CNNs", arXiv 1911.08251; He scaling: Weiler, Hamprecht, Storath 2018, arXiv 1711.07289).
The harmonics are turned analytically, so odd multiples of 45 degrees are as good as a 3x3 grid allows and
multiples of 90 are exact.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["COEFFICIENTS", "ORIENTATIONS", "GroupAction", "flip_action", "rotation_action", "steered_bank"]

ORIENTATIONS = 8
COEFFICIENTS = 6
_RING_WIDTH = 0.4


@dataclass(frozen=True)
class GroupAction:
    """How one symmetry acts on an equivariant filter bank W (channels, 9): ``W @ taps.T == channels.T @ W``.

    When the input is transformed, the output is transformed in space and its channels become
    ``channels @ y``.

    Attributes:
        taps: (9, 9) float64, action on the kernel taps in row-major order. For a rotation by 45 degrees it is
            exact on the six functions that filters are made of and zero on the three directions they cannot
            reach.
        channels: (C, C) float64 permutation matrix.
    """

    taps: Tensor
    channels: Tensor


def _basis(angle: float) -> Tensor:
    """The six functions turned counter-clockwise by an angle in degrees, ring of norm 1: (6, 3, 3)."""
    row, column = torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")
    x, y = (column - 1).double(), (1 - row).double()
    radius = torch.hypot(x, y)
    centre = (radius == 0).double()
    gauss = torch.exp(-0.5 * ((radius - 1) / _RING_WIDTH) ** 2)
    ring = gauss * (1 - centre)  # a harmonic of frequency above 0 has no value at the centre
    phase = torch.atan2(y, x) - math.radians(angle)
    ring = ring / ring.norm()
    harmonics = [ring * wave(m * phase) for m in (1, 2) for wave in (torch.cos, torch.sin)]
    return torch.stack([centre, gauss / gauss.norm(), *harmonics])


def _scaled_basis(angle: float, group_size: int) -> Tensor:
    """The basis scaled so that the filters of N(0, 1) coefficients have the variance of generalised He."""
    constant = 1 / math.sqrt(2 * group_size)
    scale = torch.tensor([constant, constant, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
    return _basis(angle) * scale.view(-1, 1, 1)


def _bank_index(flips: bool) -> Tensor:
    """Which of the 18 values of the orientations 0 and 45 degrees each tap takes: (8 or 16, 3, 3).

    Quarter turns and mirror images are permutations of these values, hence exact.
    """
    values = torch.arange(18).view(2, 3, 3)
    turned = torch.stack([values[k % 2].rot90(k // 2) for k in range(ORIENTATIONS)])
    if not flips:
        return turned
    mirrored = torch.stack([turned[-k % ORIENTATIONS].flip(-1) for k in range(ORIENTATIONS)])
    return torch.cat([turned, mirrored])


def steered_bank(coefficients: Tensor, flips: bool = False) -> Tensor:
    """Turn filters to 8 orientations, and with ``flips`` their mirror images too.

    Orientation k is the filter turned counter-clockwise by 45 k degrees: element k + 2 is torch.rot90 of
    element k, bit for bit. With flips element 8 + k is the left-right mirror image of the filter, then turned
    by 45 k degrees. N(0, 1) coefficients give filters of expected squared norm 5/8 (9/16 with flips), which
    is the output variance on N(0, 1) inputs.

    Args:
        coefficients: (..., 6) weights of: centre, constant ring, cos, sin, cos of twice, sin of twice the
            angle.
        flips: whether mirror images follow.

    Returns:
        (..., 8, 3, 3), or (..., 16, 3, 3) with flips.

    Raises:
        ValueError: the last dimension is not 6.

    Example:
        >>> bank = steered_bank(torch.randn(3, 6))
        >>> bank.shape, torch.equal(bank[:, 2], bank[:, 0].rot90(1, (-2, -1)))
        (torch.Size([3, 8, 3, 3]), True)
    """
    if coefficients.shape[-1:] != (COEFFICIENTS,):
        raise ValueError(f"coefficients must be (..., {COEFFICIENTS}), got shape {tuple(coefficients.shape)}")
    group_size = ORIENTATIONS * (2 if flips else 1)
    basis = torch.cat([_scaled_basis(angle, group_size).flatten(1) for angle in (0.0, 45.0)], dim=1)
    return (coefficients @ basis.to(coefficients))[..., _bank_index(flips).to(coefficients.device)]


def rotation_action(fields: int, flips: bool = False) -> GroupAction:
    """The action of a counter-clockwise rotation by 45 degrees on ``fields`` stacked banks.

    Args:
        fields: number of banks; channel = field * 8 + orientation (field * 16 + element with flips).
        flips: whether the banks hold mirror images.

    Returns:
        GroupAction with C = fields * 8 or fields * 16.

    Example:
        >>> action = rotation_action(fields=1)
        >>> action.channels.argmax(0)
        tensor([1, 2, 3, 4, 5, 6, 7, 0])
    """
    taps = _basis(45.0).flatten(1).T @ torch.linalg.pinv(_basis(0.0).flatten(1).T)
    shift = torch.eye(ORIENTATIONS, dtype=torch.float64).roll(1, 0)
    halves = fields * (2 if flips else 1)
    return GroupAction(taps, torch.kron(torch.eye(halves, dtype=torch.float64), shift))


def flip_action(fields: int) -> GroupAction:
    """The action of a left-right mirror image on ``fields`` stacked banks made with flips.

    Args:
        fields: number of banks; channel = field * 16 + element.

    Returns:
        GroupAction with C = fields * 16.

    Example:
        >>> flip_action(fields=1).channels.argmax(0)
        tensor([ 8, 15, 14, 13, 12, 11, 10,  9,  0,  7,  6,  5,  4,  3,  2,  1])
    """
    taps = torch.eye(9, dtype=torch.float64)[torch.arange(9).view(3, 3).flip(-1).flatten()]
    opposite = [-k % ORIENTATIONS for k in range(ORIENTATIONS)]
    target = torch.tensor([ORIENTATIONS + k for k in opposite] + opposite)
    channels = torch.eye(2 * ORIENTATIONS, dtype=torch.float64)[target]
    return GroupAction(taps, torch.kron(torch.eye(fields, dtype=torch.float64), channels))
