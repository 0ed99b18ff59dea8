"""affine: the order of its parts, given matrices, canvas, antialiasing, derivatives, and what is refused."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import rotfast
from rotfast.testing import assert_close, check_derivatives, check_vmap

PARTS = {
    "angle": 20.0,
    "translate": (1.5, -0.75),
    "scale": 1.3,
    "shear": (12.0, -7.0),
}


def torchvision_matrix(
    angle: float, translate: tuple[float, float], scale: float, shear: tuple[float, float]
) -> list[list[float]]:
    """torchvision's forward matrix about the origin: T · R · S · SHy · SHx, where positive is clockwise."""
    rot, (sx, sy) = math.radians(angle), (math.radians(degrees) for degrees in shear)
    return [
        [
            scale * math.cos(rot - sy) / math.cos(sy),
            scale * (-math.cos(rot - sy) * math.tan(sx) / math.cos(sy) - math.sin(rot)),
            translate[0],
        ],
        [
            scale * math.sin(rot - sy) / math.cos(sy),
            scale * (-math.sin(rot - sy) * math.tan(sx) / math.cos(sy) + math.cos(rot)),
            translate[1],
        ],
    ]


def about(matrix: list[list[float]], x: float, y: float) -> Tensor:
    """The same map with (x, y) for its origin."""
    (a, b, p), (c, d, q) = matrix
    rows = [[a, b, p + x - a * x - b * y], [c, d, q + y - c * x - d * y]]
    return torch.tensor(rows, dtype=torch.float64)


def backwards(matrix: Tensor):
    """Where a pixel of the result comes from under a forward matrix (2, 3)."""
    whole = torch.cat([matrix.double(), torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)])
    (a, b, p), (c, d, q), _ = torch.linalg.inv(whole).tolist()
    return lambda x, y: (a * x + b * y + p, c * x + d * y + q)


class TestParts:
    @pytest.mark.parametrize("name", [*PARTS, "all"])
    def test_torchvisions_order(self, name, by_definition) -> None:
        x = torch.rand(6, 5, dtype=torch.float64)
        parts = PARTS if name == "all" else {name: PARTS[name]}
        still = {"angle": 0.0, "translate": (0.0, 0.0), "scale": 1.0, "shear": (0.0, 0.0)} | parts
        forward = torchvision_matrix(-still["angle"], still["translate"], still["scale"], still["shear"])
        expected = by_definition(x, backwards(about(forward, 2.0, 2.5)), (6, 5), fill=0.5)
        assert_close(rotfast.affine(x, **parts, fill=0.5), expected)

    def test_centre(self, by_definition) -> None:
        x = torch.rand(6, 5, dtype=torch.float64)
        forward = about(torchvision_matrix(-20.0, (1.5, -0.75), 1.3, (12.0, -7.0)), 0.5, 4.0)
        expected = by_definition(x, backwards(forward), (6, 5))
        assert_close(rotfast.affine(x, **PARTS, center=(0.5, 4.0)), expected)

    def test_translation_is_to_the_right_and_down(self) -> None:
        x = torch.rand(2, 1, 5, 6)
        y = rotfast.affine(x, translate=(2, 1))
        assert torch.equal(y[..., 1:, 2:], x[..., :-1, :-2])
        assert not y[..., 0, :].any()
        assert not y[..., :2].any()

    def test_rotation_alone(self) -> None:
        x, angle = torch.rand(3, 2, 6, 5), torch.tensor([0.0, 20.0, 90.0])
        assert torch.equal(rotfast.affine(x, angle=angle), rotfast.rotate(x, angle))

    def test_parts_broadcast(self) -> None:
        x = torch.rand(3, 1, 6, 5)
        angle, scale = torch.tensor([0.0, 20.0, 90.0]), torch.rand(3, 4) + 0.5
        translate, shear = torch.rand(3, 4, 2), torch.rand(3, 2)
        y = rotfast.affine(x, angle=angle, scale=scale, translate=translate, shear=shear)
        assert y.shape == (3, 4, 1, 6, 5)
        for n, k in ((0, 0), (2, 3)):
            one = rotfast.affine(
                x[n],
                angle=angle[n].item(),
                scale=scale[n, k].item(),
                translate=translate[n, k].tolist(),
                shear=shear[n].tolist(),
            )
            assert_close(y[n, k], one)

    def test_tasks(self) -> None:
        x, translate = torch.rand(2, 3, 1, 6, 5), torch.rand(3, 2)
        y = rotfast.affine(
            x, angle=torch.tensor([[0.0, 10.0, 20.0], [30.0, 40.0, 50.0]]), translate=translate
        )
        assert_close(y[1, 2], rotfast.affine(x[1, 2], angle=50.0, translate=translate[2].tolist()))

    def test_one_image(self) -> None:
        x, translate = torch.rand(6, 5), torch.rand(4, 2)
        y = rotfast.affine(x, translate=translate, scale=1.1)
        assert_close(y[3], rotfast.affine(x, translate=translate[3].tolist(), scale=1.1))

    @pytest.mark.parametrize("scale", [2.0, 0.5])
    def test_the_canvas_grows_and_shrinks(self, scale, by_definition) -> None:
        x = torch.rand(4, 6, dtype=torch.float64)
        y = rotfast.affine(x, scale=scale, expand=True)
        assert y.shape == (4 * scale, 6 * scale)
        target = ((y.shape[1] - 1) / 2, (y.shape[0] - 1) / 2)

        def source(column: int, row: int) -> tuple[float, float]:
            return 2.5 + (column - target[0]) / scale, 1.5 + (row - target[1]) / scale

        assert_close(y, by_definition(x, source, tuple(y.shape)))

    def test_translation_moves_on_the_canvas(self) -> None:
        x = torch.rand(1, 1, 4, 6)
        still = rotfast.affine(x, angle=90, expand=True)
        moved = rotfast.affine(x, angle=90, translate=(1, 0), expand=True)
        assert torch.equal(moved[..., 1:], still[..., :-1])


