"""Images resampled under rotations, affine maps and homographies: one for all, one or many per image.

Notation: T tasks, N images, K results per image, C channels, H rows, W columns. Pixel centres lie at integer
coordinates, x counts columns to the right, y rows downwards.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from rotfast import ops
from rotfast.functional import _matrices
from rotfast.functional._samples import Samples, as_batch, readable

__all__ = ["affine", "perspective", "rotate"]

Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic"]
PaddingMode: TypeAlias = Literal["constant", "border", "reflection"]
Numbers: TypeAlias = float | Tensor
Points: TypeAlias = Sequence[float] | Tensor
Channels: TypeAlias = float | Sequence[float] | Tensor

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
_PADDING_MODES = ("constant", "border", "reflection")
_NO_SHIFT = (0.0, 0.0)


def rotate(
    x: Tensor,
    angle: Numbers,
    *,
    interpolation: Interpolation = "bilinear",
    padding_mode: PaddingMode = "constant",
    fill: Channels = 0.0,
    center: Points | None = None,
    expand: bool = False,
    mean: Channels | None = None,
    std: Channels | None = None,
) -> Tensor:
    """Rotate images, counter-clockwise as displayed.

    Multiples of 90 degrees about the default centre permute pixels exactly wherever they map the pixel grid
    onto itself: on square images, and with ``expand`` on all. Differentiable to any order in ``x``, ``angle``
    and ``center``.

    Args:
        x: images (N, C, H, W), (C, H, W), (H, W) or (T, N, C, H, W); uint8, float16, bfloat16, float32 or
            float64.
        angle: degrees: a number for all images, (N,) one per image, or (N, K) for K results per image. For
            (T, N, C, H, W) it is (T, N) or (T, N, K), or (N,) for all tasks alike; for one image a number or
            (K,).
        interpolation: "nearest", "bilinear" or "bicubic" (Keys' kernel with a = -0.75).
        padding_mode: what lies outside: "constant" is ``fill``, "border" the nearest pixel, "reflection" the
            image mirrored about the centres of its border pixels.
        fill: a number, or one per channel, in the units of ``x``.
        center: the point (x, y) that stays, in pixels, as a pair for all or a tensor (N, 2), (N, K, 2); None
            is ((W-1)/2, (H-1)/2).
        expand: make the canvas large enough for every result, the image in its middle, sized as by
            torchvision, but H and W just change places under a quarter turn. Angles in a tensor are read for
            it.
        mean, std: one or C numbers: the result is (x - mean) / std, where uint8 images count as 0..1 and give
            float32.

    Returns:
        Tensor of the form of ``x``, (N, K, C, H, W) where a parameter has K; dtype of ``x``, but float32 for
        uint8 with ``mean`` and ``std``. uint8 is rounded half to even. channels_last is kept.

    Raises:
        TypeError: a dtype that is not supported, or a gradient with respect to ``angle`` of uint8 images that
            stay uint8.
        ValueError: shapes that do not fit, a parameter that is not finite (looked for on CPU tensors only),
            an unknown mode, ``center`` with ``expand``.

    Source: the conventions are those of torchvision.transforms.functional.rotate, except that ``center``
    counts pixel centres as OpenCV does: torchvision's corner (0, 0) is (-0.5, -0.5).

    Example:
        >>> import torch, rotfast
        >>> rotfast.rotate(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 90)
        tensor([[2., 4.],
                [1., 3.]])
        >>> images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
        >>> y = rotfast.rotate(images, torch.linspace(0, 40, 5), mean=0.5, std=0.25)
        >>> y.dtype, y.shape
        (torch.float32, torch.Size([5, 3, 32, 32]))
        >>> rotfast.rotate(images, torch.randn(5, 8)).shape
        torch.Size([5, 8, 3, 32, 32])
    """
    samples = Samples(x)
    degrees = samples.numbers("angle", angle)
    canvas = _matrices.canvas(_matrices.inverse_rotation(degrees), *x.shape[-2:]) if expand else None
    source, target, size = _centers(samples, center, canvas)
    matrix = _matrices.rotation(degrees, source, target, x.device)
    return _resample(ops.affine, samples, matrix, size, interpolation, padding_mode, fill, mean, std)


def affine(
    x: Tensor,
    *,
    angle: Numbers = 0.0,
    translate: Points = _NO_SHIFT,
    scale: Numbers = 1.0,
    shear: Points = _NO_SHIFT,
    matrix: Tensor | None = None,
    interpolation: Interpolation = "bilinear",
    padding_mode: PaddingMode = "constant",
    fill: Channels = 0.0,
    center: Points | None = None,
    expand: bool = False,
    mean: Channels | None = None,
    std: Channels | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resample images under affine maps, given by rotation, scale, shear and translation, or by a matrix.

    The image is sheared in x, then in y, scaled, rotated about the centre, then translated, as by
    torchvision.affine, except that a positive angle is counter-clockwise here. Differentiable to any order in
    ``x`` and every parameter of the map.

    Args:
        x: images, as in ``rotate``.
        angle: degrees, counter-clockwise; every parameter is one for all images, one per image or K per
            image, in the shapes of ``rotate``'s ``angle``.
        translate: pixels to the right and down: a pair, (N, 2) or (N, K, 2).
        scale: factor of size.
        shear: degrees in x and y: a pair, (N, 2) or (N, K, 2).
        matrix: instead of the four and ``center``: (2, 3), (N, 2, 3) or (N, K, 2, 3), the map from a position
            (x, y, 1) in the image to the position in the result, in pixels, as cv2.warpAffine and
            kornia.geometry.warp_affine take it.
        interpolation, padding_mode, fill, center, mean, std: as in ``rotate``.
        expand: as in ``rotate``; ``translate`` moves the image on that canvas, and of ``matrix`` only the
            linear part counts.
        antialias: where the map shrinks the image, widen the kernel by as much, as
            ``torch.nn.functional.interpolate(antialias=True)`` does, with bicubic's a = -0.5 as there. Runs
            as plain PyTorch, takes the square of the shrinking in time, and reads the values of the map.

    Returns:
        Tensor as from ``rotate``.

    Raises:
        TypeError: as ``rotate``.
        ValueError: as ``rotate``; a singular ``matrix``, a ``scale`` that is not positive, a ``shear`` by an
            odd multiple of 90 degrees (looked for on CPU tensors only), ``matrix`` beside another parameter
            of the map, ``antialias`` with "nearest".

    Source: the composition is that of torchvision.transforms.functional.affine.

    Example:
        >>> import torch, rotfast
        >>> image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> rotfast.affine(image, translate=(1, 0))
        tensor([[0., 1.],
                [0., 3.]])
        >>> flip = torch.tensor([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        >>> rotfast.affine(image, matrix=flip)
        tensor([[2., 1.],
                [4., 3.]])
    """
    samples = Samples(x)
    if matrix is None:
        linear = _matrices.inverse_affine(
            samples.numbers("angle", angle),
            _check_scale(samples.numbers("scale", scale)),
            _check_shear(samples.points("shear", shear)),
        )
        canvas = _matrices.canvas(linear, *x.shape[-2:]) if expand else None
        source, (column, row), size = _centers(samples, center, canvas)
        right, down = samples.points("translate", translate)
        inverse = _matrices.source_matrix(linear, source, (column + right, row + down), x.device)
    else:
        _check_alone(angle=(angle, 0.0), translate=(translate, _NO_SHIFT), scale=(scale, 1.0),
                     shear=(shear, _NO_SHIFT), center=(center, None))  # fmt: skip
        inverse, size = _from_matrix(samples, matrix, expand)
    if antialias and interpolation == "nearest":
        raise ValueError("interpolation must be 'bilinear' or 'bicubic' with antialias=True, got 'nearest'")
    operator = ops.affine_antialias if antialias else ops.affine
    return _resample(operator, samples, inverse, size, interpolation, padding_mode, fill, mean, std)


def perspective(
    x: Tensor,
    matrix: Tensor,
    *,
    interpolation: Interpolation = "bilinear",
    padding_mode: PaddingMode = "constant",
    fill: Channels = 0.0,
    mean: Channels | None = None,
    std: Channels | None = None,
) -> Tensor:
    """Resample images under homographies, in plain PyTorch on every device.

    Args:
        x: images, as in ``rotate``.
        matrix: (3, 3), (N, 3, 3) or (N, K, 3, 3): the position (x, y, 1) in the image goes to the position
            (a/w, b/w) in the result, where (a, b, w) = matrix (x, y, 1), in pixels, as
            cv2.warpPerspective and kornia.geometry.warp_perspective take it.
        interpolation, padding_mode, fill, mean, std: as in ``rotate``.

    Returns:
        Tensor as from ``rotate``. Result pixels that no position of the plane reaches (w = 0) lie outside.

    Raises:
        TypeError: as ``rotate``.
        ValueError: as ``rotate``, or a singular ``matrix`` (looked for on CPU tensors only).

    Example:
        >>> import torch, rotfast
        >>> shift = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        >>> rotfast.perspective(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), shift)
        tensor([[0., 1.],
                [0., 3.]])
    """
    samples = Samples(x)
    forward = samples.matrices("matrix", matrix, 3)
    inverse = _matrices.adjugate(forward)
    if readable(forward):
        _check_invertible(_matrices.singular_homography(forward, _epsilon(matrix)))
    size = (x.shape[-2], x.shape[-1])
    return _resample(ops.perspective, samples, inverse, size, interpolation, padding_mode, fill, mean, std)


def _centers(
    samples: Samples, center: Points | None, canvas: tuple[int, int] | None
) -> tuple[_matrices.Point, _matrices.Point, tuple[int, int]]:
    """The point of the source that comes to which point of the result, and the size of the result."""
    height, width = size = (samples.x.shape[-2], samples.x.shape[-1])
    if center is None:
        rows, columns = canvas or size
        return ((width - 1) / 2, (height - 1) / 2), ((columns - 1) / 2, (rows - 1) / 2), (rows, columns)
    if canvas is not None:
        raise ValueError(f"center must be None with expand=True, got {center!r}")
    point = samples.points("center", center)
    return point, point, size


def _from_matrix(samples: Samples, matrix: Tensor, expand: bool) -> tuple[Tensor, tuple[int, int]]:
    """The inverse of a given map, and the size of the result."""
    forward = samples.matrices("matrix", matrix, 2)
    if readable(forward):
        _check_invertible(_matrices.singular(forward, _epsilon(matrix)))
    linear = _matrices.inverse_linear(forward)
    if expand:
        source, target, size = _centers(samples, None, _matrices.canvas(linear, *samples.x.shape[-2:]))
        return _matrices.source_matrix(linear, source, target, forward.device), size
    x, y = forward[..., 2].unbind(-1)
    size = (samples.x.shape[-2], samples.x.shape[-1])
    return _matrices.source_matrix(linear, (0.0, 0.0), (x, y), forward.device), size


def _resample(
    operator: Any,
    samples: Samples,
    matrix: Tensor,
    size: tuple[int, int],
    interpolation: str,
    padding_mode: str,
    fill: Channels,
    mean: Channels | None,
    std: Channels | None,
) -> Tensor:
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(_INTERPOLATIONS)}, got {interpolation!r}")
    if padding_mode not in _PADDING_MODES:
        raise ValueError(f"padding_mode must be one of {', '.join(_PADDING_MODES)}, got {padding_mode!r}")
    x = samples.x
    background = None  # outside is 0 without further words
    if padding_mode == "constant" and not (isinstance(fill, (int, float)) and fill == 0):
        background = samples.channel_values("fill", fill)
    if mean is not None or std is not None:
        mean = samples.channel_values("mean", 0.0 if mean is None else mean)
        std = samples.channel_values("std", 1.0 if std is None else std, positive=True)
    elif x.dtype == torch.uint8:
        _check_bytes(samples, background)
    y = operator(
        as_batch(x),
        samples.batch(matrix, 2),
        background,
        mean,
        std,
        size=size,
        interpolation=interpolation,
        padding_mode=padding_mode,
    )
    return samples.restore(y)


