"""perspective: values, what lies at infinity, forms, derivatives, and what is refused."""

import pytest
import torch

import rotfast
from rotfast.testing import assert_close, check_derivatives, check_vmap

MATRIX = torch.tensor([[0.91, 0.213, -0.53], [-0.12, 1.13, 0.47], [0.021, -0.013, 1.0]], dtype=torch.float64)


def backwards(matrix: torch.Tensor):
    rows = torch.linalg.inv(matrix.double()).tolist()

    def position(x: int, y: int) -> tuple[float, float]:
        a, b, w = (row[0] * x + row[1] * y + row[2] for row in rows)
        return a / w, b / w

    return position


class TestValues:
    @pytest.mark.parametrize("padding_mode", ["constant", "border", "reflection"])
    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
    def test_definition(self, interpolation, padding_mode, by_definition) -> None:
        x = torch.rand(5, 6, dtype=torch.float64)
        options = {"interpolation": interpolation, "padding_mode": padding_mode, "fill": 0.4}
        expected = by_definition(x, backwards(MATRIX), (5, 6), **options)
        assert_close(rotfast.perspective(x, MATRIX, **options), expected)

    def test_factor_of_the_matrix_does_not_matter(self) -> None:
        x = torch.rand(1, 1, 5, 6, dtype=torch.float64)
        assert_close(rotfast.perspective(x, -3 * MATRIX), rotfast.perspective(x, MATRIX))

    def test_affine_maps(self) -> None:
        x = torch.rand(2, 1, 5, 6, dtype=torch.float64)
        matrix = MATRIX.clone()
        matrix[2] = torch.tensor([0.0, 0.0, 1.0])
        assert_close(rotfast.perspective(x, matrix), rotfast.affine(x, matrix=matrix[:2]))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float64], ids=str)
    def test_integer_maps_permute(self, dtype) -> None:
        x = torch.randint(0, 256, (2, 3, 5, 5)).to(dtype)
        flip = torch.tensor([[-1, 0, 4], [0, 1, 0], [0, 0, 1]])
        assert torch.equal(rotfast.perspective(x, flip), x.flip(-1))

    def test_nothing_comes_from_infinity(self) -> None:
        """The inverse has w = 1 - x/2: column 2 of the result is the horizon."""
        x = torch.ones(1, 1, 4, 4)
        inverse = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-0.5, 0, 1]], requires_grad=True)
        y = rotfast.perspective(x, torch.linalg.inv(inverse), fill=7.0)
        assert y[0, 0, :, 2].tolist() == [7.0] * 4
        (grad,) = torch.autograd.grad(y.sum(), inverse)
        assert grad.isfinite().all()

    def test_bytes_round_and_normalise(self) -> None:
        x = torch.randint(0, 256, (1, 2, 8, 8), dtype=torch.uint8)
        exact = rotfast.perspective(x.double(), MATRIX, interpolation="bicubic")
        y = rotfast.perspective(x, MATRIX, interpolation="bicubic")
        assert y.dtype == torch.uint8
        assert (y.double() - exact.clamp(0, 255)).abs().max() <= 0.5 + 1e-4
        unit = rotfast.perspective(x, MATRIX, interpolation="bicubic", mean=[0.5, 0.0], std=[0.5, 1.0])
        expected = (exact / 255 - torch.tensor([0.5, 0.0])[:, None, None]) / torch.tensor([0.5, 1.0])[
            :, None, None
        ]
        assert_close(unit, expected.float())


class TestForms:
    @pytest.mark.parametrize(
        ("x", "matrix", "result"),
        [
            ((6, 5), (), (6, 5)),
            ((2, 6, 5), (4,), (4, 2, 6, 5)),
            ((3, 2, 6, 5), (3,), (3, 2, 6, 5)),
            ((3, 2, 6, 5), (3, 4), (3, 4, 2, 6, 5)),
            ((2, 3, 1, 6, 5), (3,), (2, 3, 1, 6, 5)),
            ((0, 1, 6, 5), (0, 4), (0, 4, 1, 6, 5)),
        ],
        ids=str,
    )
    def test_shapes(self, x, matrix, result) -> None:
        images, matrices = torch.rand(x), torch.eye(3) + 0.01 * torch.rand(*matrix, 3, 3)
        y = rotfast.perspective(images, matrices)
        assert y.shape == result
        if matrix == (3, 4):
            assert_close(y[1, 2], rotfast.perspective(images[1], matrices[1, 2]))

    def test_channels_last_is_kept(self) -> None:
        x = torch.rand(2, 3, 6, 5).to(memory_format=torch.channels_last)
        y = rotfast.perspective(x, MATRIX)
        assert y.is_contiguous(memory_format=torch.channels_last)


class TestDerivatives:
    def test_image_and_matrix(self) -> None:
        x = torch.rand(1, 1, 4, 4, dtype=torch.float64)
        check_derivatives(rotfast.perspective, [x, MATRIX])

    def test_vmap(self) -> None:
        check_vmap(rotfast.perspective, [torch.rand(1, 1, 4, 4, dtype=torch.float64), MATRIX])

    def test_compiles_whole(self) -> None:
        x, matrix = torch.rand(2, 1, 5, 6), MATRIX.expand(2, 3, 3, 3)
        compiled = torch.compile(rotfast.perspective, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(x, matrix), rotfast.perspective(x, matrix))


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        ([[1, 0, 0]], TypeError, r"^matrix must be a Tensor, got list$"),
        (torch.eye(3)[:2], ValueError,
         r"^matrix must be of shape \(3, 3\) or \(2, 3, 3\) or \(2, K, 3, 3\), got shape \(2, 3\)$"),
        (torch.full((3, 3), torch.inf), ValueError, r"^matrix must be finite, got nan or inf$"),
        (torch.ones(3, 3), ValueError, r"^matrix must be invertible, got 1 of determinant 0$"),
        (torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]]), ValueError,
         r"^matrix must be invertible, got 1 of determinant 0$"),
    ],
    ids=["list", "2x3", "inf", "ones", "rounded"],
)  # fmt: skip
def test_bad_matrices(matrix, error, message) -> None:
    with pytest.raises(error, match=message):
        rotfast.perspective(torch.rand(2, 1, 5, 6), matrix)


def test_large_translations_are_invertible() -> None:
    matrix = torch.tensor([[1.0, 0.0, 1e6], [0.0, 1.0, -1e6], [0.0, 0.0, 1.0]])
    assert not rotfast.perspective(torch.rand(2, 1, 5, 6), matrix).any()
