"""A convolution without weight sharing: the baseline that has locality but no symmetry."""

import torch
from torch import Tensor, nn

from rotfast.nn._checks import check_bool, check_positive

__all__ = ["LocallyConnected1d"]


class LocallyConnected1d(nn.Module):
    """A 1-D convolution with its own kernel at every output position.

    y[n,o,l] = Σ_{i,k} weight[0,o,i,l,k] x[n,i,l·stride+k] + bias[0,o,l]. weight and bias are uniform in
    ±1/√fan_in at the start, fan_in = in_channels·kernel_size (the default of ``nn.Conv1d``).

    Args:
        in_channels: channels of x, I.
        out_channels: channels produced, O.
        output_size: output positions L; x must have (L - 1)·stride + kernel_size positions (a few more, fewer
            than stride, are left over).
        kernel_size: taps of each kernel, K.
        stride: step between output positions.
        bias: whether to add a learned bias.
        device, dtype: of the parameters.

    Shape:
        x (N, I, W) or (I, W) -> (N, O, L) or (O, L); weight (1, O, I, L, K), bias (1, O, L).

    Raises:
        ValueError: a size is no positive int; in the call, x has other channels or another length.
        TypeError: bias is no bool.

    Example:
        >>> import torch, rotfast
        >>> rotfast.LocallyConnected1d(1, 1, 68)(torch.randn(5, 1, 70)).shape
        torch.Size([5, 1, 68])
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        output_size: int,
        kernel_size: int = 3,
        stride: int = 1,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, out_channels=out_channels, output_size=output_size)
        check_positive(kernel_size=kernel_size, stride=stride)
        check_bool(bias=bias)
        self.in_channels, self.out_channels, self.output_size = in_channels, out_channels, output_size
        self.kernel_size, self.stride = kernel_size, stride
        shape = (1, out_channels, in_channels, output_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.register_parameter(
            "bias",
            nn.Parameter(torch.empty(1, out_channels, output_size, device=device, dtype=dtype))
            if bias
            else None,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = (self.in_channels * self.kernel_size) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Apply at every position its own kernel."""
        least = (self.output_size - 1) * self.stride + self.kernel_size
        if (
            x.dim() not in (2, 3)
            or x.shape[-2] != self.in_channels
            or not 0 <= x.shape[-1] - least < self.stride
        ):
            raise ValueError(f"x must be (N, {self.in_channels}, {least}), got shape {tuple(x.shape)}")
        windows = x.unfold(-1, self.kernel_size, self.stride)  # (N, I, L, K)
        y = torch.einsum("...ilk,oilk->...ol", windows, self.weight.squeeze(0))
        return y if self.bias is None else y + self.bias.squeeze(0)

    def extra_repr(self) -> str:
        """The sizes and options shown by repr."""
        return (
            f"{self.in_channels}, {self.out_channels}, output_size={self.output_size}, "
            f"kernel_size={self.kernel_size}, stride={self.stride}, bias={self.bias is not None}"
        )
