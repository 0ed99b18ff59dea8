"""A convolution, ReLU and a linear head as one function, the head given or generated.

Notation: T tasks, N images, C input and O output channels of the convolution, L latent size.
"""

from torch import Tensor

from rotfast import ops
from rotfast._checks import (
    IntOrPair,
    check_bias,
    check_data,
    check_dense,
    check_dim,
    check_images,
    check_like,
    check_tasks,
    check_tensor,
)
from rotfast.functional.sharing import Padding, prepare_images

__all__ = ["conv_relu_linear", "conv_relu_share_linear"]

Pair = tuple[int, int]

# The rank of every tensor without a task dimension.
_RANKS = {"x": 4, "kernel": 4, "kernel_bias": 1, "weight": 2, "bias": 1}
_SHARED_RANKS = {"x": 4, "kernel": 4, "kernel_bias": 1, "U": 2, "v": 1, "bias": 1}


def conv_relu_linear(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
) -> Tensor:
    """A small classifier in one pass: linear(flatten(relu(conv2d(x, kernel) + kernel_bias)), weight) + bias.

    On a CPU, with few input channels and outputs, the activations are never written to memory; backward
    computes them again.

    Args:
        x: images, (N, C, H, W) or (C, H, W); (T, N, C, H, W) gives each task its own images.
        kernel: (O, C, kh, kw) or (T, O, C, kh, kw).
        kernel_bias: (O,), (T, O) or None.
        weight: head on the flattened activations, (classes, O·H'·W') or (T, classes, O·H'·W').
        bias: (classes,), (T, classes) or None.
        stride, padding, dilation: as in ``torch.nn.functional.conv2d``; zeros are padded.

    Returns:
        (N, classes), without N for an unbatched image, with a leading T when any argument has one.

    Raises:
        TypeError: an argument is no floating-point tensor, or the dtypes differ outside autocast.
        ValueError: the shapes or devices do not fit together.

    Example:
        >>> import torch, rotfast
        >>> x, kernel, head = torch.rand(2, 1, 8, 8), torch.randn(4, 1, 3, 3), torch.randn(10, 4 * 6 * 6)
        >>> rotfast.conv_relu_linear(x, kernel, None, head).shape
        torch.Size([2, 10])
    """
    features, images, *steps = _circuit(x, kernel, kernel_bias, stride, padding, dilation)
    check_like("weight", weight, "kernel", kernel)
    check_dim("weight", weight, 2, 3, "(classes, features) or (T, classes, features)")
    if weight.shape[-1] != features:
        raise ValueError(f"weight must have {features} columns for these images, got {weight.shape[-1]}")
    check_bias("bias", bias, weight.shape[-2], "kernel", kernel)
    check_tasks(_RANKS, x, kernel, kernel_bias, weight, bias)
    y = ops.conv_relu_linear(images, kernel, kernel_bias, weight, bias, *steps)
    return y.squeeze(-2) if x.dim() == 3 else y


def conv_relu_share_linear(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    U: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
) -> Tensor:
    """`conv_relu_linear` with the generated head reshape(U v, (classes, O·H'·W')).

    Where every task has a v of its own and few images, the head of no task is formed: the columns of U are
    one head for all tasks, and v mixes what comes out.

    Args:
        x, kernel, kernel_bias: as in `conv_relu_linear`.
        U: sharing matrix, (classes·O·H'·W', L) or (T, classes·O·H'·W', L), rows in the order of the head's.
        v: latent parameters, (L,) or (T, L).
        bias: (classes,), (T, classes) or None.
        stride, padding, dilation: as in ``torch.nn.functional.conv2d``; zeros are padded.

    Returns:
        (N, classes), without N for an unbatched image, with a leading T when any argument has one.

    Raises:
        TypeError: an argument is no floating-point tensor, or the dtypes differ outside autocast.
        ValueError: the shapes or devices do not fit together.

    Source: Zhou, Knowles, Finn 2020 (arXiv 2007.02933), section 4, for the head.

    Example:
        >>> import torch, rotfast
        >>> x, kernel = torch.rand(2, 1, 8, 8), torch.randn(4, 1, 3, 3)
        >>> U, v = torch.randn(10 * 4 * 6 * 6, 3), torch.randn(3)
        >>> rotfast.conv_relu_share_linear(x, kernel, None, U, v).shape
        torch.Size([2, 10])
    """
    features, images, *steps = _circuit(x, kernel, kernel_bias, stride, padding, dilation)
    check_like("U", U, "kernel", kernel)
    check_like("v", v, "kernel", kernel)
    check_dense(U, v)
    if U.shape[-2] % features:
        raise ValueError(f"U must have a multiple of {features} rows for these images, got {U.shape[-2]}")
    check_bias("bias", bias, U.shape[-2] // features, "kernel", kernel)
    check_tasks(_SHARED_RANKS, x, kernel, kernel_bias, U, v, bias)
    y = ops.conv_relu_share_linear(images, kernel, kernel_bias, U, v, bias, features, *steps)
    return y.squeeze(-2) if x.dim() == 3 else y


def _circuit(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
) -> tuple[int, Tensor, Pair, Pair, Pair]:
    """Check the convolution; the number of its features, then what the operators take."""
    check_tensor("kernel", kernel)
    check_dim("kernel", kernel, 4, 5, "(O, C, kh, kw) or (T, O, C, kh, kw)")
    O, I, kh, kw = kernel.shape[-4:]  # noqa: E741
    dtype = check_data(x, "kernel", kernel)
    check_images(x, I, O, 1, "kernel")
    check_bias("kernel_bias", kernel_bias, O, "kernel", kernel)
    images, *steps = prepare_images(x, dtype, (kh, kw), stride, padding, dilation, "zeros")
    height, width = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(images.shape[-2:], (kh, kw), *steps, strict=True)
    )
    return O * height * width, images, *steps
