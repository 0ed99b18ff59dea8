"""Losses of many tasks at once, without a torch.func transform where the loss is one that is known."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

Loss = Callable[[Any, Any], Tensor]

# What torch's cross-entropy leaves out of the mean.
_IGNORED = -100


def scalar(loss: Any) -> Tensor:
    """Check that a loss is a scalar tensor.

    Raises:
        TypeError: it is no tensor.
        ValueError: it is no scalar.
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"loss_fn: expected it to return a scalar tensor; got {type(loss).__name__}")
    if loss.ndim != 0:
        raise ValueError(
            f"loss_fn: expected it to return a scalar for one task; got shape {tuple(loss.shape)}"
        )
    return loss


def per_task(loss_fn: Loss, outputs: Tensor, y: Any) -> Tensor:
    """The loss of every task, (T,), of outputs (T, N, …) and y (T, N, …)."""
    if isinstance(y, Tensor) and not torch.is_autocast_enabled(outputs.device.type):
        if loss_fn is F.mse_loss and outputs.shape == y.shape:
            difference = (outputs - y).flatten(1)
            return cast(Tensor, _MeanSquare.apply(difference))  # type: ignore[no-untyped-call]
        if loss_fn is F.cross_entropy and outputs.dim() == 3 and outputs.shape[:2] == y.shape:
            each = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none")
            return each.view(y.shape).sum(1) / (y != _IGNORED).sum(1)
    mapped: Tensor = torch.func.vmap(lambda outputs, y: scalar(loss_fn(outputs, y)))(outputs, y)
    return mapped


class _MeanSquare(Function):
    """Mean of d² over the last dimension: one pass over d forward and one back; autograd takes three."""

    @staticmethod
    def forward(ctx: Any, d: Tensor) -> Tensor:
        ctx.save_for_backward(d)
        norm: Tensor = torch.linalg.vector_norm(d, dim=1)  # vecdot would write d² out
        return norm.square() / d.shape[1]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        d: Tensor = ctx.saved_tensors[0]
        return d * (g * (2 / d.shape[1])).unsqueeze(1)
