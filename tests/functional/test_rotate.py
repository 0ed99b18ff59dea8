"""rotate: sign, values, exactness, canvas, forms of arguments, dtypes, derivatives."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import rotfast
from rotfast.testing import assert_close, check_derivatives, check_vmap

DTYPES = [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTERPOLATIONS = ["nearest", "bilinear", "bicubic"]
PADDING_MODES = ["constant", "border", "reflection"]


def some_images(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(0, 256, shape).to(dtype)


def backwards(angle: float, target: tuple[float, float], source: tuple[float, float]):
    """Where a pixel of the turned image comes from: screen coordinates, y downwards."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))

    def position(x: int, y: int) -> tuple[float, float]:
        dx, dy = x - target[0], y - target[1]
        return source[0] + cos * dx - sin * dy, source[1] + sin * dx + cos * dy

    return position


def torchvision_rotate(x: Tensor, angle: float) -> Tensor:
    """torchvision.transforms.functional.rotate of tensors: its matrix, affine_grid and grid_sample."""
    height, width = x.shape[-2:]
    turn = math.radians(-angle)
    cos, sin = math.cos(turn), math.sin(turn)
    theta = torch.tensor([[cos, sin, 0.0], [-sin, cos, 0.0]], dtype=x.dtype)
    columns = torch.linspace(-width * 0.5 + 0.5, width * 0.5 - 0.5, width, dtype=x.dtype)
    rows = torch.linspace(-height * 0.5 + 0.5, height * 0.5 - 0.5, height, dtype=x.dtype)
    base = torch.stack(
        [columns.expand(height, width), rows[:, None].expand(height, width), torch.ones(height, width)], -1
    )
    grid = base.to(x) @ (theta.T / torch.tensor([0.5 * width, 0.5 * height], dtype=x.dtype))
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), align_corners=False)


def torchvision_size(angle: float, height: int, width: int) -> list[int]:
    """(height, width) as torchvision's _compute_affine_output_size has them."""
    turn = math.radians(-angle)
    cos, sin = math.cos(turn), math.sin(turn)
    corners = torch.tensor([[-0.5 * width, -0.5 * height], [-0.5 * width, 0.5 * height],
                            [0.5 * width, 0.5 * height], [0.5 * width, -0.5 * height]])  # fmt: skip
    points = corners @ torch.tensor([[cos, sin], [-sin, cos]]).T
    half = torch.tensor([width * 0.5, height * 0.5])
    low, high = points.min(0).values + half, points.max(0).values + half
    size = torch.ceil((high / 1e-4).trunc() * 1e-4) - torch.floor((low / 1e-4).trunc() * 1e-4)
    return size.int().tolist()[::-1]


class TestConvention:
    def test_positive_is_counter_clockwise_as_displayed(self) -> None:
        x = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
        turned = torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]])
        assert torch.equal(rotfast.rotate(x, 90), turned)

    def test_literal_45_degrees(self) -> None:
        """What is on the upper right goes to the top, from (s, s) off the centre."""
        x = torch.zeros(3, 3)
        x[0, 2] = 1
        y = rotfast.rotate(x, 45)
        assert y[0, 1].item() == pytest.approx(0.5)
        assert y[1, 0].item() == 0

    def test_centre_is_a_pixel_at_integer_coordinates(self) -> None:
        x = some_images((5, 7))
        y = rotfast.rotate(x, 180, center=(2, 1))
        assert torch.equal(y[:3, :5], x[:3, :5].flip(0, 1))
        assert not y[3:].any()
        assert not y[:, 5:].any()


