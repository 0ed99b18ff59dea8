"""The conventions of kornia and OpenCV, each call with its own literal arguments."""

import numpy as np
import pytest
import torch

import rotfast

pytestmark = pytest.mark.peers

MATRIX = [[0.9, 0.35, -1.2], [-0.4, 1.1, 2.1]]
HOMOGRAPHY = [[0.9, 0.2, -0.5], [-0.1, 1.1, 0.4], [0.002, -0.001, 1.0]]


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(2, 3, 12, 17, dtype=torch.float64)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_kornia_rotate(x, mode) -> None:
    geometry = pytest.importorskip("kornia.geometry.transform")
    angle = torch.tensor([20.0, -100.0], dtype=torch.float64)
    expected = geometry.rotate(x, angle, mode=mode, padding_mode="zeros", align_corners=True)
    torch.testing.assert_close(rotfast.rotate(x, angle, interpolation=mode), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("padding_mode", "theirs"), [("constant", "zeros"), ("border", "border"), ("reflection", "reflection")]
)
def test_kornia_warp_affine(x, padding_mode, theirs) -> None:
    geometry = pytest.importorskip("kornia.geometry.transform")
    matrix = torch.tensor([MATRIX, MATRIX], dtype=torch.float64)
    expected = geometry.warp_affine(
        x, matrix, dsize=(12, 17), mode="bilinear", padding_mode=theirs, align_corners=True
    )
    actual = rotfast.affine(x, matrix=matrix, padding_mode=padding_mode)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)


def test_kornia_warp_perspective(x) -> None:
    geometry = pytest.importorskip("kornia.geometry.transform")
    matrix = torch.tensor([HOMOGRAPHY, HOMOGRAPHY], dtype=torch.float64)
    expected = geometry.warp_perspective(x, matrix, dsize=(12, 17), mode="bilinear", align_corners=True)
    torch.testing.assert_close(rotfast.perspective(x, matrix), expected, rtol=0, atol=1e-9)


def test_opencv_rotation() -> None:
    """OpenCV quantises positions to 1/32 of a pixel: a smooth image, a coarse tolerance, a literal sign."""
    cv2 = pytest.importorskip("cv2")
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 20), torch.linspace(0, 1, 31), indexing="ij")
    x = rows + columns.square()
    matrix = cv2.getRotationMatrix2D((15.0, 9.5), 25.0, 1.0)
    expected = cv2.warpAffine(
        x.numpy(), matrix, (31, 20), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    actual = rotfast.rotate(x, 25.0, center=(15.0, 9.5), padding_mode="reflection")
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=0, atol=5e-3)


def test_opencv_warp_affine() -> None:
    cv2 = pytest.importorskip("cv2")
    x = torch.linspace(0, 1, 20 * 31).reshape(20, 31)
    expected = cv2.warpAffine(
        x.numpy(), np.array(MATRIX), (31, 20), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    actual = rotfast.affine(x, matrix=torch.tensor(MATRIX, dtype=torch.float64), padding_mode="border")
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=0, atol=5e-3)


def test_opencv_warp_perspective() -> None:
    cv2 = pytest.importorskip("cv2")
    x = torch.linspace(0, 1, 20 * 31).reshape(20, 31)
    expected = cv2.warpPerspective(
        x.numpy(), np.array(HOMOGRAPHY), (31, 20), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    matrix = torch.tensor(HOMOGRAPHY, dtype=torch.float64)
    actual = rotfast.perspective(x, matrix, padding_mode="border")
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=0, atol=5e-3)
