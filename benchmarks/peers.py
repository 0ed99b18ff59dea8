"""Other libraries. One that is not installed is left out; the ``peers`` extra brings them."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.case import PEERS

_MODULES = dict(zip(PEERS, ("kornia", "cv2", "higher", "jax"), strict=True))
KORNIA, OPENCV, HIGHER, JAX = PEERS


def installed(*names: str) -> tuple[str, ...]:
    """Those of the named libraries that can be imported."""
    return tuple(name for name in names if find_spec(_MODULES[name]))


def versions() -> str:
    """What the ledger says about them."""
    packages = packages_distributions()
    return ", ".join(f"{name} {version(packages[_MODULES[name]][0])}" for name in installed(*PEERS))


def kornia_rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Bilinear, zeros, about the centre: kornia's defaults."""
    return import_module("kornia").geometry.transform.rotate(x, angle)


def opencv_rotate(x: Tensor, angle: Tensor) -> Callable[[], Tensor]:
    """A loop over images (H, W, C), as OpenCV wants them, made before the clock starts.

    Results are written in place: uint8 of uint8, otherwise float32. What is returned is a view (N, C, H, W).
    """
    cv2 = import_module("cv2")
    cv2.setNumThreads(1)
    height, width = x.shape[2:]
    center = ((width - 1) / 2, (height - 1) / 2)
    pixels = (x if x.dtype == torch.uint8 else x.float()).permute(0, 2, 3, 1).contiguous()
    turned = torch.empty_like(pixels)
    sources, targets = pixels.squeeze(3).numpy(), turned.squeeze(3).numpy()

    def run() -> Tensor:
        for source, target, degrees in zip(sources, targets, angle.tolist(), strict=True):
            matrix = cv2.getRotationMatrix2D(center, degrees, 1.0)
            cv2.warpAffine(source, matrix, (width, height), dst=target)
        return turned.permute(0, 3, 1, 2)

    return run