class TestValues:
    @pytest.mark.parametrize("center", [None, (0.5, 2.25)], ids=["middle", "centre"])
    @pytest.mark.parametrize("padding_mode", PADDING_MODES)
    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 4), (2, 3)], ids=str)
    def test_definition(self, shape, interpolation, padding_mode, center, by_definition) -> None:
        x = torch.rand(shape, dtype=torch.float64)
        for angle in (0.0, 17.0, -120.0, 261.5):
            point = ((shape[1] - 1) / 2, (shape[0] - 1) / 2) if center is None else center
            expected = by_definition(
                x, backwards(angle, point, point), shape, interpolation, padding_mode, fill=0.3
            )
            options = {"interpolation": interpolation, "padding_mode": padding_mode, "center": center}
            assert_close(rotfast.rotate(x, angle, fill=0.3, **options), expected)
            assert_close(rotfast.rotate(x, torch.tensor([angle]), fill=0.3, **options)[0], expected)

    @pytest.mark.parametrize("shape", [(8, 8), (7, 10), (1, 5)], ids=str)
    @pytest.mark.parametrize("angle", [0.0, 12.3, -77.0, 135.0])
    def test_torchvision(self, shape, angle) -> None:
        x = torch.rand(2, 3, *shape, dtype=torch.float64)
        assert_close(rotfast.rotate(x, angle), torchvision_rotate(x, angle))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_half_types_round_once(self, dtype) -> None:
        x, angle = torch.rand(2, 1, 40, 40).to(dtype), torch.tensor([10.0, 200.0])
        assert torch.equal(rotfast.rotate(x, angle), rotfast.rotate(x.float(), angle).to(dtype))

    def test_half_types_at_large_sizes(self) -> None:
        """Coordinates near 1000 need more than the image's 11 bits."""
        x = torch.rand(1, 1, 1024, 1024).half()
        assert torch.equal(rotfast.rotate(x, 33.0), rotfast.rotate(x.float(), 33.0).half())

    def test_float32_against_float64(self) -> None:
        x, angle = torch.rand(4, 3, 64, 48), torch.tensor([0.0, 45.0, -100.0, 1e3])
        y = rotfast.rotate(x.double(), angle)
        torch.testing.assert_close(rotfast.rotate(x, angle).double(), y, rtol=0, atol=1e-5)

    def test_infinities_and_nan_reach_what_reads_them(self) -> None:
        x = torch.zeros(1, 1, 7, 7)
        x[0, 0, 3, 3] = torch.inf
        x[0, 0, 0, 0] = torch.nan
        grid = F.affine_grid(
            torch.tensor([[[math.cos(0.5), -math.sin(0.5), 0], [math.sin(0.5), math.cos(0.5), 0]]]),
            [1, 1, 7, 7],
            align_corners=True,
        )
        expected = F.grid_sample(x, grid, align_corners=True)
        actual = rotfast.rotate(x, math.degrees(0.5))
        assert torch.equal(actual.isnan(), expected.isnan())
        assert torch.equal(actual.isinf(), expected.isinf())


class TestQuarterTurns:
    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("size", [1, 2, 7, 28])
    def test_square_images(self, size, dtype, interpolation) -> None:
        x = some_images((2, 3, size, size), dtype)
        for turns in range(-4, 9):
            for angle in (90 * turns, torch.full((2,), 90.0 * turns)):
                y = rotfast.rotate(x, angle, interpolation=interpolation)
                assert torch.equal(y, x.rot90(turns, (-2, -1)))

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("shape", [(4, 7), (5, 2), (1, 6), (6, 4)], ids=str)
    def test_rectangles_with_expand(self, shape, dtype) -> None:
        x = some_images((2, 3, *shape), dtype)
        for turns in range(-4, 5):
            for angle in (90 * turns, torch.full((2,), 90.0 * turns)):
                assert torch.equal(rotfast.rotate(x, angle, expand=True), x.rot90(turns, (-2, -1)))

    @pytest.mark.parametrize("shape", [(4, 7), (1, 6)], ids=str)
    def test_half_turn_of_a_rectangle(self, shape) -> None:
        x = some_images((2, 1, *shape))
        assert torch.equal(rotfast.rotate(x, 180), x.flip(-1, -2))

    def test_rectangle_whose_grid_fits(self) -> None:
        """Of 4 × 6 pixels the middle 4 × 4 turn among themselves."""
        x = some_images((1, 1, 4, 6))
        y = rotfast.rotate(x, 90)
        assert torch.equal(y[..., 1:5], x[..., 1:5].rot90(1, (-2, -1)))
        assert not y[..., [0, 5]].any()


