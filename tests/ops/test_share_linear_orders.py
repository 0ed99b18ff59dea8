"""The two orders of share_linear: which one is taken, and that both compute every derivative."""

import itertools
import sys

import pytest
import torch
from torch import Tensor

from rotfast import backend, functional
from rotfast.ops.share_linear_orders import Shape, SharedForm, contracts, form_grad
from rotfast.testing import assert_close

needs_kernels = pytest.mark.skipif(not backend.kernels_loaded, reason="compiled kernels are missing")
ORDERS = sys.modules["rotfast.ops.share_linear_orders"]
HEAD = {"I": 21632, "O": 10, "L": 3, "g": 1, "x": 1, "v": 1, "own_U": False}


@pytest.mark.parametrize(
    ("rows", "tasks", "expected"),
    [
        (1, {}, False),
        (19, {}, False),
        (1024, {}, False),
        (19, {"g": 32, "x": 32}, False),
        (19, {"g": 5, "x": 5, "v": 5}, False),
        (1, {"g": 5, "x": 5, "v": 5}, True),
        (4, {"g": 5, "x": 5, "v": 5}, True),
        (19, {"g": 2, "v": 2}, False),
        (19, {"g": 5, "v": 5}, True),
        (19, {"g": 5, "v": 5, "own_U": True}, False),
    ],
    ids=str,
)
def test_contracts_where_tasks_would_need_weights_of_their_own(
    rows: int, tasks: dict[str, int], expected: bool
) -> None:
    assert contracts(Shape(rows, **{**HEAD, **tasks}), "cpu") is expected


def test_a_gpu_moves_less_for_its_arithmetic() -> None:
    """A shape at which numbers moved decide there, and products on a CPU."""
    shape = Shape(8, **{**HEAD, "g": 5, "x": 5, "v": 5})
    assert not contracts(shape, "cpu")
    assert contracts(shape, "cuda")


def formula(g: Tensor, x: Tensor, U: Tensor, v: Tensor) -> Tensor:
    W = (U * v.unsqueeze(-2)).sum(-1).unflatten(-1, (-1, x.shape[-1]))
    return (g * (x @ W.mT)).sum()


@needs_kernels
@pytest.mark.parametrize("tasks", [1, 5])
@pytest.mark.parametrize("contracted", [False, True], ids=["expand", "contract"])
@pytest.mark.parametrize("batched", list(itertools.product((False, True), repeat=4)), ids=str)
def test_both_orders_compute_every_first_and_second_derivative(
    batched: tuple[bool, ...], contracted: bool, tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ORDERS, "contracts", lambda shape, device: contracted and not shape.own_U)
    shapes = ((3, 2), (3, 4), (8, 3), (3,))
    leading = [(tasks,) if b else () for b in batched]
    tensors = [
        torch.randn(*first, *rest, dtype=torch.float64, requires_grad=True)
        for first, rest in zip(leading, shapes, strict=True)
    ]
    for position in range(4):
        actual = form_grad(*tensors, position)
        (expected,) = torch.autograd.grad(formula(*tensors), tensors[position], create_graph=True)
        assert_close(actual, expected)
        others = [t for p, t in enumerate(tensors) if p != position]
        direction = torch.randn_like(actual)
        for a, e in zip(
            torch.autograd.grad(actual, others, direction),
            torch.autograd.grad(expected, others, direction),
            strict=True,
        ):
            assert_close(a, e)


@needs_kernels
def test_blocks_of_rows_and_features() -> None:
    """Past the 64 rows and 512 features that the kernels take at once."""
    x, U, q = torch.randn(67, 1203), torch.randn(3 * 1203, 5), torch.randn(67, 15)
    columns = U.view(3, 1203, 5)
    raw = torch.ops.rotfast
    assert_close(raw.contract(x, U), torch.einsum("ni,oil->nol", x.double(), columns.double()).flatten(1))
    gx = torch.einsum("nol,oil->ni", q.view(67, 3, 5).double(), columns.double())
    assert_close(raw.contract_input_grad(q, U), gx)
    gU = torch.einsum("nol,ni->oil", q.view(67, 3, 5).double(), x.double())
    assert_close(raw.contract_sharing_grad(q, x, 5), gU.flatten(0, 1))


@pytest.mark.skipif(backend.why_not_compiled() is not None, reason="the reference expands")
def test_tasks_that_share_x_share_its_product_with_U(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under vmap, too, where a call sees a single task, and in the gradient taken inside of it."""
    taken: list[str] = []
    for order in ("_contract", "_expand"):
        run = getattr(ORDERS, order)
        monkeypatch.setattr(ORDERS, order, lambda *a, o=order, run=run: (taken.append(o), run(*a))[1])
    x, U, v = torch.randn(19, 2048), torch.randn(20480, 4), torch.randn(6, 4)

    def loss(v: Tensor, x: Tensor) -> Tensor:
        return functional.share_linear(x, U, v).square().sum()

    torch.vmap(torch.func.grad(loss), in_dims=(0, None))(v, x)
    assert taken == ["_contract", "_contract"]
    taken.clear()
    torch.vmap(torch.func.grad(loss))(v, x.expand(6, 19, 2048))
    assert taken == ["_expand"]  # the gradient; the value is expanded together with the bias


@pytest.mark.skipif(backend.why_not_compiled() is not None, reason="the reference expands")
def test_small_problems_contract_a_task_of_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(backend, "explain", lambda operator, way, reason: heard.append(reason))
    U, v = torch.randn(15, 2), torch.randn(2)
    for rows in (1, 2):
        x = torch.randn(4, rows, 5)
        y = torch.vmap(lambda x: functional.share_linear(x, U, v))(x)
        assert_close(y, x @ (U @ v).view(3, 5).T)
    assert heard[0] == "x U, then v: small, and one row"
    assert "x U, then v: small, and one row" not in heard[1:]


@needs_kernels
def test_no_weight_per_task_is_made_where_contracting() -> None:
    """32 weights of 20480 numbers would be 2.6 MB; the results are 24 KB."""
    x, U, v = torch.randn(19, 2048), torch.randn(20480, 4), torch.randn(32, 4)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, record_shapes=True
    ) as profile:
        SharedForm.forward(None, x, U, v, True)
    assert max(event.cpu_memory_usage for event in profile.events()) < 100_000
