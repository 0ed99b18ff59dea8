"""Quarter turns in plain PyTorch."""

import torch
from torch import Tensor

from rotfast.reference.layout import ordered_like


def rotate90(x: Tensor, k: Tensor) -> Tensor:
    """out[n] = torch.rot90(x[n], k[n]), out[n, r] = torch.rot90(x[n], k[n, r]) for k (N, K).

    x is (N, C, H, W). Where H and W differ, an odd k counts as the even one below it.
    """
    square = x.shape[-2] == x.shape[-1]
    turned = torch.stack([torch.rot90(x, q if square else q // 2 * 2, (-2, -1)) for q in range(4)])
    image = torch.arange(x.shape[0], device=x.device)
    return ordered_like(turned[k % 4, image if k.dim() == 1 else image[:, None]], x)


def rotate90_all(x: Tensor) -> Tensor:
    """All four turns of x (N, C, H, W), H = W: (4N, C, H, W), image n turned q times at q N + n."""
    return ordered_like(torch.cat([torch.rot90(x, q, (-2, -1)) for q in range(4)]), x)