class TestMatrix:
    @pytest.mark.parametrize("padding_mode", ["constant", "border", "reflection"])
    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
    def test_maps_image_to_result(self, interpolation, padding_mode, by_definition) -> None:
        x = torch.rand(5, 6, dtype=torch.float64)
        matrix = torch.tensor([[0.91, 0.353, -1.21], [-0.42, 1.23, 2.12]], dtype=torch.float64)
        options = {"interpolation": interpolation, "padding_mode": padding_mode}
        expected = by_definition(x, backwards(matrix), (5, 6), **options)
        assert_close(rotfast.affine(x, matrix=matrix, **options), expected)

    @pytest.mark.parametrize("shape", [(2, 3), (3, 2, 3), (3, 4, 2, 3)], ids=str)
    def test_forms(self, shape) -> None:
        x, matrix = torch.rand(3, 1, 5, 6), torch.eye(3)[:2] + 0.2 * torch.rand(shape)
        y = rotfast.affine(x, matrix=matrix)
        assert y.shape == (3, *([4] if len(shape) == 4 else []), 1, 5, 6)
        every = matrix.expand(3, 4, 2, 3) if len(shape) < 3 else matrix
        last = (2, 3) if len(shape) == 4 else (2,)
        assert_close(y[last], rotfast.affine(x[2], matrix=every[last] if len(shape) > 2 else matrix))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32], ids=str)
    def test_integer_maps_permute(self, dtype) -> None:
        x = torch.randint(0, 256, (2, 3, 4, 4)).to(dtype)
        transpose = torch.tensor([[0, 1, 0], [1, 0, 0]])
        assert torch.equal(rotfast.affine(x, matrix=transpose), x.mT)

    def test_parts_as_a_matrix(self) -> None:
        x = torch.rand(2, 1, 6, 5, dtype=torch.float64)
        forward = about(torchvision_matrix(-20.0, (1.5, -0.75), 1.3, (12.0, -7.0)), 2.0, 2.5)
        assert_close(rotfast.affine(x, matrix=forward), rotfast.affine(x, **PARTS))

    def test_expand_centres_the_image(self) -> None:
        x = torch.rand(1, 2, 4, 6)
        quarter = torch.tensor([[0.0, 1.0, 100.0], [-1.0, 0.0, 3.0]])
        assert torch.equal(rotfast.affine(x, matrix=quarter, expand=True), x.rot90(1, (-2, -1)))