class TestCanvas:
    @pytest.mark.parametrize("shape", [(8, 8), (4, 7), (5, 2), (1, 6), (32, 31)], ids=str)
    def test_sizes_are_torchvisions(self, shape) -> None:
        x = torch.zeros(shape)
        for angle in [a for a in range(-365, 366, 5) if a % 90] + [0.001, 44.9, 89.99]:
            size = torchvision_size(angle, *shape)
            assert list(rotfast.rotate(x, angle, expand=True).shape) == size
            assert list(rotfast.rotate(x, torch.tensor(float(angle)), expand=True).shape) == size

    def test_image_stays_in_the_middle(self, by_definition) -> None:
        x = torch.rand(4, 7, dtype=torch.float64)
        y = rotfast.rotate(x, 30.0, expand=True)
        target = ((y.shape[1] - 1) / 2, (y.shape[0] - 1) / 2)
        assert_close(y, by_definition(x, backwards(30.0, target, (3.0, 1.5)), tuple(y.shape)))

    def test_the_canvas_holds_the_largest(self) -> None:
        x = torch.rand(3, 1, 6, 6)
        y = rotfast.rotate(x, torch.tensor([0.0, 10.0, 45.0]), expand=True)
        assert y.shape[-2:] == rotfast.rotate(x[:1], 45.0, expand=True).shape[-2:]
        assert torch.equal(y[2:], rotfast.rotate(x[2:], torch.tensor([45.0]), expand=True))


class TestForms:
    """Shapes of images and angles; (2, 3, 4) stands for T, N, K."""

    def test_one_angle_per_image(self) -> None:
        x, angle = torch.rand(3, 2, 6, 5), torch.tensor([0.0, 10.0, -200.0])
        expected = torch.stack([rotfast.rotate(image, a) for image, a in zip(x, angle, strict=True)])
        assert torch.equal(rotfast.rotate(x, angle), expected)

    def test_many_angles_per_image(self) -> None:
        x, angle = torch.rand(3, 2, 6, 5), 360 * torch.rand(3, 4)
        y = rotfast.rotate(x, angle)
        assert y.shape == (3, 4, 2, 6, 5)
        for k in range(4):
            assert torch.equal(y[:, k], rotfast.rotate(x, angle[:, k]))

    @pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)], ids=str)
    def test_tasks(self, shape) -> None:
        x, angle = torch.rand(2, 3, 1, 6, 5), 360 * torch.rand(shape)
        y = rotfast.rotate(x, angle)
        assert y.shape == (2, 3, *shape[2:], 1, 6, 5)
        for t in range(2):
            assert torch.equal(y[t], rotfast.rotate(x[t], angle[t] if len(shape) > 1 else angle))

    @pytest.mark.parametrize("shape", [(6, 5), (2, 6, 5)], ids=str)
    def test_single_images(self, shape) -> None:
        x, angle = torch.rand(shape), 360 * torch.rand(4)
        batch = x.reshape(1, -1, 6, 5)
        assert torch.equal(rotfast.rotate(x, 30.0), rotfast.rotate(batch, 30.0).reshape(shape))
        y = rotfast.rotate(x, angle)
        assert torch.equal(y, rotfast.rotate(batch, angle[None]).reshape(4, *shape))

    @pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 1, 5)], ids=str)
    def test_a_number_serves_all(self, shape) -> None:
        x = torch.rand(*shape[:-1], 6, 5)
        assert_close(rotfast.rotate(x, 30), rotfast.rotate(x, torch.tensor(30)))

    def test_a_centre_per_image(self) -> None:
        x, center = torch.rand(3, 1, 6, 5), torch.tensor([[0.0, 0.0], [2.0, 1.5], [9.0, -3.0]])
        y = rotfast.rotate(x, 20.0, center=center)
        for n in range(3):
            assert_close(y[n], rotfast.rotate(x[n], 20.0, center=center[n].tolist()))

    def test_angles_and_centres_of_many_results(self) -> None:
        x, center = torch.rand(3, 1, 6, 5), torch.rand(3, 4, 2)
        y = rotfast.rotate(x, torch.tensor([0.0, 30.0, 60.0]), center=center)
        assert y.shape == (3, 4, 1, 6, 5)
        assert_close(y[1, 2], rotfast.rotate(x[1], 30.0, center=center[1, 2].tolist()))

    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float16, torch.float64], ids=str)
    def test_dtypes_of_angles(self, dtype) -> None:
        x, angle = torch.rand(3, 1, 6, 5), torch.tensor([0, 30, 45])
        assert torch.equal(rotfast.rotate(x, angle.to(dtype)), rotfast.rotate(x, angle.double()))

    def test_fill_per_channel(self) -> None:
        x = torch.zeros(2, 3, 9, 9)
        y = rotfast.rotate(x, 45.0, fill=[1.0, 2.0, 3.0])
        assert y[:, :, 0, 0].tolist() == [[1.0, 2.0, 3.0]] * 2
        assert torch.equal(y, rotfast.rotate(x, 45.0, fill=torch.tensor([1, 2, 3])))
        assert torch.equal(y[:, 1:2], rotfast.rotate(x[:, 1:2], 45.0, fill=2))

    def test_channels_last_is_kept(self) -> None:
        x, angle = torch.rand(4, 3, 6, 5).to(memory_format=torch.channels_last), 360 * torch.rand(4)
        y = rotfast.rotate(x, angle)
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(y, rotfast.rotate(x.contiguous(), angle))

    @pytest.mark.parametrize(
        ("shape", "angles", "result"),
        [
            ((0, 3, 5, 4), (0,), (0, 3, 5, 4)),
            ((0, 3, 5, 4), (0, 2), (0, 2, 3, 5, 4)),
            ((2, 3, 5, 4), (2, 0), (2, 0, 3, 5, 4)),
            ((2, 0, 3, 5, 4), (2, 0), (2, 0, 3, 5, 4)),
        ],
        ids=str,
    )
    def test_empty_batches(self, shape, angles, result) -> None:
        x, angle = torch.rand(shape), torch.rand(angles)
        assert rotfast.rotate(x, angle).shape == result
        assert rotfast.rotate(x, angle, expand=True).shape[:-2] == result[:-2]


