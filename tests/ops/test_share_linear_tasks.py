"""share_linear with a task in each lane: when, every derivative, and nothing that nobody asks for."""

import sys

import pytest
import torch
from torch import Tensor

from rotfast import backend, functional
from rotfast.ops import share_linear_tasks as in_lanes
from rotfast.ops.share_linear_orders import SharedForm
from rotfast.testing import assert_close

needs_kernels = pytest.mark.skipif(not backend.kernels_loaded, reason="compiled kernels are missing")
chosen = pytest.mark.skipif(backend.why_not_compiled() is not None, reason="the reference expands")


@pytest.fixture(autouse=True)
def lanes_for_small_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["rotfast.ops.share_linear"], "_LANE_WEIGHTS", 0)


def formula(x: Tensor, U: Tensor, v: Tensor) -> Tensor:
    return x @ (v @ U.T).unflatten(-1, (-1, x.shape[-1])).mT


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("tasks", "rows", "features", "outputs", "latent"),
    [
        (32, 19, 70, 68, 3),
        (1, 1, 1, 1, 1),
        (37, 2, 5, 9, 33),
        (4, 4, 6, 6, 8),
        (8, 5, 4, 3, 9),
        (70, 1, 33, 2, 17),
        (5, 0, 2, 2, 2),
        (3, 7, 200, 5, 4),
    ],
)
def test_kernels_at_odd_sizes(
    tasks: int, rows: int, features: int, outputs: int, latent: int, dtype: torch.dtype
) -> None:
    x, g = torch.randn(tasks, rows, features).to(dtype), torch.randn(tasks, rows, outputs).to(dtype)
    U, v = torch.randn(outputs * features, latent).to(dtype), torch.randn(tasks, latent).to(dtype)
    raw = torch.ops.rotfast
    exact = [t.double().requires_grad_() for t in (x, U, v)]
    y = formula(*exact)
    gx, gU, gv = torch.autograd.grad(y, exact, g.double())
    # As the terms of a sum may cancel, errors are those of its largest result.
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-13}

    def check(actual: Tensor, expected: Tensor) -> None:
        scale = expected.abs().max().clamp(min=1) if expected.numel() else 1
        torch.testing.assert_close(actual.double() / scale, expected / scale, **tolerance)

    check(raw.share_linear_tasks(x, U, v, False), y.detach())
    check(raw.share_linear_tasks(g, U, v, True), gx)
    for actual, expected in zip(raw.share_linear_tasks_backward(g, x, U, v), (gU, gv), strict=True):
        check(actual, expected)
    nothing, alone = raw.share_linear_tasks_backward(g, x, U, None)
    assert nothing.numel() == 0
    check(alone, gv)
    alone, nothing = raw.share_linear_tasks_backward(g, x, None, v)
    assert nothing.numel() == 0
    check(alone, gU)


@needs_kernels
def test_no_tasks_have_a_gradient_of_zero() -> None:
    gU, gv = torch.ops.rotfast.share_linear_tasks_backward(
        torch.randn(0, 2, 3), torch.randn(0, 2, 5), torch.randn(15, 4), torch.randn(0, 4)
    )
    assert torch.equal(gU, torch.zeros(15, 4))
    assert gv.shape == (0, 4)


@needs_kernels
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4, 2, 5), (16, 3), (4, 3), False), "does not divide"),
        (((4, 2, 5), (15, 3), (4, 2), False), "v must be"),
        (((2, 5), (15, 3), (4, 3), False), "must have tasks"),
    ],
)
def test_kernels_refuse_what_does_not_fit(arguments: tuple, message: str) -> None:
    *shapes, transposed = arguments
    with pytest.raises(RuntimeError, match=message):
        torch.ops.rotfast.share_linear_tasks(*map(torch.randn, shapes), transposed)


