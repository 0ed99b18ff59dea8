"""rotate90 and rotate90_all: torch.rot90 bit for bit, forms of arguments, derivatives, what is refused."""

import pytest
import torch

import rotfast
from rotfast.testing import check_derivatives, check_vmap

DTYPES = [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]


def some_images(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randint(0, 256, shape).to(dtype)


def rot90(x: torch.Tensor, k: int) -> torch.Tensor:
    return torch.rot90(x, k, (-2, -1))


class TestRotate90:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_per_image(self, dtype) -> None:
        x, k = some_images(6, 2, 5, 5, dtype=dtype), torch.tensor([0, 1, 2, 3, -1, 1001])
        expected = torch.stack([rot90(image, q) for image, q in zip(x, k.tolist(), strict=True)])
        assert torch.equal(rotfast.rotate90(x, k), expected)

    @pytest.mark.parametrize(
        "shape", [(4, 4), (3, 4, 6), (2, 3, 5, 5), (2, 3, 6, 4), (2, 3, 1, 7, 4)], ids=str
    )
    @pytest.mark.parametrize("k", range(-2, 5))
    def test_one_for_all(self, k, shape) -> None:
        x = some_images(*shape)
        assert torch.equal(rotfast.rotate90(x, k), rot90(x, k))

    @pytest.mark.parametrize("k", [1, 2])
    @pytest.mark.parametrize("shape", [(2, 3, 5, 5), (2, 3, 6, 4)], ids=str)
    def test_channels_last_is_kept(self, shape, k) -> None:
        x = some_images(*shape).to(memory_format=torch.channels_last)
        assert rotfast.rotate90(x, k).is_contiguous(memory_format=torch.channels_last)

    def test_many_per_image(self) -> None:
        x, k = some_images(3, 2, 5, 5), torch.randint(0, 4, (3, 4), dtype=torch.int32)
        y = rotfast.rotate90(x, k)
        assert y.shape == (3, 4, 2, 5, 5)
        assert torch.equal(y[1, 2], rot90(x[1], int(k[1, 2])))
        assert torch.equal(rotfast.rotate90(x[0], k[0]), y[0])
        assert torch.equal(rotfast.rotate90(x[0, 0], k[0]), y[0, :, 0])

    @pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)], ids=str)
    def test_tasks(self, shape) -> None:
        x, k = some_images(2, 3, 1, 4, 4), torch.randint(-4, 4, shape)
        y = rotfast.rotate90(x, k)
        assert y.shape == (2, 3, *shape[2:], 1, 4, 4)
        for t in range(2):
            assert torch.equal(y[t], rotfast.rotate90(x[t], k[t] if len(shape) > 1 else k))

    def test_half_turns_of_rectangles(self) -> None:
        x = some_images(2, 1, 3, 5)
        assert torch.equal(rotfast.rotate90(x, torch.tensor([0, -2])), torch.stack([x[0], rot90(x[1], 2)]))

    def test_agrees_with_rotate(self) -> None:
        x, k = some_images(3, 2, 6, 6), torch.tensor([1, 2, 3])
        assert torch.equal(rotfast.rotate90(x, k), rotfast.rotate(x, 90 * k))

    def test_derivatives_and_vmap(self) -> None:
        x, k = torch.rand(2, 1, 3, 3, dtype=torch.float64), torch.tensor([1, 2])
        check_derivatives(lambda x: rotfast.rotate90(x, k), [x])
        check_derivatives(lambda x: rotfast.rotate90(x, k[:, None].expand(2, 3)), [x])
        check_vmap(lambda x: rotfast.rotate90(x, k), [x])
        turned = torch.vmap(rotfast.rotate90, in_dims=(None, 0))(x, torch.tensor([[0, 1], [2, 3]]))
        assert torch.equal(turned[1], rotfast.rotate90(x, torch.tensor([2, 3])))

    def test_compiles_whole(self) -> None:
        compiled = torch.compile(rotfast.rotate90, fullgraph=True, backend="aot_eager")
        x = some_images(3, 2, 5, 5)
        for k in (torch.tensor([0, 1, 2]), 1, 2):
            assert torch.equal(compiled(x, k), rotfast.rotate90(x, k))

    @pytest.mark.parametrize("k", [(0,), (0, 3)], ids=str)
    def test_empty_batches(self, k) -> None:
        y = rotfast.rotate90(some_images(0, 2, 4, 4), torch.zeros(k, dtype=torch.int64))
        assert y.shape == (*k, 2, 4, 4)

    @pytest.mark.parametrize(
        ("x", "k", "error", "message"),
        [
            (torch.zeros(4, 4, dtype=torch.int64), 1, TypeError, r"^x must be uint8, .*, got torch\.int64$"),
            (torch.rand(2, 1, 0, 0), 1, ValueError, r"^x must have at least one channel, row and column"),
            (torch.rand(2, 1, 4, 4), 1.0, TypeError, r"^k must be an int or a Tensor, got float$"),
            (torch.rand(2, 1, 4, 4), torch.rand(2), TypeError, r"^k must hold integers, got torch\.float32$"),
            (torch.rand(2, 1, 4, 4), torch.ones(2, dtype=torch.bool), TypeError, r"^k must hold integers"),
            (torch.rand(2, 1, 4, 4), torch.arange(3), ValueError,
             r"^k must be a number or of shape \(2,\) or \(2, K\), got shape \(3,\)$"),
            (torch.rand(2, 1, 4, 5), torch.tensor([2, 1]), ValueError,
             r"^k must be even for images that are not square, got odd k for 4 × 5$"),
            (torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64, device="meta"), ValueError,
             r"^k must be on the device of x \(cpu\), got meta$"),
        ],
        ids=["int64", "no-pixel", "float", "float-tensor", "bool", "length", "rectangle", "device"],
    )  # fmt: skip
    def test_bad_input(self, x, k, error, message) -> None:
        with pytest.raises(error, match=message):
            rotfast.rotate90(x, k)


