"""rotate90: autograd, vmap and fake kernels over torch.ops.rotfast.rotate90 and rotate90_all.

A turn is a permutation, so its adjoint is the turn back: rotate90 is closed under differentiation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rotfast import backend, reference
from rotfast.ops.autograd import Operator, call

if backend.kernels_loaded:

    @torch.library.register_fake("rotfast::rotate90")
    def _fake(x: Tensor, k: Tensor) -> Tensor:
        return _new_images(x, k.shape)

    @torch.library.register_fake("rotfast::rotate90_all")
    def _fake_all(x: Tensor) -> Tensor:
        return _new_images(x, [4 * x.shape[0]])


def _new_images(x: Tensor, leading: Sequence[int]) -> Tensor:
    """Images of the size of x, in its memory order."""
    C, H, W = x.shape[1:]
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return x.new_empty([*leading, H, W, C]).movedim(-1, -3)
    return x.new_empty([*leading, C, H, W])


class Rotate90(Operator):
    """Images x (N,C,H,W) turned k (N,) times, or, with k (N,K), each K times: (N,K,C,H,W)."""

    @staticmethod
    def forward(x: Tensor, k: Tensor) -> Tensor:
        return torch.ops.rotfast.rotate90(x, k)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (k,) = ctx.saved_tensors
        if k.dim() == 1:
            return call(Rotate90, g, -k), None
        back = call(Rotate90, g.flatten(0, 1), -k.flatten())
        return back.unflatten(0, k.shape).sum(1), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, k: Tensor) -> tuple[Tensor, int]:
        batch, (x_dim, k_dim) = info.batch_size, in_dims
        if x_dim is None:  # every image turned as often as k says, without copying images
            k = k.movedim(k_dim, -1)
            return Rotate90.apply(x, k.flatten(1)).unflatten(1, k.shape[1:]), k.dim() - 1
        k = k.expand(batch, *k.shape) if k_dim is None else k.movedim(k_dim, 0)
        y = Rotate90.apply(x.movedim(x_dim, 0).flatten(0, 1), k.flatten(0, 1))
        return y.unflatten(0, (batch, -1)), 0


class Rotate90All(Operator):
    """All four turns of square images x (N,C,H,W): (4N,C,H,W), image n turned q times at q N + n."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.ops.rotfast.rotate90_all(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        quarters = torch.arange(4, device=g.device).repeat_interleave(g.shape[0] // 4)
        return call(Rotate90, g, -quarters).unflatten(0, (4, -1)).sum(0)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor) -> tuple[Tensor, int]:
        # Behind the images, so that the four turns of a batch and its images stay one dimension.
        y = Rotate90All.apply(x.movedim(in_dims[0], 1).flatten(0, 1))
        return y.unflatten(0, (-1, info.batch_size)), 1


def rotate90(x: Tensor, k: Tensor) -> Tensor:
    """out[n] = torch.rot90(x[n], k[n], (-2, -1)); arguments are checked already.

    x is (N, C, H, W), k (N,) of int64 on the same device; k (N, K) turns each image K times: (N, K, C, H, W).
    """
    if (reason := backend.why_no_kernel("rotate90", x)) is not None:
        backend.explain("rotate90", "reference", reason)
        return reference.rotate90(x, k)
    backend.explain("rotate90", x.device.type, "index permutation")
    return call(Rotate90, x, k)


def rotate90_all(x: Tensor) -> Tensor:
    """(4N, C, H, W): image n of x (N, C, H, H) turned q times at q N + n; arguments are checked already."""
    if (reason := backend.why_no_kernel("rotate90_all", x)) is not None:
        backend.explain("rotate90_all", "reference", reason)
        return reference.rotate90_all(x)
    backend.explain("rotate90_all", x.device.type, "index permutation")
    return call(Rotate90All, x)
