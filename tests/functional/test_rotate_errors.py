"""What rotate refuses; affine and perspective share these checks."""

import math

import pytest
import torch

import rotfast


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([1.0], TypeError, r"^x must be a Tensor, got list$"),
        (torch.zeros(4, 4, dtype=torch.int64), TypeError,
         r"^x must be uint8, float16, bfloat16, float32 or float64, got torch\.int64$"),
        (torch.zeros(4, 4, dtype=torch.bool), TypeError, r"^x must be uint8, .*, got torch\.bool$"),
        (torch.zeros(4, 4, dtype=torch.complex64), TypeError, r"^x must be .*, got torch\.complex64$"),
        (torch.zeros(4), ValueError,
         r"^x must be \(H, W\), \(C, H, W\), \(N, C, H, W\), \(T, N, C, H, W\), got shape \(4,\)$"),
        (torch.zeros(2, 0, 3), ValueError,
         r"^x must have at least one channel, row and column, got shape \(2, 0, 3\)$"),
        (torch.zeros(2, 0, 3, 3), ValueError, r"^x must have at least one channel.*\(2, 0, 3, 3\)$"),
    ],
    ids=["list", "int64", "bool", "complex", "1-d", "no-row", "no-channel"],
)  # fmt: skip
def test_images(x, error, message) -> None:
    with pytest.raises(error, match=message):
        rotfast.rotate(x, 30.0)


@pytest.mark.parametrize(
    ("shape", "angle", "error", "message"),
    [
        ((3, 1, 4, 4), "30", TypeError, r"^angle must be a number or a Tensor, got str$"),
        ((3, 1, 4, 4), [1.0, 2.0, 3.0], TypeError, r"^angle must be a number or a Tensor, got list$"),
        ((3, 1, 4, 4), torch.rand(4), ValueError,
         r"^angle must be a number or of shape \(3,\) or \(3, K\), got shape \(4,\)$"),
        ((3, 1, 4, 4), torch.rand(4, 3), ValueError, r"^angle must be .*, got shape \(4, 3\)$"),
        ((3, 1, 4, 4), torch.rand(3, 1, 1), ValueError, r"^angle must be .*, got shape \(3, 1, 1\)$"),
        ((1, 4, 4), torch.rand(1, 2), ValueError,
         r"^angle must be a number or of shape \(K,\), got shape \(1, 2\)$"),
        ((2, 3, 1, 4, 4), torch.rand(2), ValueError,
         r"^angle must be a number or of shape \(3,\) or \(2, 3\) or \(2, 3, K\), got shape \(2,\)$"),
        ((3, 1, 4, 4), torch.tensor([True, False, True]), TypeError,
         r"^angle must hold real numbers, got torch\.bool$"),
        ((3, 1, 4, 4), math.nan, ValueError, r"^angle must be finite, got nan$"),
        ((3, 1, 4, 4), -math.inf, ValueError, r"^angle must be finite, got -inf$"),
        ((3, 1, 4, 4), torch.tensor([0.0, math.nan, 0.0]), ValueError,
         r"^angle must be finite, got nan or inf$"),
        ((3, 1, 4, 4), torch.tensor([math.inf, 0.0, -math.inf]), ValueError, r"^angle must be finite"),
        ((3, 1, 4, 4), torch.rand(3, device="meta"), ValueError,
         r"^angle must be on the device of x \(cpu\), got meta$"),
    ],
    ids=["str", "list", "length", "transposed", "3-d", "one-image", "tasks", "bool", "nan", "inf",
         "nan-tensor", "inf-tensor", "device"],
)  # fmt: skip
def test_angles(shape, angle, error, message) -> None:
    with pytest.raises(error, match=message):
        rotfast.rotate(torch.rand(shape), angle)


def test_large_finite_angles_are_no_error() -> None:
    angle = torch.tensor([1e308, 1e308, -1e300], dtype=torch.float64)
    assert rotfast.rotate(torch.rand(3, 1, 4, 4), angle).isfinite().all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"interpolation": "cubic"}, ValueError,
         r"^interpolation must be one of nearest, bilinear, bicubic, got 'cubic'$"),
        ({"padding_mode": "zeros"}, ValueError,
         r"^padding_mode must be one of constant, border, reflection, got 'zeros'$"),
        ({"fill": [1.0, 2.0]}, ValueError,
         r"^fill must be a number or 3, one per channel, got \[1\.0, 2\.0\]$"),
        ({"fill": torch.rand(4)}, ValueError,
         r"^fill must be a number or 3, one per channel, got shape \(4,\)$"),
        ({"fill": torch.rand(3, requires_grad=True)}, TypeError, r"^fill must not require grad"),
        ({"fill": "red"}, TypeError, r"^fill must be a number or 3, one per channel, got str$"),
        ({"fill": "white"}, ValueError, r"^fill must be a number or 3, one per channel, got 'white'$"),
        ({"mean": [0.5], "std": 1}, ValueError, r"^mean must be a number or 3, .*, got \[0\.5\]$"),
        ({"mean": 0.5, "std": [1, 1]}, ValueError, r"^std must be a number or 3, .*, got \[1, 1\]$"),
        ({"mean": 0.5, "std": [1, 0, 1]}, ValueError, r"^std must be positive, got \[1, 0, 1\]$"),
        ({"std": torch.tensor([1, -2, 1])}, ValueError, r"^std must be positive, got \[1, -2, 1\]$"),
        ({"center": (1, 2, 3)}, ValueError,
         r"^center must be a pair of numbers or a Tensor, got \(1, 2, 3\)$"),
        ({"center": 2.0}, ValueError, r"^center must be a pair of numbers or a Tensor, got 2\.0$"),
        ({"center": (1, "a")}, TypeError, r"^center must be a pair of numbers or a Tensor, got str$"),
        ({"center": (1, math.nan)}, ValueError, r"^center must be finite, got nan$"),
        ({"center": torch.rand(4, 2)}, ValueError,
         r"^center must be of shape \(2,\) or \(3, 2\) or \(3, K, 2\), got shape \(4, 2\)$"),
        ({"center": torch.rand(3, 3, 2)}, ValueError,
         r"^center must have the 4 values per image of angle, got 3$"),
        ({"center": (1, 2), "expand": True}, ValueError,
         r"^center must be None with expand=True, got \(1, 2\)$"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_options(options, error, message) -> None:
    with pytest.raises(error, match=message):
        rotfast.rotate(torch.rand(3, 3, 4, 4), torch.rand(3, 4), **options)


def test_bytes_have_no_gradient() -> None:
    x = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    angle = torch.rand(3, requires_grad=True)
    message = r"^x must be floating point, or have mean and std, if angle requires grad, got uint8$"
    with pytest.raises(TypeError, match=message):
        rotfast.rotate(x, angle)
    with torch.no_grad():
        assert rotfast.rotate(x, angle).dtype == torch.uint8


def test_bytes_hold_no_nan() -> None:
    x = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"^fill must be finite for uint8 images, got \[nan\]$"):
        rotfast.rotate(x, 30.0, fill=math.nan)
    assert rotfast.rotate(x, 45.0, fill=math.nan, mean=0.0).isnan().any()


def test_vmapped_angles_leave_the_canvas_unknown() -> None:
    x = torch.rand(4, 4)
    with pytest.raises(ValueError, match=r"^expand must be False where the map is vmapped, got True$"):
        torch.vmap(lambda angle: rotfast.rotate(x, angle, expand=True))(torch.rand(3))