class TestBytes:
    def test_rounds_half_to_even(self) -> None:
        x = torch.tensor([[1, 2, 3, 4]], dtype=torch.uint8)
        y = rotfast.rotate(x, 0, center=(0, 0))
        assert torch.equal(y, x)
        half = rotfast.affine(x, translate=(0.5, 0), padding_mode="border")
        assert half.tolist() == [[1, 2, 2, 4]]

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    def test_is_the_rounded_result(self, interpolation) -> None:
        x, angle = some_images((3, 2, 9, 8), torch.uint8), torch.tensor([10.0, 45.0, 200.0])
        y = rotfast.rotate(x, angle, interpolation=interpolation, fill=[7, 300])
        expected = rotfast.rotate(x.double(), angle, interpolation=interpolation, fill=[7, 300])
        assert y.dtype == torch.uint8
        difference = (y.double() - expected.clamp(0, 255)).abs()
        assert difference.max() <= 0.5 + 1e-4  # a tie may fall to either side in float32

    @pytest.mark.parametrize("padding_mode", PADDING_MODES)
    def test_normalised_in_one_pass(self, padding_mode) -> None:
        x, angle = some_images((3, 2, 9, 8), torch.uint8), torch.tensor([10.0, 45.0, 200.0])
        mean, std = torch.tensor([0.2, 0.5]), torch.tensor([0.1, 0.3])
        y = rotfast.rotate(x, angle, padding_mode=padding_mode, fill=51, mean=mean, std=std)
        unit = rotfast.rotate(x.float() / 255, angle, padding_mode=padding_mode, fill=0.2)
        assert y.dtype == torch.float32
        assert_close(y, (unit - mean[:, None, None]) / std[:, None, None])

    def test_mean_or_std_alone(self) -> None:
        x = some_images((3, 2, 9, 8), torch.uint8)
        assert_close(rotfast.rotate(x, 20.0, mean=0.5), rotfast.rotate(x, 20.0, mean=0.5, std=1.0))
        assert_close(rotfast.rotate(x, 20.0, std=0.5), rotfast.rotate(x, 20.0, mean=0.0, std=[0.5, 0.5]))

    def test_normalised_floating_point(self) -> None:
        x, angle = torch.rand(3, 2, 9, 8), torch.tensor([10.0, 45.0, 200.0])
        y = rotfast.rotate(x, angle, fill=2.0, mean=[0.2, 0.5], std=4.0)
        unit = rotfast.rotate(x, angle, fill=2.0)
        assert_close(y, (unit - torch.tensor([0.2, 0.5])[:, None, None]) / 4)

    def test_angle_has_a_gradient_where_the_result_is_floating_point(self) -> None:
        x = some_images((2, 1, 6, 6), torch.uint8)
        angle = torch.tensor([10.0, 20.0], requires_grad=True)
        (grad,) = torch.autograd.grad(rotfast.rotate(x, angle, mean=0, std=1).square().sum(), angle)
        (expected,) = torch.autograd.grad(rotfast.rotate(x.float() / 255, angle).square().sum(), angle)
        assert_close(grad, expected)


