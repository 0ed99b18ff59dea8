"""A convolution, ReLU and a linear head in plain PyTorch."""

from torch import Tensor

from rotfast.reference.share_conv2d import conv2d
from rotfast.reference.share_linear import linear

Pair = tuple[int, int]


def conv_relu_linear(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    """linear(flatten(relu(conv2d(x, kernel)))); any argument may carry a leading task dimension."""
    features = conv2d(x, kernel, kernel_bias, stride, padding, dilation, 1).relu().flatten(-3)
    heads = [t.shape[0] for t, rank in ((weight, 2), (bias, 1)) if t is not None and t.dim() > rank]
    if heads and features.dim() == 2:
        features = features.expand(heads[0], *features.shape)
    return linear(features, weight, bias, tasks=features.dim() == 3)