@chosen
def test_who_gets_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(backend, "explain", lambda operator, way, reason: heard.append(reason))

    def in_lanes(tasks: int, features: int = 6, dtype: torch.dtype = torch.float32) -> bool:
        heard.clear()
        x, U, v = torch.randn(tasks, 2, features), torch.randn(3 * features, 2), torch.randn(tasks, 2)
        functional.share_linear(x.to(dtype), U.to(dtype), v.to(dtype))
        return heard[0] == "a lane for each task"

    assert in_lanes(4)
    assert in_lanes(33, dtype=torch.float64)
    assert not in_lanes(3)
    assert not in_lanes(4, features=2000)
    assert not in_lanes(4, dtype=torch.bfloat16)
    monkeypatch.undo()
    monkeypatch.setattr(backend, "explain", lambda operator, way, reason: heard.append(reason))
    assert not in_lanes(454)
    assert in_lanes(456)
    monkeypatch.setattr(sys.modules["rotfast.ops.share_linear"], "_LANE_WEIGHTS", 0)
    x, U, v = torch.randn(7, 4, 2, 6), torch.randn(18, 2), torch.randn(4, 2)
    heard.clear()
    y = torch.vmap(lambda x: functional.share_linear(x, U, v))(x)
    assert "a lane for each task" not in heard
    assert_close(y, formula(x, U, v))


@chosen
def test_third_derivatives() -> None:
    shapes = ((4, 2, 3), (6, 2), (4, 2))
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def third(function) -> tuple[Tensor, ...]:
        value = function(*tensors).pow(3).sum()
        for _ in range(2):
            value = sum(g.pow(2).sum() for g in torch.autograd.grad(value, tensors, create_graph=True))
        return torch.autograd.grad(value, tensors)

    for actual, expected in zip(third(functional.share_linear), third(formula), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@needs_kernels
@pytest.mark.parametrize("latent", [2, 9])
def test_tasks_that_repeat_one_latent_vector(latent: int) -> None:
    x, g = torch.randn(5, 2, 4, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    U, one = torch.randn(12, latent, dtype=torch.float64), torch.randn(latent, dtype=torch.float64)
    same, each = one.expand(5, latent), one.repeat(5, 1)
    for form in ((None, x, U), (g, None, U), (g, x, None)):
        assert_close(in_lanes.derivative(*form, same), in_lanes.derivative(*form, each))
    for actual, expected in zip(
        in_lanes.gradients(g, x, U, same), in_lanes.gradients(g, x, U, each), strict=True
    ):
        assert_close(actual, expected)


@needs_kernels
def test_a_gradient_for_each_task_of_what_tasks_share_is_not_for_lanes() -> None:
    x, g, v = torch.randn(5, 2, 4), torch.randn(5, 2, 3), torch.randn(5, 2)
    each = torch.einsum("tno,tni,tl->toil", g, x, v).flatten(1, 2)
    assert_close(SharedForm.forward(g, x, None, v, True), each)
    assert_close(SharedForm.forward(g, x, None, v, False), each.sum(0))
    U = torch.randn(12, 2)
    gv = torch.einsum("tno,tni,oil->tl", g, x, U.view(3, 4, 2))
    assert_close(SharedForm.forward(g, x, U, None, True), gv)
    assert_close(SharedForm.forward(g, x, U, None, False), gv.sum(0))


@chosen
def test_gradients_nobody_asks_for_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[bool, bool]] = []
    run = in_lanes.gradients
    monkeypatch.setattr(
        in_lanes,
        "gradients",
        lambda g, x, U, v: (taken.append((v is not None, U is not None)), run(g, x, U, v))[1],
    )
    x = torch.randn(5, 2, 4)
    U, v = torch.randn(12, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    y = functional.share_linear(x, U, v).square().sum()
    torch.autograd.grad(y, v, create_graph=True)
    assert taken == [(False, True)]
    torch.autograd.grad(y, U, create_graph=True)
    assert taken == [(False, True), (True, False)]
    taken.clear()
    y.backward()
    assert taken == [(True, True)]  # of one gradient of the weight


@chosen
def test_many_gradients_in_one_call() -> None:
    x = torch.randn(5, 2, 4)
    tensors = torch.randn(12, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    y = functional.share_linear(x, *tensors)
    directions = torch.randn(3, *y.shape)
    many = torch.autograd.grad(y, tensors, directions, is_grads_batched=True, retain_graph=True)
    for i, direction in enumerate(directions):
        for a, e in zip(many, torch.autograd.grad(y, tensors, direction, retain_graph=True), strict=True):
            assert_close(a[i], e)
