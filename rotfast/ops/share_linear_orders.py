"""The derivatives of share_linear, each by the cheaper of two orders.

F(g, x, U, v) = Σ g[n,o] x[n,i] U[oI+i,l] v[l] is linear in four arguments, so its four derivatives are closed
under differentiation. *Expanding* forms U v and g x, both as large as the weight, for every task that needs
its own. *Contracting* forms x U and g v, as large as the result times L, and no weight at all.
"""

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from rotfast import backend
from rotfast.ops import share_linear_tasks as in_lanes
from rotfast.ops.autograd import Operator, batch_as_tasks, call, match_tasks, needed

_RANKS = (2, 2, 2, 1)
# A tensor, or None for the argument in which the derivative is taken.
_Slot: TypeAlias = Any
# How many products cost as much as one number moved. CPU: one core, fitted with the margin below to the table
# in docs/operators.md. CUDA: float32 without tensor cores, from data sheets (20 for an A100, 40 for an H100);
# not measured.
_PRODUCTS_PER_NUMBER = {"cpu": 12, "cuda": 32}
# Contracting has to promise this much: expanded, the gradients of U and v share a product, not counted here.
_MARGIN = 1.75

if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::contract")
    def _fake(x: Tensor, U: Tensor) -> Tensor:
        return x.new_empty([x.shape[0], U.shape[0] // x.shape[1] * U.shape[1]])

    @torch.library.register_fake("rotfast::contract_input_grad")
    def _fake_input_grad(q: Tensor, U: Tensor) -> Tensor:
        return q.new_empty([q.shape[0], U.shape[0] // (q.shape[1] // U.shape[1])])

    @torch.library.register_fake("rotfast::contract_sharing_grad")
    def _fake_sharing_grad(q: Tensor, x: Tensor, L: int) -> Tensor:
        return q.new_empty([q.shape[1] // L * x.shape[1], L])


class Shape(NamedTuple):
    """Sizes of one task; how many tasks g, x and v, or their gradients, have; whether U is one for each."""

    N: int
    I: int  # noqa: E741
    O: int  # noqa: E741
    L: int
    g: int
    x: int
    v: int
    own_U: bool


def contracts(s: Shape, device: str) -> bool:
    """Whether to contract x with U before v comes in, instead of expanding the weight U v.

    Counts products, and numbers moved besides g, x and v: U once, the weights (or the gradients of weights)
    and x U, written and read. It is the same count for the value and for each gradient.
    """
    if s.own_U:
        return False
    size, contracted = s.O * s.I, s.x * s.N * s.O * s.L
    expanding = size * (s.L * s.v + s.N * max(s.g, s.x)), size * (s.L + 2 * s.v)
    contracting = contracted * s.I + max(s.g, s.v) * s.N * s.O * s.L, size * s.L + 2 * contracted
    ratio = _PRODUCTS_PER_NUMBER.get(device, _PRODUCTS_PER_NUMBER["cuda"])
    expanded_cost, contracted_cost = (ops + ratio * moved for ops, moved in (expanding, contracting))
    return expanded_cost > _MARGIN * contracted_cost


def shape(g: _Slot, x: _Slot, U: _Slot, v: _Slot, per_task: bool) -> Shape:
    """The shape of F, one argument of which is None; ``per_task`` says whether its derivative has tasks."""
    tensors = (g, x, U, v)
    batched = [t is not None and t.dim() > rank for t, rank in zip(tensors, _RANKS, strict=True)]
    tasks = next((t.shape[0] for t, b in zip(tensors, batched, strict=True) if b), 1)
    has_tasks = [b or (t is None and per_task) for t, b in zip(tensors, batched, strict=True)]
    counts = [tasks if has else 1 for has in has_tasks]
    return Shape(
        (g if x is None else x).shape[-2],
        U.shape[-2] // g.shape[-1] if x is None else x.shape[-1],
        U.shape[-2] // x.shape[-1] if g is None else g.shape[-1],
        (v if U is None else U).shape[-1],
        *(counts[0], counts[1], counts[3], has_tasks[2]),
    )


class SharedForm(Operator):
    """The derivative of F with respect to the argument that is None, summed over tasks unless ``per_task``.

    That of g, the value, is never summed.
    """

    @staticmethod
    def forward(g: _Slot, x: _Slot, U: _Slot, v: _Slot, per_task: bool) -> Tensor:
        if (g is None or per_task == (U is not None)) and in_lanes.serves(g, x, U, v):
            return in_lanes.derivative(g, x, U, v)
        s = shape(g, x, U, v, per_task or g is None)
        order = _contract if contracts(s, (g if x is None else x).device.type) else _expand
        return order(g, x, U, v, s, per_task)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        g, x, U, v = (direction if t is None else t for t in ctx.saved_tensors)
        wanted = needed(ctx)[:4]
        return *(form_grad(g, x, U, v, position) if n else None for position, n in enumerate(wanted)), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        tensors, per_task = args[:4], args[4]
        nested = any(
            t is not None and t.dim() - (dim is not None) > rank
            for t, dim, rank in zip(tensors, in_dims, _RANKS, strict=False)
        )

        def run(*tensors: Tensor | None) -> Tensor:
            return SharedForm.apply(*tensors, per_task if nested else True)

        return batch_as_tasks(info.batch_size, in_dims[:4], tensors, _RANKS, run), 0


def form_grad(g: Tensor, x: Tensor, U: Tensor, v: Tensor, position: int) -> Tensor:
    """The gradient of F with respect to the argument at ``position``, with that one's task dimension."""
    tensors = (g, x, U, v)
    others = [None if p == position else t for p, t in enumerate(tensors)]
    like, rank = tensors[position], _RANKS[position]
    batched = any(t is not None and t.dim() > rank for t, rank in zip(others, _RANKS, strict=True))
    return match_tasks(call(SharedForm, *others, batched and like.dim() > rank), like)


def _expand(g: _Slot, x: _Slot, U: _Slot, v: _Slot, s: Shape, per_task: bool) -> Tensor:
    raw = torch.ops.rotfast
    if U is not None and v is not None:
        W = raw.expand_dense(U, v).unflatten(-1, (s.O, s.I))
        return raw.linear(x, W, None) if g is None else raw.linear_input_grad(g, W, per_task)
    batched = per_task or (v.dim() > 1 if U is None else U.dim() > 2)
    gW = raw.linear_weight_grad(g, x, batched and (g.dim() > 2 or x.dim() > 2)).flatten(-2)
    if U is None:
        return raw.expand_dense_sharing_grad(gW, v, per_task)
    return raw.expand_dense_latent_grad(U, gW, per_task)


def _contract(g: _Slot, x: _Slot, U: _Slot, v: _Slot, s: Shape, per_task: bool) -> Tensor:
    """As `_expand`, for a U that the tasks share."""
    raw = torch.ops.rotfast
    tasks_of_x = () if x is None else x.shape[:-2]
    if x is None:
        q = _weighted(g, v) if per_task else _summed(g, v)
        return raw.contract_input_grad(q.reshape(-1, s.O * s.L), U).view(*q.shape[:-2], s.I)
    rows = x.reshape(-1, s.I)
    if U is None:
        q = _weighted(g, v).expand(*tasks_of_x, s.N, s.O, s.L) if tasks_of_x else _summed(g, v)
        return raw.contract_sharing_grad(q.reshape(-1, s.O * s.L), rows, s.L)
    z = raw.contract(rows, U).view(*tasks_of_x, s.N * s.O, s.L)
    if v is not None:
        y = z @ v.unsqueeze(-1) if tasks_of_x or v.dim() < 2 else v @ z.mT
        return y.reshape(*(tasks_of_x or v.shape[:-1]), s.N, s.O)
    g = g.flatten(-2)
    if tasks_of_x:
        gv = (g.unsqueeze(-2) @ z).squeeze(-2)
        return gv if per_task else gv.sum(0)
    return g @ z if per_task or g.dim() < 2 else g.sum(0) @ z


def _weighted(g: Tensor, v: Tensor) -> Tensor:
    """g[n,o] v[l] for every task."""
    return g.unsqueeze(-1) * v[..., None, None, :]


def _summed(g: Tensor, v: Tensor) -> Tensor:
    """g[n,o] v[l], summed over tasks."""
    if g.dim() > 2 and v.dim() > 1:
        return torch.einsum("tno,tl->nol", g, v)
    g = g.sum(0) if g.dim() > 2 else g
    return _weighted(g, v.sum(0) if v.dim() > 1 else v)
