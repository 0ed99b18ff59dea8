"""share_linear: autograd, vmap and fake kernels over torch.ops.rotfast.linear and its derivatives.

For few outputs and many features one Function does it all, by expanding the weight or by contracting x with U
first, and for many small tasks as well, with a lane for each; elsewhere the fused expansion is followed by
the library's matrix product.

The linear map, its input gradient and its weight gradient are the three derivatives of one trilinear form
⟨g, x Wᵀ⟩: each one's backward is the other two.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from rotfast import backend, reference
from rotfast.ops import share_linear_tasks as in_lanes
from rotfast.ops.autograd import (
    Operator,
    batch_as_tasks,
    call,
    in_float32,
    match_tasks,
    needed,
    recorded,
    transformed,
)
from rotfast.ops.expand_dense import expand_dense, is_small, latent_grad, sharing_grad, why_not_compiled
from rotfast.ops.share_linear_orders import SharedForm, contracts, form_grad, shape

# From so many features and up to so many outputs the kernels beat the library's product (one core, AVX-512);
# not measured on a GPU.
_FEATURES = 1024
_OUTPUTS = 32
# With fewer weights in all tasks together a Function costs more than what the lanes save.
_LANE_WEIGHTS = 1 << 13

if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::linear")
    def _fake(x: Tensor, W: Tensor, bias: Tensor | None) -> Tensor:
        tasks = [t.shape[0] for t, rank in ((x, 2), (W, 2), (bias, 1)) if t is not None and t.dim() > rank]
        return x.new_empty([*tasks[:1], x.shape[-2], W.shape[-2]])

    @torch.library.register_fake("rotfast::linear_input_grad")
    def _fake_input_grad(g: Tensor, W: Tensor, per_task: bool) -> Tensor:
        return g.new_empty([*_tasks(g, W, per_task), g.shape[-2], W.shape[-1]])

    @torch.library.register_fake("rotfast::linear_weight_grad")
    def _fake_weight_grad(g: Tensor, x: Tensor, per_task: bool) -> Tensor:
        return g.new_empty([*_tasks(g, x, per_task), g.shape[-1], x.shape[-1]])


def _tasks(a: Tensor, b: Tensor, per_task: bool) -> list[int]:
    return [a.shape[0] if a.dim() > 2 else b.shape[0]] if per_task else []


class Linear(Operator):
    """y[n,o] = Σ x[n,i] W[o,i]; x (N,I), W (O,I), either with a task dimension."""

    @staticmethod
    def forward(x: Tensor, W: Tensor) -> Tensor:
        return torch.ops.rotfast.linear(x, W, None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, W = ctx.saved_tensors
        needs_x, needs_W = needed(ctx)
        return (
            input_grad(g, W, like=x) if needs_x else None,
            weight_grad(g, x, like=W) if needs_W else None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, W: Tensor) -> tuple[Tensor, int]:
        return batch_as_tasks(info.batch_size, in_dims, (x, W), (2, 2), Linear.apply), 0


class LinearInputGrad(Operator):
    """gx = g W, summed over tasks unless ``per_task``."""

    @staticmethod
    def forward(g: Tensor, W: Tensor, per_task: bool) -> Tensor:
        return torch.ops.rotfast.linear_input_grad(g, W, per_task)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        g, W = ctx.saved_tensors
        needs_g, needs_W, _ = needed(ctx)
        return (
            match_tasks(call(Linear, direction, W), g) if needs_g else None,
            weight_grad(g, direction, like=W) if needs_W else None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], g: Tensor, W: Tensor, per_task: bool) -> tuple[Tensor, int]:
        return _vmap_grad(LinearInputGrad, info, in_dims, g, W, per_task)


class LinearWeightGrad(Operator):
    """gW = gᵀ x, summed over tasks unless ``per_task``."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, per_task: bool) -> Tensor:
        return torch.ops.rotfast.linear_weight_grad(g, x, per_task)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        g, x = ctx.saved_tensors
        needs_g, needs_x, _ = needed(ctx)
        return (
            match_tasks(call(Linear, x, direction), g) if needs_g else None,
            input_grad(g, direction, like=x) if needs_x else None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], g: Tensor, x: Tensor, per_task: bool) -> tuple[Tensor, int]:
        return _vmap_grad(LinearWeightGrad, info, in_dims, g, x, per_task)


def _vmap_grad(
    function: type[Function], info: Any, in_dims: tuple[Any, ...], a: Tensor, b: Tensor, per_task: bool
) -> tuple[Tensor, int]:
    nested = any(t.dim() - (dim is not None) > 2 for t, dim in zip((a, b), in_dims, strict=False))

    def run(a: Tensor, b: Tensor) -> Tensor:
        return function.apply(a, b, per_task if nested else True)

    return batch_as_tasks(info.batch_size, in_dims[:2], (a, b), (2, 2), run), 0


def input_grad(g: Tensor, W: Tensor, like: Tensor) -> Tensor:
    """The gradient of ⟨g, x Wᵀ⟩ with respect to x, with the task dimension of ``like``."""
    per_task = like.dim() > 2 and (g.dim() > 2 or W.dim() > 2)
    return match_tasks(call(LinearInputGrad, g, W, per_task), like)


def weight_grad(g: Tensor, x: Tensor, like: Tensor) -> Tensor:
    """The gradient of ⟨g, x Wᵀ⟩ with respect to W, with the task dimension of ``like``."""
    per_task = like.dim() > 2 and (g.dim() > 2 or x.dim() > 2)
    return match_tasks(call(LinearWeightGrad, g, x, per_task), like)


