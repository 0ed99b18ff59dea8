"""The contract of every operator: values, any derivative, vmap, dtypes, layouts, sizes, compile."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from rotfast import backend, functional, reference
from rotfast.ops.autograd import call
from rotfast.ops.expand_dense import ExpandDense
from rotfast.ops.expand_kronecker import ExpandKronecker
from rotfast.ops.share_linear import Linear, ShareLinear
from rotfast.testing import assert_close, check_derivatives, check_vmap


@dataclass(frozen=True)
class Case:
    """An operator, the shapes of its tensors and an independent formula for its value."""

    name: str
    function: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    formula: Callable[..., Tensor]

    def tensors(self, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        return [torch.randn(shape, dtype=torch.float64).to(dtype) for shape in self.shapes]


def kronecker_formula(w: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    U = torch.kron(torch.kron(A, B), C)
    return (U @ w.flatten()).reshape(A.shape[0], B.shape[0], C.shape[0])


def conv_case(
    name: str, x: tuple[int, ...], weight: tuple[int, int, int, int], bias: bool = True, **options: Any
) -> Case:
    O, I, kh, kw = weight  # noqa: E741
    taps = kh * kw

    def function(*tensors: Tensor) -> Tensor:
        x, weight, A, B, C, *rest = tensors
        return functional.share_conv2d(x, weight, A, B, C, *rest, **options)

    def formula(*tensors: Tensor) -> Tensor:
        x, weight, A, B, C, *rest = tensors
        W = kronecker_formula(weight.flatten(-2), A, B, C).reshape(weight.shape)
        layer = torch.nn.Conv2d(
            I * options.get("groups", 1), O, (kh, kw), bias=bool(rest), dtype=x.dtype, **options
        )
        parameters = {"weight": W, **({"bias": rest[0]} if rest else {})}
        return torch.func.functional_call(layer, parameters, (x,))

    shapes = (x, weight, (O, O), (I, I), (taps, taps), *(((O,),) if bias else ()))
    return Case(name, function, shapes, formula)


def linear_formula(x: Tensor, U: Tensor, v: Tensor, *bias: Tensor) -> Tensor:
    W = (U * v.unsqueeze(-2)).sum(-1).unflatten(-1, (-1, x.shape[-1]))
    return x @ W.mT + (bias[0].unsqueeze(-2) if bias else 0)


def full_conv(x: Tensor, U: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return functional.share_conv2d_full(x, U, v, bias, weight_shape=(4, 1, 3, 2), padding=1)


def full_conv_formula(x: Tensor, U: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    W = (U * v).sum(-1).reshape(4, 1, 3, 2)
    return torch.nn.functional.conv2d(x, W, bias, padding=1)


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.cuda,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ]
)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a test's tensors are; cuDNN would round float32 to TF32 by default."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with torch.device(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def kernels_for_small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send small problems to the kernels too, which leave them to the library otherwise."""
    monkeypatch.setattr(sys.modules["rotfast.ops.share_conv2d"], "_SMALL", 0)
    monkeypatch.setattr(sys.modules["rotfast.ops.share_linear"], "_LANE_WEIGHTS", 0)


