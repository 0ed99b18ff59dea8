"""The CUDA kernels of the quarter turns against those of the CPU, bit for bit."""

import pytest
import torch
from torch import Tensor

from rotfast import ops

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DTYPES = (
    *(torch.uint8, torch.bool, torch.int64, torch.float16, torch.bfloat16),
    *(torch.float32, torch.float64, torch.complex128),
)


def images(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return (100 * torch.rand(shape)).to(dtype)


def turns(*shape: int, step: int = 1) -> Tensor:
    return (torch.arange(-3, torch.Size(shape).numel() - 3) * step).reshape(shape)


def check(x: Tensor, k: Tensor, on_device: Tensor) -> None:
    """``on_device`` is x there, in the layout to be tested."""
    for there, here in (
        (ops.rotate90(on_device, k.cuda()), ops.rotate90(x, k)),
        *([(ops.rotate90_all(on_device), ops.rotate90_all(x))] if x.shape[2] == x.shape[3] else []),
    ):
        assert there.is_cuda
        assert torch.equal(there.cpu(), here)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 2, 7, 31, 32, 33, 64, 130])
def test_values_of_every_dtype(size: int, dtype: torch.dtype) -> None:
    x = images((5, 2, size, size), dtype)
    check(x, turns(5), x.cuda())
    check(x, turns(5, 3), x.cuda())


@pytest.mark.parametrize("size", [(1, 9), (40, 17), (33, 300)], ids=str)
def test_half_turns_of_rectangles(size: tuple[int, int]) -> None:
    x = images((4, 3, *size), torch.float32)
    check(x, turns(4, step=2), x.cuda())
    assert torch.equal(ops.rotate90(x.cuda(), turns(4).cuda()).cpu(), ops.rotate90(x, turns(4) // 2 * 2))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8, 16])
def test_any_layout(channels: int, dtype: torch.dtype) -> None:
    x = images((4, channels, 37, 37), dtype)
    there = x.cuda()
    last = there.to(memory_format=torch.channels_last)
    check(x, turns(4), last)
    check(x, turns(4), there.mT.contiguous().mT)
    check(x, turns(4), torch.stack([there, there], -1)[..., 0])
    check(x, turns(4), torch.cat([last, last])[4:])
    shifted = torch.empty(x.numel() + 1, dtype=dtype, device="cuda")[1:]  # at an odd address
    check(x, turns(4), shifted.as_strided(last.shape, last.stride()).copy_(there))


def test_channels_last_is_kept() -> None:
    x = images((2, 3, 9, 9), torch.float32).cuda().to(memory_format=torch.channels_last)
    for y in (ops.rotate90(x, turns(2).cuda()), ops.rotate90_all(x)):
        assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 3, 3)], ids=str)
def test_empty_batches(shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, device="cuda")
    assert ops.rotate90(x, turns(shape[0]).cuda()).shape == shape
    assert ops.rotate90_all(x).shape == (4 * shape[0], *shape[1:])


def test_gradients() -> None:
    here = images((3, 2, 40, 40), torch.float64).requires_grad_()
    there = here.detach().cuda().requires_grad_()
    pairs = (
        (ops.rotate90(there, turns(3).cuda()), ops.rotate90(here, turns(3))),
        (ops.rotate90(there, turns(3, 2).cuda()), ops.rotate90(here, turns(3, 2))),
        (ops.rotate90_all(there), ops.rotate90_all(here)),
    )
    for on_device, on_host in pairs:
        g = torch.randint(-8, 8, on_host.shape).double()
        (actual,) = torch.autograd.grad(on_device, there, g.cuda())
        assert torch.equal(actual.cpu(), torch.autograd.grad(on_host, here, g)[0])


def test_vmap() -> None:
    x, k = images((6, 2, 9, 9), torch.float32).unflatten(0, (3, 2)), turns(3, 2)
    for in_dims in ((0, 0), (0, None), (None, 0)):
        args = [t if dim == 0 else t[0] for t, dim in zip((x, k), in_dims, strict=True)]
        expected = torch.vmap(ops.rotate90, in_dims)(*args)
        assert torch.equal(torch.vmap(ops.rotate90, in_dims)(*(a.cuda() for a in args)).cpu(), expected)


def test_current_stream() -> None:
    x = images((64, 3, 256, 256), torch.float32).cuda()
    expected = ops.rotate90_all(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        y = ops.rotate90_all(x + 1)
    stream.synchronize()
    assert torch.equal(y, expected + 1)


@pytest.mark.slow
def test_results_of_more_than_two_billion_elements() -> None:
    x = torch.randint(256, (1, 1, 24000, 24000), dtype=torch.uint8, device="cuda")
    y = ops.rotate90_all(x)
    for q in range(4):
        assert torch.equal(y[q], torch.rot90(x[0], q, (-2, -1)))
