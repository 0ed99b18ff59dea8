"""conv_relu_share_linear: conv_relu_linear with a generated head, by the cheaper of two orders.

Few images a task: all columns of U are outputs of one head that the tasks share, and v mixes its results.
Many images: the head of each task is expanded.
"""

import torch
from torch import Tensor

from rotfast import backend
from rotfast.ops.autograd import transformed
from rotfast.ops.conv2d import Pair
from rotfast.ops.conv_relu_linear import OUTPUTS, conv_relu_linear
from rotfast.ops.expand_dense import expand_dense
from rotfast.ops.share_linear_orders import Shape, contracts


def conv_relu_share_linear(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    U: Tensor,
    v: Tensor,
    bias: Tensor | None,
    features: int,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    """linear(flatten(relu(conv2d(x, kernel))), U v) by the best backend; arguments are checked already."""
    steps = (stride, padding, dilation)
    O, L = U.shape[-2] // features, U.shape[-1]  # noqa: E741
    if not _contracts(x, U, v, O, features):
        W = expand_dense(U, v)
        weight = W.view(*W.shape[:-1], O, features)
        return conv_relu_linear(x, kernel, kernel_bias, weight, bias, *steps)
    backend.explain("conv_relu_share_linear", "one head for all tasks", "few images a task")
    # U with its columns apart, by the operator that is quick at it.
    columns = expand_dense(U, torch.eye(L, dtype=U.dtype, device=U.device)).view(L * O, features)
    z = conv_relu_linear(x, kernel, kernel_bias, columns, None, *steps)
    z = z.view(*z.shape[:-1], L, O)
    y = (z * v[..., None, :, None]).sum(-2)
    return y if bias is None else y + (bias.unsqueeze(-2) if bias.dim() > 1 else bias)


def _contracts(x: Tensor, U: Tensor, v: Tensor, O: int, features: int) -> bool:  # noqa: E741
    # Under a transform of torch.func the number of tasks is not known.
    if v.dim() == 1 or U.dim() > 2 or transformed() or backend.why_not_compiled() is not None:
        return False
    tasks, N, L = v.shape[0], x.shape[-4], U.shape[-1]
    if O * L > OUTPUTS or x.dtype != U.dtype:
        return False
    return contracts(Shape(N, features, O, L, g=tasks, x=tasks, v=tasks, own_U=False), x.device.type)