class TestRotate90All:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_order_and_labels(self, dtype) -> None:
        x = some_images(3, 2, 5, 5, dtype=dtype)
        images, labels = rotfast.rotate90_all(x)
        assert torch.equal(images, torch.cat([rot90(x, q) for q in range(4)]))
        assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        assert torch.equal(images, rotfast.rotate90(x.repeat(4, 1, 1, 1), labels))

    @pytest.mark.parametrize("shape", [(5, 5), (2, 5, 5)], ids=str)
    def test_single_images(self, shape) -> None:
        x = some_images(*shape)
        images, labels = rotfast.rotate90_all(x)
        assert torch.equal(images, torch.stack([rot90(x, q) for q in range(4)]))
        assert labels.tolist() == [0, 1, 2, 3]

    def test_tasks(self) -> None:
        x = some_images(2, 3, 1, 5, 5)
        images, labels = rotfast.rotate90_all(x)
        assert images.shape == (2, 12, 1, 5, 5)
        for t in range(2):
            expected = rotfast.rotate90_all(x[t])
            assert torch.equal(images[t], expected[0])
            assert torch.equal(labels[t], expected[1])

    def test_empty_batch(self) -> None:
        images, labels = rotfast.rotate90_all(some_images(0, 1, 4, 4))
        assert images.shape == (0, 1, 4, 4)
        assert labels.shape == (0,)

    def test_derivatives_and_vmap(self) -> None:
        x = torch.rand(2, 1, 3, 3, dtype=torch.float64)
        check_derivatives(lambda x: rotfast.rotate90_all(x)[0], [x])
        check_vmap(lambda x: rotfast.rotate90_all(x)[0], [x])

    def test_compiles_whole(self) -> None:
        x = some_images(3, 2, 5, 5)
        compiled = torch.compile(rotfast.rotate90_all, fullgraph=True, backend="aot_eager")
        for actual, expected in zip(compiled(x), rotfast.rotate90_all(x), strict=True):
            assert torch.equal(actual, expected)

    def test_rectangles(self) -> None:
        with pytest.raises(ValueError, match=r"^x must be square for quarter turns of one size, got 4 × 5$"):
            rotfast.rotate90_all(torch.rand(2, 1, 4, 5))