class ShareLinear(Operator):
    """y = x reshape(U v)ᵀ + bias in one Function; nothing as large as the weight is kept for backward."""

    @staticmethod
    def forward(x: Tensor, U: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        if in_lanes.serves(None, x, U, v):
            backend.explain("share_linear", "cpu", "a lane for each task")
            y = in_lanes.derivative(None, x, U, v)
            return y if bias is None else y + bias.unsqueeze(-2)
        contracted = contracts(shape(None, x, U, v, per_task=True), x.device.type)
        where = "cpu" if x.is_cpu else "Triton"
        backend.explain("share_linear", where, "x U, then v" if contracted else "U v, then x")
        if contracted:
            y = SharedForm.forward(None, x, U, v, per_task=True)
            return y if bias is None else y + bias.unsqueeze(-2)
        W = torch.ops.rotfast.expand_dense(U, v).unflatten(-1, (-1, x.shape[-1]))
        return torch.ops.rotfast.linear(x, W, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, bias = inputs
        ctx.save_for_backward(*tensors)
        ctx.bias_dim = None if bias is None else bias.dim()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, U, v = ctx.saved_tensors
        needs_x, needs_U, needs_v, needs_bias = needed(ctx)
        gx = form_grad(g, x, U, v, 1) if needs_x else None
        gU: Tensor | None = None
        gv: Tensor | None = None
        if needs_U and needs_v and in_lanes.serves(g, x, U, v) and not recorded(g, x, U, v):
            gU, gv = in_lanes.gradients(g, x, U, v)
        elif needs_U and needs_v and not contracts(shape(g, x, None, v, per_task=U.dim() > 2), x.device.type):
            # Both are made of the weight's gradient, which is taken once.
            per_task = (U.dim() > 2 or v.dim() > 1) and (g.dim() > 2 or x.dim() > 2)
            gW = call(LinearWeightGrad, g, x, per_task).flatten(-2)
            gU, gv = sharing_grad(gW, v, like=U), latent_grad(U, gW, like=v)
        else:
            gU = form_grad(g, x, U, v, 2) if needs_U else None
            gv = form_grad(g, x, U, v, 3) if needs_v else None
        g_bias: Tensor | None = None
        if needs_bias:
            g_bias = g.sum(-2)
            g_bias = g_bias.sum(0) if g_bias.dim() > ctx.bias_dim else g_bias
        return gx, gU, gv, g_bias

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *tensors: Any) -> tuple[Tensor, int]:
        run = ShareLinear.apply
        return batch_as_tasks(info.batch_size, in_dims, tensors, (2, 2, 1, 1), run), 0


def _why_not_fused(x: Tensor, U: Tensor) -> str | None:
    if (reason := why_not_compiled(U)) is not None:
        return reason
    if x.dtype != U.dtype or (x.is_cpu and in_float32(x)):
        return f"the library's product serves {x.dtype}"
    features = x.shape[-1]
    if features < _FEATURES or U.shape[-2] // features > _OUTPUTS:
        return f"fewer than {_FEATURES} features or more than {_OUTPUTS} outputs"
    return None


def _has_lanes(x: Tensor, U: Tensor, v: Tensor) -> bool:
    if v.dim() < 2 or x.dtype != U.dtype or v.shape[0] * U.shape[-2] < _LANE_WEIGHTS:
        return False
    # Inside torch.func a Function costs more than these products.
    if backend.why_not_compiled() is not None or transformed():
        return False
    return in_lanes.serves(None, _rows(x, True), U, v)


def share_linear(x: Tensor, U: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """y[n,o] = Σ x[n,i] W[o,i] + b[o] with W = (U v).reshape(O, I); arguments are checked already."""
    tasks = U.dim() > 2 or v.dim() > 1 or (bias is not None and bias.dim() > 1)
    reason = None if _has_lanes(x, U, v) else _why_not_fused(x, U)
    if reason is None:
        y = call(ShareLinear, _rows(x, tasks), U, v, bias)
        return y.reshape(*x.shape[:-1], y.shape[-1])
    if backend.why_not_compiled() is not None:
        backend.explain("share_linear", "reference", reason)
        return reference.share_linear(x, U, v, bias)
    if transformed() and not tasks and x.shape[:-1].numel() == 1 and x.dtype == U.dtype and is_small(U):
        # Most likely a row for each vmapped task: the weight's gradient of each would cost more than x U.
        backend.explain("share_linear", "torch's products", "x U, then v: small, and one row")
        columns = U.unflatten(0, (-1, x.shape[-1])).transpose(0, 1).flatten(1)
        y = (x @ columns).unflatten(-1, (-1, U.shape[-1])) @ v
        return y if bias is None else y + bias
    backend.explain("share_linear", "expansion, then torch's product", reason)
    W = expand_dense(U, v)
    if not tasks and x.dtype == W.dtype:
        return F.linear(x, W.view(-1, x.shape[-1]), bias)
    return library_linear(x, W.unflatten(-1, (-1, x.shape[-1])), bias, tasks)


def library_linear(x: Tensor, W: Tensor, bias: Tensor | None, tasks: bool) -> Tensor:
    """torch's linear map in the dtype of x, batched over tasks when x (T, *, I) has them."""
    W = W.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    if not tasks:
        return F.linear(x, W, bias)
    weight = W.transpose(-1, -2).expand(x.shape[0], *W.shape[:-3:-1])
    if bias is None:
        y = torch.bmm(_rows(x, tasks), weight)
    else:
        y = torch.baddbmm(bias.unsqueeze(-2) if bias.dim() == 2 else bias, _rows(x, tasks), weight)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def _rows(x: Tensor, tasks: bool) -> Tensor:
    """(*, I) as (N, I), or (T, *, I) as (T, N, I)."""
    if x.dim() == tasks + 1:
        return x.unsqueeze(-2)
    return x.flatten(int(tasks), -2)
