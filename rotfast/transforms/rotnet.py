"""RotNetBatch."""

from torch import Tensor, nn

from rotfast.functional import rotate90_all

__all__ = ["RotNetBatch"]


class RotNetBatch(nn.Module):
    """All four quarter turns of every image, with the turn as label: the task of a RotNet.

    Shape:
        (N, C, H, H) or (C, H, H) -> images (4N, C, H, H) and labels (4N,) int64. Image q·N + n is image n
        turned counter-clockwise by 90·q degrees, bit for bit ``torch.rot90``; its label is q.

    Raises:
        ValueError: images that are not square.

    Source: Gidaris, Singh, Komodakis 2018 (arXiv 1803.07728).

    Example:
        >>> import torch
        >>> from rotfast.transforms import RotNetBatch
        >>> images, labels = RotNetBatch()(torch.rand(2, 3, 32, 32))
        >>> images.shape, labels
        (torch.Size([8, 3, 32, 32]), tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn every image."""
        return rotate90_all(x)
