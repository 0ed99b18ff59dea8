"""conv2d(x, W) with a generated kernel W, in plain PyTorch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rotfast.reference.expand_dense import expand_dense
from rotfast.reference.expand_kronecker import expand_kronecker


def conv2d(
    x: Tensor,
    W: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """conv2d in the dtype of x, in which x (T,N,C,H,W), W (T,O,I,kh,kw) and bias (T,O) may carry tasks T."""
    W = W.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    if W.dim() == 4 and (bias is None or bias.dim() == 1):
        images = x.flatten(0, 1) if x.dim() == 5 else x
        y = F.conv2d(images, W, bias, stride, padding, dilation, groups)
        return y.unflatten(0, x.shape[:2]) if x.dim() == 5 else y
    tasks = next(t.shape[0] for t, dim in ((x, 4), (W, 4), (bias, 1)) if t is not None and t.dim() > dim)
    if tasks == 0:
        one = F.conv2d(
            x.new_zeros(x.shape[-4:]), W.new_zeros(W.shape[-4:]), None, stride, padding, dilation, groups
        )
        return one.new_zeros(0, *one.shape) * (x.sum() + W.sum())
    outputs = []
    for t in range(tasks):
        x_t = x[t] if x.dim() == 5 else x
        W_t = W[t] if W.dim() == 5 else W
        bias_t = bias[t] if bias is not None and bias.dim() == 2 else bias
        outputs.append(F.conv2d(x_t, W_t, bias_t, stride, padding, dilation, groups))
    return torch.stack(outputs)


def share_conv2d(
    x: Tensor,
    weight: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """Expand weight (…,O,I,kh,kw) by A (O,O), B (I,I) and C (kh·kw, kh·kw), then convolve."""
    W = expand_kronecker(weight.flatten(-2), A, B, C).unflatten(-1, weight.shape[-2:])
    return conv2d(x, W, bias, stride, padding, dilation, groups)


def share_conv2d_full(
    x: Tensor,
    U: Tensor,
    v: Tensor,
    bias: Tensor | None,
    weight_shape: tuple[int, int, int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """Expand W = (U v).reshape(weight_shape), then convolve."""
    W = expand_dense(U, v).unflatten(-1, weight_shape)
    return conv2d(x, W, bias, stride, padding, dilation, groups)
