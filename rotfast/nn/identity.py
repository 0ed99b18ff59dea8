"""Square maps that start as the identity: the building blocks of warps."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotfast.nn._checks import check_bool, check_positive

__all__ = ["Identity1x1Conv", "IdentityLinear"]


def reset_warp(warp: Tensor, *, sigmoid: bool) -> None:
    """Make a square warp the identity; for a sigmoid of it, +1 on the diagonal and -1 off it."""
    with torch.no_grad():
        warp.fill_(-1.0 if sigmoid else 0.0).fill_diagonal_(1.0)


class IdentityLinear(nn.Module):
    """A square linear map without bias that starts as the identity; its weight is a symmetry parameter.

    With ``sigmoid`` the map is σ(temp_warp · weight), whose entries lie in (0, 1); weight starts at +1 on the
    diagonal and -1 elsewhere, temp_warp at 5, so the map starts within 0.007 of the identity.

    Args:
        features: size of the input and of the output.
        sigmoid: squash the map's entries.
        device, dtype: of the parameters.

    Shape:
        x (*, features) -> (*, features); weight (features, features), temp_warp (1,) with ``sigmoid`` only.

    Raises:
        ValueError: features is no positive int.
        TypeError: sigmoid is no bool.

    Example:
        >>> import torch, rotfast
        >>> rotfast.IdentityLinear(2)(torch.tensor([3.0, 4.0])).tolist()
        [3.0, 4.0]
    """

    symmetry_parameter_names: ClassVar[tuple[str, ...]] = ("weight", "temp_warp")
    temp_warp: nn.Parameter | None

    def __init__(
        self,
        features: int,
        *,
        sigmoid: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_positive(features=features)
        check_bool(sigmoid=sigmoid)
        self.features, self.sigmoid = features, sigmoid
        self.weight = nn.Parameter(torch.empty(features, features, device=device, dtype=dtype))
        temp = nn.Parameter(torch.empty(1, device=device, dtype=dtype)) if sigmoid else None
        self.register_parameter("temp_warp", temp)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Return to the identity."""
        reset_warp(self.weight, sigmoid=self.sigmoid)
        if self.temp_warp is not None:
            nn.init.constant_(self.temp_warp, 5.0)

    def get_weight(self) -> Tensor:
        """The map itself, (features, features)."""
        return self.weight if self.temp_warp is None else torch.sigmoid(self.temp_warp * self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map to the last dimension of x."""
        return F.linear(x, self.get_weight())

    def extra_repr(self) -> str:
        """The sizes and options shown by repr."""
        return f"features={self.features}, sigmoid={self.sigmoid}"


class Identity1x1Conv(nn.Conv2d):
    """A 1×1 convolution without bias, at first the identity on channels; its weight is a symmetry parameter.

    Args:
        out_channels: number of input and of output channels.
        device, dtype: of the parameters.

    Shape:
        x (N, C, H, W) or (C, H, W) -> the same; weight (C, C, 1, 1).

    Raises:
        ValueError: out_channels is no positive int.

    Example:
        >>> import torch, rotfast
        >>> x = torch.randn(1, 4, 5, 5)
        >>> torch.equal(rotfast.Identity1x1Conv(4)(x), x)
        True
    """

    symmetry_parameter_names: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(
        self,
        out_channels: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_positive(out_channels=out_channels)
        super().__init__(out_channels, out_channels, 1, bias=False, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Return to the identity."""
        nn.init.dirac_(self.weight)
