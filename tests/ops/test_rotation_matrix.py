"""rotation_matrix: kernel and reference against the formula, exactness, derivatives, compile."""

import math

import pytest
import torch
from torch import Tensor

from rotfast import backend, ops, reference
from rotfast.testing import check_derivatives, check_vmap

kernels = pytest.mark.skipif(backend.why_not_compiled() is not None, reason="needs the compiled kernels")
both = pytest.mark.parametrize(
    "function", [ops.rotation_matrix, reference.rotation_matrix], ids=["ops", "reference"]
)
SOURCE, TARGET = (13.5, 9.0), (20.0, -3.25)


def formula(degrees: float) -> list[list[float]]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    (u, v), (x, y) = SOURCE, TARGET
    return [[cos, -sin, u - cos * x + sin * y], [sin, cos, v - sin * x - cos * y]]


@pytest.mark.parametrize(
    "function", [ops.rotation_matrix, reference.rotation_matrix], ids=["ops", "reference"]
)
@pytest.mark.parametrize("shape", [(), (1,), (721,), (7, 103), (0,), (2, 0)], ids=str)
def test_formula(shape: tuple[int, ...], function) -> None:
    angle = torch.linspace(-360, 360, math.prod(shape), dtype=torch.float64).reshape(shape)
    angle = angle + 0.3 * (angle % 45 != 0)
    expected = torch.tensor([formula(a) for a in angle.flatten().tolist()], dtype=torch.float64)
    actual = function(angle, SOURCE, TARGET)
    torch.testing.assert_close(actual, expected.reshape(*shape, 2, 3), rtol=0, atol=2e-14)


@pytest.mark.parametrize(
    "function", [ops.rotation_matrix, reference.rotation_matrix], ids=["ops", "reference"]
)
def test_multiples_of_90_are_exact(function) -> None:
    angle = 90.0 * torch.arange(-1001, 1001, dtype=torch.float64)
    middle = (3.5, 3.5)
    for turn, matrix in zip((angle / 90).tolist(), function(angle, middle, middle).tolist(), strict=True):
        quarters = [
            [[1, 0, 0], [0, 1, 0]],
            [[0, -1, 7], [1, 0, 0]],
            [[-1, 0, 7], [0, -1, 7]],
            [[0, 1, 0], [-1, 0, 7]],
        ]
        assert matrix == quarters[int(turn) % 4]


@pytest.mark.parametrize(
    "function", [ops.rotation_matrix, reference.rotation_matrix], ids=["ops", "reference"]
)
def test_angles_that_are_not_finite(function) -> None:
    angle = torch.tensor([math.nan, math.inf, -math.inf], dtype=torch.float64)
    assert function(angle, SOURCE, TARGET).isnan()[:, :, :2].all()


def test_strided_angles() -> None:
    angle = torch.rand(5, 3, dtype=torch.float64).T
    assert torch.equal(
        ops.rotation_matrix(angle, SOURCE, TARGET), ops.rotation_matrix(angle.contiguous(), SOURCE, TARGET)
    )


def test_derivatives_and_vmap() -> None:
    angle = torch.tensor([17.0, 90.0, -200.0], dtype=torch.float64)

    def matrix(angle: Tensor) -> Tensor:
        return ops.rotation_matrix(angle, SOURCE, TARGET)

    check_derivatives(matrix, [angle])
    check_vmap(matrix, [angle])


@kernels
def test_opcheck() -> None:
    for shape in ((), (4,), (2, 3)):
        args = (torch.rand(shape, dtype=torch.float64), 1.0, 2.0, 3.0, 4.0)
        torch.library.opcheck(torch.ops.rotfast.rotation_matrix.default, args,
                              test_utils=("test_schema", "test_faketensor"))  # fmt: skip


@kernels
def test_other_dtypes_are_refused() -> None:
    with pytest.raises(RuntimeError, match="angle must be float64"):
        torch.ops.rotfast.rotation_matrix(torch.rand(3), 0.0, 0.0, 0.0, 0.0)
