"""conv_relu_linear's kernels: odd shapes, tasks that share an argument, higher derivatives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rotfast import backend, reference
from rotfast.functional import conv_relu_share_linear
from rotfast.ops import conv_relu_linear
from rotfast.testing import assert_close

Step = tuple[int, int]
STEPS: tuple[Step, Step, Step] = ((1, 1), (0, 0), (1, 1))
compiled = pytest.mark.skipif(backend.why_not_compiled() is not None, reason="kernels are switched off")


def circuit(x: Tensor, kernel: Tensor, kernel_bias: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    return conv_relu_linear(x, kernel, kernel_bias, weight, bias, *STEPS)


def expected(x: Tensor, kernel: Tensor, kernel_bias: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    return reference.conv_relu_linear(x, kernel, kernel_bias, weight, bias, *STEPS)


def parameters(
    channels: int, kernel: Step, outputs: int, features: int, tasks: tuple[int, ...] = ()
) -> list[Tensor]:
    sizes = ((channels, 1, *kernel), (channels,), (outputs, channels * features), (outputs,))
    return [torch.randn(*tasks, *size, dtype=torch.float64).requires_grad_() for size in sizes]


def cubed(function: Callable[..., Tensor], *tensors: Tensor | None) -> Tensor:
    return function(*tensors).pow(3).sum()


def gradients(
    function: Callable[..., Tensor], order: int, wanted: list[Tensor], *tensors: Tensor
) -> list[Tensor]:
    """Of the sum of the squared gradients of the … of the cubed result, `order` deep."""
    loss = cubed(function, *tensors)
    for _ in range(order - 1):
        grads = torch.autograd.grad(loss, wanted, create_graph=True)
        loss = torch.stack([g.square().sum() for g in grads]).sum()
    return list(torch.autograd.grad(loss, wanted))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    ("images", "channels", "outputs", "size", "kernel"),
    [
        pytest.param(23, 9, 14, (9, 11), (3, 3), id="several blocks of images, groups and outputs"),
        pytest.param(1, 1, 1, (3, 4), (2, 2), id="less than a vector"),
        pytest.param(2, 5, 10, (5, 6), (2, 3), id="a vector and a bit"),
        pytest.param(2, 3, 4, (30, 45), (3, 2), id="several panels"),
    ],
)
def test_gradients_of_the_parameters(
    images: int, channels: int, outputs: int, size: Step, kernel: Step, order: int
) -> None:
    x = torch.randn(images, 1, *size, dtype=torch.float64)
    features = (size[0] - kernel[0] + 1) * (size[1] - kernel[1] + 1)
    wanted = parameters(channels, kernel, outputs, features)
    actual = gradients(circuit, order, wanted, x, *wanted)
    for a, e in zip(actual, gradients(expected, order, wanted, x, *wanted), strict=True):
        assert_close(a / e.abs().max(), e / e.abs().max())


@pytest.mark.parametrize("order", [1, 2, 3])
def test_without_a_bias_of_the_kernel(order: int) -> None:
    x = torch.randn(2, 1, 5, 6, dtype=torch.float64)
    kernel, _, weight, bias = wanted = parameters(3, (2, 2), 4, 20)
    wanted.pop(1)
    actual = gradients(circuit, order, wanted, x, kernel, None, weight, bias)
    for a, e in zip(actual, gradients(expected, order, wanted, x, kernel, None, weight, bias), strict=True):
        assert_close(a / e.abs().max(), e / e.abs().max())


@pytest.mark.parametrize("shared", range(5), ids=["x", "kernel", "kernel_bias", "weight", "bias"])
def test_third_order_of_vmapped_tasks(shared: int) -> None:
    """One argument without tasks, so that its gradients are of one task each under vmap."""
    tensors = [
        torch.randn(3, 2, 1, 4, 5, dtype=torch.float64),
        *[t.detach() for t in parameters(3, (2, 2), 4, 12, (3,))],
    ]
    in_dims = [None if position == shared else 0 for position in range(5)]
    tensors[shared] = tensors[shared][0]

    def derivative(function: Callable[..., Tensor], x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        def first(*p: Tensor) -> Tensor:
            grads = torch.func.grad(lambda *q: cubed(function, x, *q), argnums=(0, 1, 2, 3))(*p)
            return torch.stack([g.square().sum() for g in grads]).sum()

        def second(*p: Tensor) -> Tensor:
            grads = torch.func.grad(first, argnums=(0, 1, 2, 3))(*p)
            return torch.stack([g.square().sum() for g in grads]).sum()

        third: tuple[Tensor, ...] = torch.func.grad(second, argnums=(0, 1, 2, 3))(*parameters)
        return third

    actual = torch.vmap(lambda *t: derivative(circuit, *t), in_dims=tuple(in_dims))(*tensors)
    for task in range(3):
        slices = [t if dim is None else t[task] for t, dim in zip(tensors, in_dims, strict=True)]
        for a, e in zip(actual, derivative(expected, *slices), strict=True):
            assert_close(a[task] / e.abs().max(), e / e.abs().max())


def test_third_order_in_the_images_after_second_order_in_the_parameters() -> None:
    x = torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    wanted = parameters(3, (2, 2), 4, 12)

    def mixed(function: Callable[..., Tensor]) -> Tensor:
        loss = cubed(function, x, *wanted)
        for _ in range(2):
            grads = torch.autograd.grad(loss, wanted, create_graph=True)
            loss = torch.stack([g.square().sum() for g in grads]).sum()
        return torch.autograd.grad(loss, x)[0]

    e = mixed(expected)
    assert_close(mixed(circuit) / e.abs().max(), e / e.abs().max())


@compiled
@pytest.mark.parametrize("per_task", [True, False])
def test_an_argument_expanded_over_tasks_is_read_as_one(per_task: bool) -> None:
    x = torch.randn(3, 4, 1, 6, 7, dtype=torch.float64)
    once = [t.detach() for t in parameters(5, (3, 3), 4, 20)]
    direction = [torch.randn(3, *t.shape, dtype=torch.float64) for t in once[:3]]
    expanded = [t.expand(3, *t.shape) for t in once]
    copied = [t.contiguous() for t in expanded]
    ops, flags = torch.ops.rotfast, [per_task] * 3
    g = torch.randn(3, 4, 4, dtype=torch.float64)

    def run(kernel: Tensor, kernel_bias: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        y = ops.conv_relu_linear(x, kernel, kernel_bias, weight, bias, *STEPS)
        first = ops.conv_relu_linear_backward(g, x, kernel, kernel_bias, weight, *STEPS, *flags)
        arguments = (g, x, kernel, kernel_bias, weight, *direction, *STEPS, *flags)
        return [y, *first, *ops.conv_relu_linear_double_backward(*arguments)]

    for a, e in zip(run(*expanded), run(*copied), strict=True):
        assert_close(a, e)


@compiled
def test_derivatives_do_not_depend_on_the_number_of_threads() -> None:
    x = torch.rand(3, 21, 1, 12, 13)
    tensors = [t.detach().float().requires_grad_() for t in parameters(21, (3, 3), 10, 110, (3,))]

    def run() -> list[Tensor]:
        return [
            circuit(x, *tensors),
            *gradients(circuit, 1, tensors, x, *tensors),
            *gradients(circuit, 2, tensors, x, *tensors),
        ]

    single = run()
    torch.set_num_threads(2)
    try:
        double = run()
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(single, double, strict=True))


@compiled
def test_values_that_are_not_finite_stay_where_they_are() -> None:
    x = torch.rand(3, 1, 9, 9)
    kernel, kernel_bias, weight, bias = [t.detach().float() for t in parameters(5, (3, 3), 10, 49)]
    x[1, 0, 4, 4], weight[7, 60] = float("inf"), float("nan")
    y = circuit(x, kernel, kernel_bias, weight, bias)
    finite = torch.ones(3, 10, dtype=torch.bool)
    finite[1], finite[:, 7] = False, False
    assert torch.equal(y.isfinite(), finite)


def test_a_shared_head_keeps_the_dtype_of_autocast() -> None:
    x, kernel = torch.randn(5, 1, 1, 6, 6), torch.randn(4, 1, 3, 3)
    U, v = torch.randn(3 * 4 * 16, 2), torch.randn(5, 2)
    expected = conv_relu_share_linear(x, kernel, None, U, v)
    with torch.autocast("cpu", torch.bfloat16):
        actual = conv_relu_share_linear(x, kernel, None, U, v)
    assert actual.dtype == torch.bfloat16
    torch.testing.assert_close(actual.float(), expected, rtol=0.05, atol=0.5)
