"""The direct convolution's kernels where their tiles end: widths, channels and taps that fill none."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast import backend
from rotfast.ops.autograd import call
from rotfast.ops.conv2d import ConvParameterGrads, make_geometry
from rotfast.testing import assert_close, check_derivatives, check_vmap

pytestmark = pytest.mark.skipif(backend.why_not_compiled() is not None, reason="the kernels do not run")

# Image, kernel (O, I, kh, kw), stride, padding, dilation, groups. Vectors hold 4 to 16 elements, tiles up to
# 3 vectors, 4 channels and 5 taps; patches of an image above some hundred pixels are laid out in panels.
SHAPES = {
    "one-pixel": ((1, 1), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    "3-wide": ((6, 5), (2, 1, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    "7-wide": ((9, 9), (4, 1, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    "15-wide": ((17, 17), (5, 1, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    "17-wide": ((19, 19), (7, 1, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    "28x28": ((28, 28), (32, 1, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    "32x32": ((32, 32), (24, 1, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    "1-row": ((3, 70), (6, 1, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    "1x1": ((8, 9), (3, 2, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    "2x3": ((8, 9), (3, 1, 2, 3), (1, 1), (1, 2), (1, 1), 1),
    "11x1": ((14, 13), (9, 1, 11, 1), (1, 1), (0, 0), (1, 1), 1),
    "5x5": ((13, 21), (6, 1, 5, 5), (1, 1), (2, 2), (1, 1), 1),
    "3-channels": ((33, 31), (10, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "panels": ((60, 61), (5, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "panels-strided": ((101, 99), (5, 3, 3, 3), (2, 1), (0, 1), (1, 2), 1),
    "stride": ((23, 22), (4, 1, 3, 3), (2, 3), (1, 1), (1, 1), 1),
    "dilation": ((23, 22), (4, 1, 3, 2), (1, 1), (2, 1), (3, 2), 1),
    "groups": ((12, 19), (3, 2, 3, 3), (1, 1), (1, 0), (1, 1), 3),
}


def geometry(name: str) -> tuple[tuple[int, int], tuple[int, ...], tuple[object, ...]]:
    image, (O, I, kh, kw), *rest, groups = SHAPES[name]  # noqa: E741
    return image, (O * groups, I, kh, kw), (*rest, groups)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_kernels_agree_with_the_library(name: str, dtype: torch.dtype) -> None:
    image, kernel, options = geometry(name)
    channels = kernel[1] * options[-1]
    x = torch.randn(3, channels, *image, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(kernel[0], dtype=torch.float64, requires_grad=True)
    y = F.conv2d(x, weight, bias, *options)
    g = torch.randn_like(y)
    gx, gw, gb = torch.autograd.grad(y, (x, weight, bias), g)
    kernels = torch.ops.rotfast
    x, weight, bias, g = (t.detach().to(dtype) for t in (x, weight, bias, g))
    assert_close(kernels.conv2d(x, weight, bias, *options), y.detach().to(dtype))
    assert_close(kernels.conv2d_input_grad(g, weight, x.shape, *options), gx.to(dtype))
    assert_close(kernels.conv2d_weight_grad(x, g, weight.shape, *options), gw.to(dtype))
    actual = kernels.conv2d_parameter_grads(x, g, weight.shape, *options)
    assert_close(actual[0], gw.to(dtype))
    assert_close(actual[1], gb.to(dtype))


@pytest.mark.parametrize("images", [0, 1, 2, 19])
@pytest.mark.parametrize("tasks", [1, 3, 40])
def test_parameter_gradients_of_tasks_and_their_sum(tasks: int, images: int) -> None:
    options = ((1, 1), (0, 0), (1, 1), 1)
    x, g = torch.randn(tasks, images, 1, 6, 7).double(), torch.randn(tasks, images, 5, 4, 5).double()
    kernels = torch.ops.rotfast
    gw, gb = kernels.conv2d_parameter_grads(x, g, [tasks, 5, 1, 3, 3], *options)
    for t in range(tasks):
        weight = torch.nn.grad.conv2d_weight(x[t], [5, 1, 3, 3], g[t]) if images else torch.zeros(5, 1, 3, 3)
        assert_close(gw[t], weight.to(x.dtype))
        assert_close(gb[t], g[t].sum((0, 2, 3)))
    total, per_task = kernels.conv2d_parameter_grads(x, g, [5, 1, 3, 3], *options)
    assert_close(total, gw.sum(0))
    assert torch.equal(per_task, gb)


def test_no_value_reaches_what_does_not_read_it() -> None:
    """Vectors cover positions and taps beyond their own; infinities there must not become NaN."""
    x, weight = torch.ones(1, 1, 7, 9), torch.ones(3, 1, 3, 3)
    options = ((1, 1), (0, 0), (1, 1), 1)
    x[0, 0, -1, -1] = torch.inf
    y = torch.ops.rotfast.conv2d(x, weight, None, *options)
    assert torch.equal(y, F.conv2d(x, weight))
    g = torch.zeros(1, 3, 5, 7)
    g[0, :, 0, :] = 1
    finite = torch.ones_like(x)
    finite[0, 0, :, -1] = torch.inf  # read by the last column of taps only
    gw, gb = torch.ops.rotfast.conv2d_parameter_grads(finite, g, [3, 1, 3, 3], *options)
    assert torch.equal(gw[..., :2], torch.full((3, 1, 3, 2), 7.0))
    assert gw[..., 2].isnan().all() or gw[..., 2].isinf().all()
    assert torch.equal(gb, torch.full((3,), 7.0))


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    x, g = torch.randn(70, 1, 28, 28), torch.randn(70, 32, 26, 26)
    shape, options = [32, 1, 3, 3], ((1, 1), (0, 0), (1, 1), 1)
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(torch.ops.rotfast.conv2d_parameter_grads(x, g, shape, *options))
    torch.set_num_threads(threads)
    for gw, gb in results[1:]:
        assert torch.equal(gw, results[0][0])
        assert torch.equal(gb, results[0][1])


@pytest.mark.parametrize("per_task", [False, True])
def test_parameter_gradients_differentiate(per_task: bool) -> None:
    x, g = torch.randn(2, 2, 1, 4, 5).double(), torch.randn(2, 2, 3, 3, 3).double()
    made = make_geometry(x, (3, 1, 2, 3), (1, 1), (0, 0), (1, 1), 1)

    def both(x: Tensor, g: Tensor) -> Tensor:
        gw, gb = call(ConvParameterGrads, x, g, per_task, made)
        return torch.cat([gw.flatten(), gb.flatten()])

    check_derivatives(both, [x, g])
    if not per_task:
        check_derivatives(both, [x[0], g[0]])
        check_derivatives(both, [x[0], g])
        check_vmap(both, [x, g])