def _check_bytes(samples: Samples, fill: Tensor | None) -> None:
    """What a result in uint8 cannot hold."""
    if samples.differentiated is not None and torch.is_grad_enabled():
        name = samples.differentiated
        raise TypeError(f"x must be floating point, or have mean and std, if {name} requires grad, got uint8")
    if fill is not None and readable(fill) and not fill.isfinite().all():
        raise ValueError(f"fill must be finite for uint8 images, got {fill.tolist()}")


def _check_scale(scale: Numbers) -> Numbers:
    if isinstance(scale, Tensor):
        if readable(scale) and not (scale > 0).all():
            raise ValueError(f"scale must be positive, got {scale.min().item()}")
    elif scale <= 0:
        raise ValueError(f"scale must be positive, got {scale}")
    return scale


def _check_shear(shear: _matrices.Point) -> _matrices.Point:
    for degrees in shear:
        upright = degrees % 180 == 90
        if bool(upright.any()) if isinstance(upright, Tensor) and readable(upright) else upright is True:
            raise ValueError("shear must not be an odd multiple of 90 degrees, which leaves no image")
    return shear


def _check_invertible(singular: Tensor) -> None:
    if singular.any():
        raise ValueError(f"matrix must be invertible, got {int(singular.sum())} of determinant 0")


def _check_alone(**others: tuple[Any, Any]) -> None:
    """Every argument has its default."""
    for name, (value, default) in others.items():
        if isinstance(value, Tensor) or (value is not default and value != default):
            raise ValueError(f"{name} must be left out where matrix is given, got {value!r}")


def _epsilon(matrix: Tensor) -> float:
    """What a number counts as 0 beside 1 in a matrix of this dtype."""
    return torch.finfo(matrix.dtype if matrix.is_floating_point() else torch.float64).eps
