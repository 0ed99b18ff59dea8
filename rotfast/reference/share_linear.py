"""x W(U, v)ᵀ + b in plain PyTorch."""

import torch
from torch import Tensor

from rotfast.reference.expand_dense import expand_dense


def share_linear(x: Tensor, U: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[n,o] = Σ x[n,i] W[o,i] + b[o] with W = (U v).reshape(O, I).

    x is (*, I). When U, v or bias carries a task dimension T, x is (T, *, I). Computes in the dtype of x.
    """
    W = expand_dense(U, v).unflatten(-1, (-1, x.shape[-1]))
    return linear(x, W, bias, tasks=W.dim() == 3 or (bias is not None and bias.dim() == 2))


def linear(x: Tensor, W: Tensor, bias: Tensor | None, tasks: bool) -> Tensor:
    """x Wᵀ + b in the dtype of x; with ``tasks`` x is (T, *, I), W and b may be per task, too."""
    W = W.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    if not tasks:
        return torch.nn.functional.linear(x, W, bias)
    flat = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
    y: Tensor = flat @ W.transpose(-1, -2)
    if bias is not None:
        y = y + (bias.unsqueeze(-2) if bias.dim() == 2 else bias)
    return y.reshape(*x.shape[:-1], y.shape[-1])