class TestAntialias:
    @pytest.mark.parametrize("factor", [2, 3])
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_is_that_of_interpolate(self, interpolation, factor) -> None:
        size = 24
        x = torch.rand(2, 3, size, size, dtype=torch.float64)
        y = rotfast.affine(x, scale=1 / factor, interpolation=interpolation, antialias=True)
        small = F.interpolate(x, size=size // factor, mode=interpolation, antialias=True)
        start, stop = (size - size // factor) // 2, (size + size // factor) // 2
        inner = slice(2, -2)
        assert_close(y[..., start:stop, start:stop][..., inner, inner], small[..., inner, inner])

    def test_bilinear_that_does_not_shrink_is_unchanged(self) -> None:
        x, angle = torch.rand(2, 3, 7, 6), torch.tensor([20.0, 100.0])
        assert_close(rotfast.affine(x, angle=angle, antialias=True), rotfast.rotate(x, angle))
        larger = rotfast.affine(x, angle=angle, scale=1.5, antialias=True)
        assert_close(larger, rotfast.affine(x, angle=angle, scale=1.5))

    @pytest.mark.parametrize("padding_mode", ["constant", "border", "reflection"])
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_constant_images_stay(self, interpolation, padding_mode) -> None:
        x = torch.full((1, 1, 9, 8), 5.0)
        options = {"interpolation": interpolation, "padding_mode": padding_mode, "fill": 5.0}
        y = rotfast.affine(x, angle=30.0, scale=torch.tensor([0.2]), antialias=True, **options)
        assert_close(y, x)

    def test_axes_shrink_on_their_own(self) -> None:
        x = torch.rand(1, 1, 12, 12, dtype=torch.float64)
        narrow = torch.tensor([[0.5, 0.0, 0.0], [0.0, 1.0, 0.0]])
        y = rotfast.affine(x, matrix=narrow, antialias=True)
        tent = x[..., 3:8].mul(torch.tensor([0.25, 0.5, 0.25, 0.0, 0.0])).sum(-1)
        assert_close(y[..., 2], tent)

    def test_shrunk_to_nothing(self) -> None:
        x = torch.rand(1, 1, 5, 4)
        y = rotfast.affine(x, scale=1e-9, padding_mode="border", antialias=True)
        assert y.isfinite().all()

    def test_dtypes_and_layouts(self) -> None:
        x = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
        exact = rotfast.affine(x.double(), scale=0.6, antialias=True)
        y = rotfast.affine(x, scale=0.6, antialias=True)
        assert y.dtype == torch.uint8
        assert (y.double() - exact).abs().max() <= 0.5 + 1e-4
        normalised = rotfast.affine(x, scale=0.6, antialias=True, mean=0.5, std=2)
        assert_close(normalised, ((exact / 255 - 0.5) / 2).float())
        half = rotfast.affine(x.half(), scale=0.6, antialias=True)
        assert half.dtype == torch.float16

    def test_derivatives(self) -> None:
        x = torch.rand(1, 1, 5, 4, dtype=torch.float64)
        scale, angle = torch.tensor([0.61]).double(), torch.tensor([[13.0, 40.0]]).double()
        check_derivatives(
            lambda x, s, a: rotfast.affine(x, scale=s, angle=a, antialias=True), [x, scale, angle]
        )

    def test_nan_stays_where_it_is_read(self) -> None:
        """An image that shrinks less than another of the batch reads no further for it."""
        x = torch.zeros(2, 1, 16, 16)
        x[..., 0, 0] = torch.nan
        y = rotfast.affine(x, scale=torch.tensor([0.5, 0.1]), antialias=True)
        assert y[0].isnan().nonzero().tolist() == [[0, 3, 3], [0, 3, 4], [0, 4, 3], [0, 4, 4]]

    @pytest.mark.parametrize("batch", [(0,), (2, 0)], ids=str)
    def test_empty_batches(self, batch) -> None:
        scale = torch.rand(batch)
        assert rotfast.affine(torch.rand(batch[0], 1, 4, 4), scale=scale, antialias=True).numel() == 0

    def test_batch_over_images(self) -> None:
        check_vmap(lambda x: rotfast.affine(x, scale=0.6, antialias=True), [torch.rand(2, 1, 4, 4)])


class TestDerivatives:
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_every_part(self, interpolation) -> None:
        parts = [
            torch.tensor([17.0]),
            torch.tensor([[0.31, -0.17]]),
            torch.tensor([1.2]),
            torch.tensor([[4.0, -9.0]]),
            torch.tensor([[1.7, 1.2]]),
        ]

        def run(x: Tensor, angle: Tensor, translate: Tensor, scale: Tensor, shear: Tensor, center: Tensor):
            return rotfast.affine(
                x, angle=angle, translate=translate, scale=scale, shear=shear, center=center,
                interpolation=interpolation,
            )  # fmt: skip

        x = torch.rand(1, 1, 3, 4, dtype=torch.float64)
        check_derivatives(run, [x, *(part.double() for part in parts)])

    def test_matrix(self) -> None:
        x = torch.rand(1, 2, 4, 4, dtype=torch.float64)
        matrix = torch.tensor([[[0.9, 0.35, -0.2], [-0.4, 1.2, 0.6]]], dtype=torch.float64)
        check_derivatives(
            lambda x, matrix: rotfast.affine(x, matrix=matrix, padding_mode="border"), [x, matrix]
        )

    def test_vmap(self) -> None:
        x, shear = (
            torch.rand(2, 1, 4, 4, dtype=torch.float64),
            torch.tensor([[3.0, 4.0], [-5.0, 6.0]]).double(),
        )
        check_vmap(lambda x, shear: rotfast.affine(x, shear=shear, angle=10.0), [x, shear])
        matrix = torch.eye(3, dtype=torch.float64)[:2] + 0.1
        check_vmap(lambda x, matrix: rotfast.affine(x, matrix=matrix), [x, matrix])

    def test_compiles_whole(self) -> None:
        compiled = torch.compile(rotfast.affine, fullgraph=True, backend="aot_eager")
        x = torch.rand(3, 2, 6, 5)
        for parts in (
            PARTS,
            {"translate": torch.rand(3, 2), "scale": torch.tensor([0.5, 1.0, 2.0])},
            {"matrix": torch.eye(3)[:2] + torch.rand(3, 2, 3)},
        ):
            assert torch.equal(compiled(x, **parts), rotfast.affine(x, **parts))


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"scale": 0}, ValueError, r"^scale must be positive, got 0\.0$"),
            ({"scale": torch.tensor([1.0, -2.0, 1.0])}, ValueError, r"^scale must be positive, got -2\.0$"),
            ({"shear": (90, 0)}, ValueError, r"^shear must not be an odd multiple of 90 degrees"),
            ({"shear": torch.tensor([0.0, -270.0])}, ValueError, r"^shear must not be an odd multiple of 90"),
            ({"shear": 10.0}, ValueError, r"^shear must be a pair of numbers or a Tensor, got 10\.0$"),
            ({"translate": torch.rand(3)}, ValueError,
             r"^translate must be of shape \(2,\) or \(3, 2\) or \(3, K, 2\), got shape \(3,\)$"),
            ({"translate": (math.inf, 0)}, ValueError, r"^translate must be finite, got inf$"),
            ({"angle": torch.rand(3, 2), "scale": torch.rand(3, 4)}, ValueError,
             r"^scale must have the 2 values per image of angle, got 4$"),
            ({"matrix": [[1, 0, 0], [0, 1, 0]]}, TypeError, r"^matrix must be a Tensor, got list$"),
            ({"matrix": torch.eye(3)}, ValueError,
             r"^matrix must be of shape \(2, 3\) or \(3, 2, 3\) or \(3, K, 2, 3\), got shape \(3, 3\)$"),
            ({"matrix": torch.rand(4, 2, 3)}, ValueError, r"^matrix must be of shape .* \(4, 2, 3\)$"),
            ({"matrix": torch.full((2, 3), torch.nan)}, ValueError, r"^matrix must be finite, got nan"),
            ({"matrix": torch.zeros(2, 3)}, ValueError, r"^matrix must be invertible, got 1 of"),
            ({"matrix": torch.tensor([[0.1, 0.3, 0.0], [0.2, 0.6, 1.0]]).expand(3, 2, 3)}, ValueError,
             r"^matrix must be invertible, got 3 of determinant 0$"),
            ({"matrix": torch.eye(3)[:2], "angle": 10.0}, ValueError,
             r"^angle must be left out where matrix is given, got 10\.0$"),
            ({"matrix": torch.eye(3)[:2], "shear": torch.zeros(2)}, ValueError, r"^shear must be left out"),
            ({"matrix": torch.eye(3)[:2], "center": (0, 0)}, ValueError, r"^center must be left out"),
            ({"antialias": True, "interpolation": "nearest"}, ValueError,
             r"^interpolation must be 'bilinear' or 'bicubic' with antialias=True, got 'nearest'$"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )  # fmt: skip
    def test_parameters(self, options, error, message) -> None:
        with pytest.raises(error, match=message):
            rotfast.affine(torch.rand(3, 1, 4, 4), **options)

    def test_nearly_singular_matrices_are_no_error(self) -> None:
        matrix = torch.tensor([[1e-6, 0.0, 0.0], [0.0, 1e6, 0.0]])
        assert rotfast.affine(torch.rand(3, 1, 4, 4), matrix=matrix).isfinite().all()

    @pytest.mark.parametrize("name", ["angle", "translate", "scale", "shear", "matrix", "center"])
    def test_bytes_have_no_gradient(self, name) -> None:
        values = {"angle": torch.tensor(1.0), "scale": torch.tensor(1.0), "matrix": torch.eye(3)[:2]}
        value = values.get(name, torch.rand(2)).requires_grad_()
        with pytest.raises(TypeError, match=rf"^x must .* if {name} requires grad, got uint8$"):
            rotfast.affine(torch.zeros(4, 4, dtype=torch.uint8), **{name: value})