class TestDerivatives:
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_image_angle_and_centre(self, interpolation) -> None:
        x = torch.rand(2, 1, 4, 5, dtype=torch.float64)
        angle = torch.tensor([[17.0, -33.0], [101.0, 200.0]], dtype=torch.float64)
        center = torch.tensor([[1.7, 1.2], [2.1, 0.3]], dtype=torch.float64)
        check_derivatives(
            lambda x, angle, center: rotfast.rotate(x, angle, center=center, interpolation=interpolation),
            [x, angle, center],
        )

    @pytest.mark.parametrize("turns", range(-1, 4))
    def test_angle_at_quarter_turns(self, turns) -> None:
        """Exact positions have the derivative of the others: bicubic is smooth there."""
        x = torch.rand(1, 1, 5, 5, dtype=torch.float64)
        angle = torch.tensor([90.0 * turns], dtype=torch.float64, requires_grad=True)

        def turned(angle: Tensor) -> Tensor:
            return rotfast.rotate(x, angle, interpolation="bicubic")

        torch.autograd.gradcheck(turned, angle)

    def test_image_gradient_is_the_turn_back(self) -> None:
        x = torch.rand(2, 1, 6, 6, requires_grad=True)
        direction = torch.rand(2, 1, 6, 6)
        (grad,) = torch.autograd.grad(rotfast.rotate(x, 90), x, direction)
        assert torch.equal(grad, direction.rot90(-1, (-2, -1)))

    def test_vmap(self) -> None:
        x, angle = torch.rand(2, 1, 5, 4, dtype=torch.float64), torch.tensor([17.0, -33.0]).double()
        check_vmap(rotfast.rotate, [x, angle])
        check_vmap(lambda x: rotfast.rotate(x, 30.0, expand=True), [x])
        check_vmap(lambda x, a: rotfast.rotate(x, a), [x[0], angle[0]])

    def test_gradients_per_sample(self) -> None:
        x, angle = torch.rand(3, 1, 5, 5, dtype=torch.float64), torch.tensor([3.0, 40.0, 200.0]).double()
        grad = torch.func.grad(lambda a, x: rotfast.rotate(x, a).square().sum())
        expected = torch.stack([grad(a, image) for a, image in zip(angle, x, strict=True)])
        assert_close(torch.vmap(grad)(angle, x), expected)

    def test_compiles_whole(self) -> None:
        compiled = torch.compile(rotfast.rotate, fullgraph=True, backend="aot_eager")
        x = torch.rand(3, 2, 6, 5)
        for angle in (torch.tensor([0.0, 10.0, 45.0]), torch.rand(3, 2), 30.0, 31.0, 90):
            assert torch.equal(compiled(x, angle), rotfast.rotate(x, angle))
        assert torch.equal(compiled(x, 90, expand=True), x.rot90(1, (-2, -1)))

    def test_autocast_changes_nothing(self) -> None:
        x, angle = torch.rand(3, 2, 6, 5), torch.tensor([0.0, 10.0, 45.0])
        with torch.autocast("cpu"):
            y = rotfast.rotate(x, angle)
        assert torch.equal(y, rotfast.rotate(x, angle))