def kronecker_kernel(w: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    return call(ExpandKronecker, w, A, B, C)


def dense_kernel(U: Tensor, v: Tensor) -> Tensor:
    """Without the choice of backend, which sends small U to the library."""
    return call(ExpandDense, U, v)


def linear_kernel(x: Tensor, W: Tensor) -> Tensor:
    return call(Linear, x, W)


def share_linear_kernel(x: Tensor, U: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return call(ShareLinear, x, U, v, bias)


def circuit(x: Tensor, kernel: Tensor, kernel_bias: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.conv_relu_linear(x, kernel, kernel_bias, weight, bias, padding=(1, 0))


def circuit_formula(x: Tensor, kernel: Tensor, kernel_bias: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    features = torch.nn.functional.conv2d(x, kernel, kernel_bias, padding=(1, 0)).relu().flatten(-3)
    return features @ weight.T + bias


def circuit_case(name: str, x: tuple[int, ...], kernel: tuple[int, int, int, int], outputs: int) -> Case:
    O, _, kh, kw = kernel  # noqa: E741
    features = O * (x[-2] + 3 - kh) * (x[-1] + 1 - kw)
    return Case(name, circuit, (x, kernel, (O,), (outputs, features), (outputs,)), circuit_formula)


def shared_circuit_formula(
    x: Tensor, kernel: Tensor, kernel_bias: Tensor, U: Tensor, v: Tensor, bias: Tensor
) -> Tensor:
    """One task, or a task dimension in all but U."""
    if v.dim() > 1:
        tasks = zip(x, kernel, kernel_bias, v, bias, strict=True)
        return torch.stack([shared_circuit_formula(x, k, kb, U, v, b) for x, k, kb, v, b in tasks])
    features = torch.nn.functional.conv2d(x, kernel, kernel_bias).relu().flatten(-3)
    return features @ (U * v).sum(-1).reshape(-1, features.shape[-1]).T + bias


SMALL = [
    Case("kronecker", functional.expand_kronecker, ((3, 2, 4), (5, 3), (2, 2), (3, 4)), kronecker_formula),
    Case(
        "kronecker-1x1x1", functional.expand_kronecker, ((1, 1, 1), (1, 1), (1, 1), (1, 1)), kronecker_formula
    ),
    Case("dense", functional.expand_dense, ((7, 3), (3,)), lambda U, v: (U * v).sum(-1)),
    Case("dense-1", functional.expand_dense, ((1, 1), (1,)), lambda U, v: (U * v).sum(-1)),
    Case("linear", functional.share_linear, ((4, 5), (15, 3), (3,), (3,)), linear_formula),
    Case("linear-vector", functional.share_linear, ((5,), (15, 2), (2,)), linear_formula),
    Case("linear-tasks", functional.share_linear, ((4, 1, 5), (15, 2), (4, 2)), linear_formula),
    Case("linear-3d", functional.share_linear, ((2, 3, 5), (10, 2), (2,), (2,)), linear_formula),
    *(
        [
            Case(
                "kronecker-kernel",
                kronecker_kernel,
                ((3, 2, 4), (5, 3), (2, 2), (3, 4)),
                kronecker_formula,
            ),
            Case("dense-kernel", dense_kernel, ((7, 3), (3,)), lambda U, v: (U * v).sum(-1)),
            Case("linear-kernel", linear_kernel, ((4, 5), (3, 5)), lambda x, W: x @ W.T),
            Case("share-linear-kernel", share_linear_kernel, ((4, 5), (15, 3), (3,), (3,)), linear_formula),
            Case("share-linear-kernel-1", share_linear_kernel, ((1, 1), (1, 1), (1,), (1,)), linear_formula),
            Case(
                "share-linear-kernel-tasks",
                share_linear_kernel,
                ((5, 2, 3), (6, 2), (5, 2), (5, 2)),
                linear_formula,
            ),
            # One row: x meets U first, unless a vmap makes it many.
            Case(
                "share-linear-kernel-row", share_linear_kernel, ((1, 30), (60, 2), (2,), (2,)), linear_formula
            ),
        ]
        if backend.kernels_loaded
        else []
    ),
    conv_case("conv-1to3", (2, 1, 5, 6), (3, 1, 3, 3)),
    conv_case("conv-unbatched", (1, 4, 4), (2, 1, 2, 2)),
    conv_case("conv-1x1-image", (1, 1, 1, 1), (1, 1, 1, 1)),
    conv_case("conv-5-out", (1, 2, 5, 5), (5, 2, 2, 3), bias=False),
    conv_case("conv-stride", (2, 1, 7, 8), (2, 1, 3, 3), stride=2, padding=1),
    conv_case("conv-stride-2x3", (1, 1, 7, 9), (2, 1, 2, 3), stride=(2, 3), padding=(1, 2)),
    conv_case("conv-dilation", (1, 1, 7, 7), (2, 1, 3, 2), dilation=(2, 1), padding=(2, 1)),
    conv_case("conv-wide-padding", (1, 1, 2, 3), (2, 1, 3, 3), padding=3),
    conv_case("conv-groups", (2, 4, 5, 5), (4, 2, 3, 3), groups=2),
    conv_case("conv-depthwise", (1, 3, 4, 4), (3, 1, 3, 3), groups=3, padding=1),
    conv_case("conv-same", (1, 1, 5, 5), (2, 1, 2, 3), padding="same"),
    conv_case("conv-valid", (1, 1, 5, 5), (2, 1, 3, 3), padding="valid"),
    conv_case("conv-circular", (1, 1, 5, 5), (2, 1, 3, 3), padding=1, padding_mode="circular"),
    conv_case("conv-reflect", (1, 1, 5, 5), (2, 1, 3, 3), padding=(1, 2), padding_mode="reflect"),
    conv_case("conv-replicate-same", (1, 1, 5, 5), (2, 1, 2, 2), padding="same", padding_mode="replicate"),
    conv_case("conv-many-taps", (1, 5, 4, 4), (2, 5, 3, 3)),
    circuit_case("circuit", (2, 1, 4, 5), (3, 1, 3, 3), 4),
    circuit_case("circuit-unbatched", (2, 3, 3), (2, 2, 2, 2), 3),
    circuit_case("circuit-many-taps", (1, 4, 3, 3), (2, 4, 3, 3), 2),
    Case(
        "shared-circuit",
        functional.conv_relu_share_linear,
        ((2, 1, 4, 5), (2, 1, 3, 3), (2,), (48, 2), (2,), (4,)),
        shared_circuit_formula,
    ),
    # One image for each of three tasks: the head of no task is formed.
    Case(
        "shared-circuit-tasks",
        functional.conv_relu_share_linear,
        ((3, 1, 1, 4, 5), (3, 2, 1, 3, 3), (3, 2), (48, 2), (3, 2), (3, 4)),
        shared_circuit_formula,
    ),
    Case("conv-full", full_conv, ((2, 1, 5, 5), (24, 3), (3,), (4,)), full_conv_formula),
]
# Sizes at which every branch of the kernels runs: several panels, tile tails, several blocks and chunks.
LARGE = [
    conv_case("conv-28x28", (19, 1, 28, 28), (32, 1, 3, 3)),
    conv_case("conv-33x31", (3, 3, 33, 31), (7, 3, 3, 3), padding=1, stride=(1, 2)),
    conv_case("conv-one-vector", (2, 1, 10, 10), (5, 1, 3, 3)),
    conv_case(
        "conv-padded-rows", (3, 2, 11, 20), (6, 2, 3, 2), padding=(2, 1), stride=(2, 1), dilation=(1, 3)
    ),
    conv_case("conv-2-groups", (9, 2, 17, 23), (10, 1, 5, 5), groups=2, dilation=2, padding=4),
    circuit_case("circuit-28x28", (19, 1, 28, 28), (32, 1, 3, 3), 10),
    circuit_case("circuit-2-channels", (9, 2, 13, 17), (5, 2, 3, 3), 7),
    conv_case("conv-library", (2, 16, 12, 12), (24, 16, 3, 3)),
    Case(
        "kronecker-32", functional.expand_kronecker, ((32, 5, 9), (32, 32), (5, 5), (9, 9)), kronecker_formula
    ),
    Case(
        "kronecker-library",
        functional.expand_kronecker,
        ((96, 3, 25), (96, 96), (3, 3), (25, 25)),
        kronecker_formula,
    ),
    Case("dense-blocks", functional.expand_dense, ((1300, 6), (6,)), lambda U, v: (U * v).sum(-1)),
    Case("dense-3-columns", functional.expand_dense, ((30000, 3), (3,)), lambda U, v: (U * v).sum(-1)),
    Case("linear-head", functional.share_linear, ((37, 2100), (21000, 3), (3,), (10,)), linear_formula),
    Case("linear-contracted", functional.share_linear, ((2, 2100), (42000, 2), (2,), (20,)), linear_formula),
    Case("linear-library", functional.share_linear, ((5, 1500), (49500, 2), (2,), (33,)), linear_formula),
    Case("linear-many-tasks", functional.share_linear, ((37, 19, 70), (2450, 3), (37, 3)), linear_formula),
    Case("linear-many-columns", functional.share_linear, ((13, 2, 33), (363, 35), (13, 35)), linear_formula),
    Case("dense-library", functional.expand_dense, ((50, 80), (80,)), lambda U, v: (U * v).sum(-1)),
]


def ids(case: Case) -> str:
    return case.name


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", SMALL + LARGE, ids=ids)
def test_value(case: Case, dtype: torch.dtype) -> None:
    if "kernel" in case.name and dtype in (torch.float16, torch.bfloat16):
        pytest.skip("half types are cast before the kernel")
    tensors = [0.2 * t for t in case.tensors()]
    expected = case.formula(*(t.to(dtype).double() for t in tensors))
    actual = case.function(*(t.to(dtype) for t in tensors))
    assert actual.dtype == dtype
    assert_close(actual, expected)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_first_and_second_derivatives(case: Case) -> None:
    check_derivatives(case.function, case.tensors())


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("case", LARGE, ids=ids)
def test_gradients_at_kernel_sizes(case: Case) -> None:
    tensors = [t.requires_grad_() for t in case.tensors()]
    direction = torch.randn_like(case.function(*tensors))
    actual = torch.autograd.grad(case.function(*tensors), tensors, direction)
    expected = torch.autograd.grad(case.formula(*tensors), tensors, direction)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("case", SMALL[::3], ids=ids)
def test_third_derivative(case: Case) -> None:
    tensors = [t.requires_grad_() for t in case.tensors()]

    def third(function: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        value = function(*tensors).pow(3).sum()
        for _ in range(2):
            value = sum(g.pow(2).sum() for g in torch.autograd.grad(value, tensors, create_graph=True))
        return torch.autograd.grad(value, tensors)

    for a, e in zip(third(case.function), third(case.formula), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_vmap_over_every_subset_of_arguments(case: Case) -> None:
    check_vmap(case.function, case.tensors())


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_vmap_of_gradients(case: Case) -> None:
    tensors = case.tensors()
    grad = torch.func.grad(lambda *a: case.function(*a).pow(3).sum(), argnums=tuple(range(len(tensors))))
    for position in range(len(tensors)):
        many = torch.randn(3, *tensors[position].shape, dtype=torch.float64)
        in_dims = tuple(0 if p == position else None for p in range(len(tensors)))
        before, after = tensors[:position], tensors[position + 1 :]
        batched = torch.vmap(grad, in_dims=in_dims)(*before, many, *after)
        for i in range(3):
            single = grad(*before, many[i], *after)
            for b, s in zip(batched, single, strict=True):
                assert_close(b[i], s)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("case", SMALL[::2], ids=ids)
def test_nested_vmap_of_second_derivatives(case: Case) -> None:
    tensors = case.tensors()
    count = len(tensors)

    def second(function: Callable[..., Tensor], *args: Tensor) -> tuple[Tensor, ...]:
        def norm(*a: Tensor) -> Tensor:
            grads = torch.func.grad(lambda *b: function(*b).pow(3).sum(), argnums=tuple(range(count)))(*a)
            return sum(g.pow(2).sum() for g in grads)

        return torch.func.grad(norm, argnums=tuple(range(count)))(*args)

    first = torch.randn(2, *tensors[0].shape, dtype=torch.float64)
    other = torch.randn(3, *tensors[1].shape, dtype=torch.float64)
    inner = torch.vmap(lambda *a: second(case.function, *a), in_dims=(None, 0, *[None] * (count - 2)))
    outer = torch.vmap(inner, in_dims=(0, None, *[None] * (count - 2)))
    actual = outer(first, other, *tensors[2:])
    for i in range(2):
        for j in range(3):
            expected = second(case.formula, first[i], other[j], *tensors[2:])
            for a, e in zip(actual, expected, strict=True):
                torch.testing.assert_close(a[i, j], e, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_gradient_through_vmap_sums_shared_arguments(case: Case) -> None:
    """The meta-gradient's form: per-task values of the first argument, everything else shared."""
    tensors = [t.requires_grad_() for t in case.tensors()]
    many = torch.randn(4, *tensors[0].shape, dtype=torch.float64, requires_grad=True)
    arguments = [many, *tensors[1:]]
    in_dims = (0, *[None] * (len(tensors) - 1))

    def loss(function: Callable[..., Tensor]) -> Tensor:
        return torch.vmap(function, in_dims=in_dims)(*arguments).pow(3).sum()

    loop = sum(case.function(many[t], *tensors[1:]).pow(3).sum() for t in range(4))
    actual = torch.autograd.grad(loss(case.function), arguments)
    for a, e in zip(actual, torch.autograd.grad(loop, arguments), strict=True):
        assert_close(a, e)


@pytest.mark.skipif(backend.why_not_compiled() is not None, reason="the reference has forward mode")
@pytest.mark.parametrize("name", ["conv-1to3", "circuit"])
def test_forward_mode_is_refused(name: str) -> None:
    case = next(c for c in SMALL if c.name == name)
    first, *others = case.tensors()
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="jvp"):
        case.function(forward_ad.make_dual(first, torch.ones_like(first)), *others)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_strided_arguments(case: Case) -> None:
    tensors = case.tensors()
    strided = [torch.stack([t, t], dim=-1)[..., 0].requires_grad_() for t in tensors]
    result = case.function(*strided)
    assert_close(result, case.formula(*tensors))
    direction = torch.randn_like(result).mT.contiguous().mT if result.dim() > 1 else torch.randn_like(result)
    expected = torch.autograd.grad(case.formula(*strided), strided, direction)
    for a, e in zip(torch.autograd.grad(result, strided, direction), expected, strict=True):
        assert_close(a, e)


def test_channels_last_is_kept() -> None:
    x = torch.randn(2, 3, 9, 9).to(memory_format=torch.channels_last)
    y = functional.share_conv2d(x, torch.randn(4, 3, 3, 3), torch.eye(4), torch.eye(3), torch.eye(9))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("batch", [(0,), (0, 3), (2, 0)], ids=str)
def test_empty_batches(batch: tuple[int, ...], channels: int) -> None:
    shape = (*batch, channels, 5, 5)
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(*shape[:-4], 4, channels, 3, 3, requires_grad=True)
    y = functional.share_conv2d(x, weight, torch.eye(4), torch.eye(channels), torch.eye(9), torch.ones(4))
    assert y.shape == (*shape[:-3], 4, 3, 3)
    grads = torch.autograd.grad(y.sum(), (x, weight))
    assert all(torch.equal(g, torch.zeros_like(t)) for g, t in zip(grads, (x, weight), strict=True))


@pytest.mark.usefixtures("device")
def test_empty_linear_batches() -> None:
    U, v = torch.randn(15, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    y = functional.share_linear(torch.randn(0, 5), U, v)
    assert y.shape == (0, 3)
    assert torch.equal(torch.autograd.grad(y.sum(), U)[0], torch.zeros(15, 3))
    tasks = functional.share_linear(torch.randn(0, 2, 5), U, torch.randn(0, 3))
    assert tasks.shape == (0, 2, 3)


@pytest.mark.skipif(backend.why_not_compiled() is not None, reason="the library's threads are its own affair")
@pytest.mark.parametrize("case", [c for c in LARGE if "library" not in c.name], ids=ids)
def test_result_does_not_depend_on_the_number_of_threads(case: Case) -> None:
    tensors = [t.requires_grad_() for t in case.tensors(torch.float32)]

    def run() -> tuple[Tensor, ...]:
        y = case.function(*tensors)
        return (y, *torch.autograd.grad(y, tensors, torch.ones_like(y)))

    single = run()
    torch.set_num_threads(2)
    try:
        double = run()
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(single, double, strict=True))


@pytest.mark.parametrize("name", ["conv-1to3", "conv-many-taps", "linear", "conv-full"])
def test_autocast_gives_the_autocast_dtype(name: str) -> None:
    case = next(c for c in SMALL if c.name == name)
    tensors = [t.requires_grad_() for t in case.tensors(torch.float32)]
    expected = case.formula(*tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = case.function(*tensors)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=5e-2, atol=0.3)
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(y.float().sum(), tensors))


@pytest.mark.parametrize("name", ["kronecker", "dense"])
def test_expansion_keeps_its_dtype_under_autocast(name: str) -> None:
    case = next(c for c in SMALL if c.name == name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert case.function(*case.tensors(torch.float32)).dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["kronecker", "dense", "linear", "linear-tasks", "conv-1to3", "conv-many-taps", "conv-full"]
)
def test_compiles_as_one_graph(name: str) -> None:
    case = next(c for c in SMALL if c.name == name)
    tensors = [t.requires_grad_() for t in case.tensors()]
    torch.compiler.reset()
    compiled = torch.compile(case.function, fullgraph=True, backend="aot_eager")
    y, expected = compiled(*tensors), case.formula(*tensors)
    assert_close(y, expected)
    direction = torch.randn_like(y)
    grads = torch.autograd.grad(y, tensors, direction)
    for a, e in zip(grads, torch.autograd.grad(expected, tensors, direction), strict=True):
        assert_close(a, e)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kronecker", "dense", "linear", "conv-1to3"])
def test_compiled_transforms_are_right_or_refused(name: str) -> None:
    """Traced, a transform would see forward without its derivative: silent zeros."""
    case = next(c for c in SMALL if c.name == name)
    tensors = case.tensors()

    def gradient(*arguments: Tensor) -> Tensor:
        return torch.func.grad(lambda first: case.function(first, *arguments[1:]).square().sum())(
            arguments[0]
        )

    expected = gradient(*tensors)
    assert expected.abs().max() > 0
    torch.compiler.reset()
    assert_close(torch.compile(gradient, backend="aot_eager")(*tensors), expected)
    torch.compiler.reset()
    with contextlib.suppress(torch._dynamo.exc.Unsupported):
        assert_close(torch.compile(gradient, fullgraph=True, backend="aot_eager")(*tensors), expected)


GEOMETRY = ([1, 1], [1, 0], [1, 1], 1)
RAW = {
    "expand_kronecker": ((3, 2, 4), (5, 3), (2, 2), (3, 4)),
    "expand_kronecker-tasks": ((6, 3, 2, 4), (5, 3), (6, 2, 2), (3, 4)),
    "expand_kronecker_backward": ((5, 2, 3), (3, 2, 4), (5, 3), (2, 2), (3, 4)),
    "expand_kronecker_backward-tasks": ((6, 5, 2, 3), (6, 3, 2, 4), (5, 3), (2, 2), (3, 4)),
    "expand_dense": ((7, 3), (3,)),
    "expand_dense-tasks": ((7, 3), (4, 3)),
    "expand_dense_latent_grad": ((7, 3), (7,), False),
    "expand_dense_latent_grad-tasks": ((7, 3), (4, 7), True),
    "expand_dense_sharing_grad": ((4, 7), (4, 3), False),
    "expand_dense_sharing_grad-tasks": ((4, 7), (4, 3), True),
    "contract": ((4, 5), (15, 2)),
    "contract_input_grad": ((4, 6), (15, 2)),
    "contract_sharing_grad": ((4, 6), (4, 5), 2),
    "linear": ((4, 5), (3, 5), (3,)),
    "linear-tasks": ((6, 4, 5), (3, 5), (6, 3)),
    "share_linear_tasks": ((4, 2, 5), (15, 3), (4, 3), False),
    "share_linear_tasks_backward": ((4, 2, 3), (4, 2, 5), (15, 3), None),
    "linear_input_grad": ((4, 3), (3, 5), False),
    "linear_input_grad-tasks": ((6, 4, 3), (6, 3, 5), False),
    "linear_weight_grad": ((4, 3), (4, 5), False),
    "linear_weight_grad-tasks": ((6, 4, 3), (4, 5), True),
    "conv2d": ((2, 1, 5, 5), (3, 1, 3, 3), (3,), *GEOMETRY),
    "conv2d-tasks": ((2, 1, 5, 5), (4, 3, 1, 3, 3), None, *GEOMETRY),
    "conv_relu_linear": ((2, 1, 5, 5), (3, 1, 3, 3), (3,), (4, 45), (4,), *GEOMETRY[:3]),
    "conv_relu_linear-tasks": ((6, 2, 1, 5, 5), (3, 1, 3, 3), (6, 3), (6, 4, 45), None, *GEOMETRY[:3]),
    "conv_relu_linear_backward": (
        (2, 4),
        (2, 1, 5, 5),
        (3, 1, 3, 3),
        (3,),
        (4, 45),
        *GEOMETRY[:3],
        *[False] * 3,
    ),
    "conv_relu_linear_backward-tasks": (
        (6, 2, 4),
        (2, 1, 5, 5),
        (6, 3, 1, 3, 3),
        (6, 3),
        (4, 45),
        *GEOMETRY[:3],
        *(True, False, True),
    ),
    "conv_relu_linear_double_backward": (
        (2, 4),
        (2, 1, 5, 5),
        *[(3, 1, 3, 3), (3,), (4, 45)] * 2,
        *GEOMETRY[:3],
        *[False] * 3,
    ),
    "conv_relu_linear_double_backward-tasks": (
        (6, 2, 4),
        (2, 1, 5, 5),
        *((6, 3, 1, 3, 3), (6, 3), (4, 45)),
        *((6, 3, 1, 3, 3), (6, 3), (6, 4, 45)),
        *GEOMETRY[:3],
        *(True, False, True),
    ),
    "conv2d_input_grad": ((2, 3, 5, 3), (3, 1, 3, 3), [2, 1, 5, 5], *GEOMETRY),
    "rotate90": ((3, 2, 4, 4), torch.tensor([1, -2, 7])),
    "rotate90-tasks": ((2, 2, 4, 4), torch.tensor([[1, -2, 7], [0, 1, 2]])),
    "rotate90_all": ((3, 2, 4, 4),),
    "conv2d_weight_grad": ((2, 1, 5, 5), (4, 2, 3, 5, 3), [4, 3, 1, 3, 3], *GEOMETRY),
    "conv2d_parameter_grads": ((2, 1, 5, 5), (2, 3, 5, 3), [3, 1, 3, 3], *GEOMETRY),
    "conv2d_parameter_grads-tasks": ((2, 1, 5, 5), (4, 2, 3, 5, 3), [4, 3, 1, 3, 3], *GEOMETRY),
}


@pytest.mark.skipif(not backend.kernels_loaded, reason="compiled kernels are missing")
@pytest.mark.parametrize("name", RAW)
def test_opcheck_of_registered_operators(name: str) -> None:
    operator = getattr(torch.ops.rotfast, name.removesuffix("-tasks")).default
    args = [torch.randn(a) if isinstance(a, tuple) else a for a in RAW[name]]
    utilities = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(operator, args, test_utils=utilities)


@pytest.mark.skipif(not backend.kernels_loaded, reason="compiled kernels are missing")
def test_every_registered_operator_is_checked() -> None:
    names = [name.split("::") for name in torch._C._dispatch_get_all_op_names()]
    elsewhere = ("affine", "rotation_matrix")  # test_affine.py
    registered = {name for space, name in names if space == "rotfast" and not name.startswith(elsewhere)}
    assert registered == {name.removesuffix("-tasks") for name in RAW}


def test_references_agree_with_the_formulas() -> None:
    for case in SMALL[:7]:
        tensors = case.tensors()
        name = case.function.__name__
        assert_close(getattr(reference, name)(*tensors), case.formula(*tensors))
