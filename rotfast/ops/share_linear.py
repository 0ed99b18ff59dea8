"""share_linear: expand the weight, then one (batched) matrix product; both differentiable to any order."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast import backend, reference
from rotfast.ops.expand_dense import expand_dense


def share_linear(x: Tensor, U: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """y[n,o] = Σ x[n,i] W[o,i] + b[o] with W = (U v).reshape(O, I); arguments are checked already."""
    reason = backend.why_not_compiled()
    if reason is not None:
        backend.explain("share_linear", "reference", reason)
        return reference.share_linear(x, U, v, bias)
    W = expand_dense(U, v).unflatten(-1, (-1, x.shape[-1])).to(x.dtype)
    bias = bias if bias is None else bias.to(x.dtype)
    if W.dim() == 2 and (bias is None or bias.dim() == 1):
        return F.linear(x, W, bias)
    rows = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
    weight = W.transpose(-1, -2).expand(x.shape[0], *W.shape[:-3:-1])
    if bias is None:
        y = torch.bmm(rows, weight)
    else:
        y = torch.baddbmm(bias.unsqueeze(-2) if bias.dim() == 2 else bias, rows, weight)
    return y.reshape(*x.shape[:-1], y.shape[-1])
