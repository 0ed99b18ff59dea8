"""Exact quarter turns: pixels change places, none changes its value."""

import torch
from torch import Tensor

from rotfast import ops
from rotfast.functional._samples import Samples, as_batch, readable, traced

__all__ = ["rotate90", "rotate90_all"]


def rotate90(x: Tensor, k: int | Tensor) -> Tensor:
    """Turn images by quarters, counter-clockwise as displayed: torch.rot90 with a k for every image.

    Bit for bit, of every supported dtype. Differentiable to any order in ``x``.

    Args:
        x: images (N, C, H, W), (C, H, W), (H, W) or (T, N, C, H, W); uint8, float16, bfloat16, float32 or
            float64.
        k: number of quarter turns, any integer: one for all images, (N,) one per image, or (N, K) for K
            results per image. For (T, N, C, H, W) it is (T, N) or (T, N, K), or (N,) for all tasks alike; for
            one image an int or (K,).

    Returns:
        Tensor of the form of ``x``, (N, K, C, H, W) where k has K. Where one odd k serves all images, H and W
        change places.

    Raises:
        TypeError: a dtype that is not supported.
        ValueError: a shape that does not fit, or a tensor k on the CPU with odd entries for images that are
            not square. On a GPU these fail like an index out of range, by an assertion on the device; inside
            torch.compile and torch.func they count as the even numbers below them.

    Example:
        >>> import torch, rotfast
        >>> x = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).repeat(2, 1, 1, 1)
        >>> rotfast.rotate90(x, torch.tensor([1, -1])).tolist()
        [[[[2, 4], [1, 3]]], [[[3, 1], [4, 2]]]]
        >>> rotfast.rotate90(torch.zeros(2, 3, 4, 6), 1).shape
        torch.Size([2, 3, 6, 4])
    """
    samples = Samples(x)
    height, width = x.shape[-2:]
    turns = samples.integers("k", k)
    if height != width:
        if not isinstance(k, Tensor) and k % 2:
            keep = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
            return torch.rot90(x, k, (-2, -1)).contiguous(memory_format=keep)
        fault = f"k must be even for images that are not square, got odd k for {height} × {width}"
        if readable(turns):
            if (turns % 2).any():
                raise ValueError(fault)
        elif turns.is_cuda and not traced():
            # Checked on the device, as torch checks indices there: the host does not wait.
            torch._assert_async((turns % 2 == 0).all(), fault)
    every = samples.batch(turns, 0)
    if samples.per_image is None:
        return samples.restore(ops.rotate90(as_batch(x), every.squeeze(1)).unsqueeze(1))
    return samples.restore(ops.rotate90(as_batch(x), every))


def rotate90_all(x: Tensor) -> tuple[Tensor, Tensor]:
    """Turn every image by 0, 90, 180 and 270 degrees: the batch that RotNet's task asks about.

    Args:
        x: square images (N, C, H, H), (C, H, H), (H, H) or (T, N, C, H, H), of a dtype as in ``rotate90``.

    Returns:
        The images in the order of ``torch.cat([torch.rot90(x, q, (-2, -1)) for q in range(4)])``,
        (4N, C, H, H), and the labels q, (4N,) int64. One image gives (4, C, H, H) or (4, H, H), tasks give
        (T, 4N, C, H, H) and labels (T, 4N).

    Raises:
        TypeError: a dtype that is not supported.
        ValueError: images that are not square.

    Source: Gidaris, Singh, Komodakis 2018 (arXiv 1803.07728), section 3.

    Example:
        >>> import torch, rotfast
        >>> images, labels = rotfast.rotate90_all(torch.rand(8, 1, 28, 28))
        >>> images.shape, labels[::8].tolist()
        (torch.Size([32, 1, 28, 28]), [0, 1, 2, 3])
    """
    samples = Samples(x)
    height, width = x.shape[-2:]
    if height != width:
        raise ValueError(f"x must be square for quarter turns of one size, got {height} × {width}")
    labels = torch.arange(4, device=x.device).repeat_interleave(x.shape[-4] if x.dim() > 3 else 1)
    if x.dim() == 5:
        # Tasks behind images, so that the four turns and the images become one dimension.
        tasks, images = samples.lead
        turned = ops.rotate90_all(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (4 * images, tasks))
        return turned.transpose(0, 1), labels.expand(tasks, -1)
    turned = ops.rotate90_all(as_batch(x))
    return turned.squeeze(1) if x.dim() == 2 else turned, labels


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
