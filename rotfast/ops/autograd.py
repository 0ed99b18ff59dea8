"""How the operators' autograd Functions are called and batched."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd import Function, forward_ad


class Operator(Function):
    """A Function whose calls do not take the signature of forward apart again, tens of microseconds each."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        forward: Any = cls.forward
        forward.__signature__ = inspect.signature(forward)


def call(function: type[Function], *args: Any) -> Any:
    """Run a Function, without its bookkeeping (tens of microseconds) when nothing can be differentiated.

    Inside torch.func transforms the bookkeeping is what dispatches to the vmap rule, and in forward mode what
    refuses to lose the tangent, so it stays.
    """
    if not recorded(*args):
        return function.forward(*args)
    if transformed() or torch.compiler.is_compiling():
        return function.apply(*args)
    # What apply comes to here; it binds the arguments to their names first, as slowly as a small kernel runs.
    return super(Function, function).apply(*unwrap_dead_wrappers(args))  # type: ignore[misc]


def needed(ctx: Any) -> tuple[bool, ...]:
    """Which arguments of forward get a gradient in this backward pass.

    ctx.needs_input_grad says which could. A gradient that is to be differentiated, as the inner one of a meta
    step, often asks for those of a few parameters only, and the rest can cost as much as the whole. Elsewhere
    all of them are taken for needed, for the question costs 15 µs a leaf.
    """
    could: tuple[bool, ...] = ctx.needs_input_grad
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return could
    nodes = iter([node for node, _ in ctx.next_functions if node is not None])
    return tuple(each and _will_run(next(nodes)) for each in could)


def _will_run(node: Any) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # a leaf that torch.autograd.grad asks for
        return True


def recorded(*args: Any) -> bool:
    """Whether a call with these arguments is to be differentiated or transformed.

    Raises:
        RuntimeError: torch.compile is tracing a torch.func transform. It would run forward without its
            Function, and every derivative would be zero. Told so, it leaves the transform to eager mode, and
            refuses with fullgraph.
    """
    if torch._C._are_functorch_transforms_active() and torch.compiler.is_compiling():
        raise RuntimeError("torch.compile must be inside torch.func transforms of rotfast, not around them")
    needs_graph = torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in args)
    return needs_graph or transformed()


def transformed() -> bool:
    """Whether a torch.func transform or forward-mode differentiation is active."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def batch_as_tasks(
    batch: int,
    in_dims: Sequence[int | None],
    tensors: Sequence[Tensor | None],
    ranks: Sequence[int],
    run: Callable[..., Any],
    *,
    expand: Sequence[int] = (),
) -> Any:
    """Turn a vmapped dimension into the task dimension and call ``run`` on the tensors.

    Arguments that are not batched stay shared, except those at the positions ``expand``. When an argument
    has a task dimension already (nested vmap), the new dimension is a loop.
    """
    has_tasks = any(
        t is not None and t.dim() - (dim is not None) > rank
        for t, dim, rank in zip(tensors, in_dims, ranks, strict=True)
    )
    if has_tasks:
        slices = [
            [
                t if t is None or dim is None else t.select(dim, b)
                for t, dim in zip(tensors, in_dims, strict=True)
            ]
            for b in range(batch)
        ]
        results = [run(*arguments) for arguments in slices]
        if isinstance(results[0], tuple):
            return tuple(torch.stack(column) for column in zip(*results, strict=True))
        return torch.stack(results)
    moved = []
    for position, (t, dim) in enumerate(zip(tensors, in_dims, strict=True)):
        if t is not None and dim is not None:
            t = t.movedim(dim, 0)
        elif t is not None and position in expand:
            t = t.expand(batch, *t.shape)
        moved.append(t)
    return run(*moved)


def match_tasks(tensor: Tensor, like: Tensor) -> Tensor:
    """Sum over tasks, or repeat for all tasks, so that the task dimension is that of ``like``."""
    if tensor.dim() > like.dim():
        return tensor.sum(0)
    if tensor.dim() < like.dim():
        return tensor.expand(like.shape[0], *tensor.shape)
    return tensor


def all_the_same(tensor: Tensor, rank: int) -> bool:
    """Whether the task dimension of this tensor only repeats one, as after ``expand``."""
    return tensor.dim() > rank and tensor.shape[0] > 1 and tensor.stride(0) == 0


def in_float32(tensor: Tensor) -> bool:
    """Whether kernels store this dtype but compute in float32."""
    return tensor.dtype in (torch.float16, torch.bfloat16)
