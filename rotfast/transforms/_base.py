"""What all transforms share: drawing, replaying, undoing, and targets that move along."""

import inspect
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from rotfast.transforms._checks import (
    INTERPOLATIONS,
    PADDING_MODES,
    check_bool,
    check_channels,
    check_choice,
    check_fraction,
    check_generator,
)
from rotfast.transforms._points import Size, move_boxes, move_points


class Transformed(NamedTuple):
    """Images and the targets that went along; a target that was not given is None.

    Attributes:
        x: images.
        masks: masks on the pixels of x.
        boxes: boxes (x1, y1, x2, y2).
        keypoints: points (x, y).
    """

    x: Tensor
    masks: Tensor | None = None
    boxes: Tensor | None = None
    keypoints: Tensor | None = None


def check_images(x: Tensor) -> None:
    """One image or a batch; their values and dtype are the operators' affair."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a Tensor, got {type(x).__name__}")
    if x.dim() not in (3, 4):
        raise ValueError(f"x must be (C, H, W) or (N, C, H, W), got shape {tuple(x.shape)}")


def check_batch(batch: Transformed) -> None:
    """Images, and targets that fit them."""
    x = batch.x
    check_images(x)
    images = tuple(x.shape[:-3])
    leading = "" if x.dim() == 3 else f"{x.shape[0]}, "
    forms = {"boxes": f"({leading}M, 4)", "keypoints": f"({leading}M, 2)"}
    for (name, form), last in zip(forms.items(), (4, 2), strict=True):
        points = getattr(batch, name)
        if points is None:
            continue
        if not isinstance(points, Tensor) or not points.is_floating_point():
            kind = points.dtype if isinstance(points, Tensor) else type(points).__name__
            raise TypeError(f"{name} must be a floating-point Tensor, got {kind}")
        if points.dim() != x.dim() - 1 or points.shape[-1] != last or tuple(points.shape[:-2]) != images:
            raise ValueError(f"{name} must be {form}, got shape {tuple(points.shape)}")
    masks = batch.masks
    if masks is None:
        return
    if not isinstance(masks, Tensor):
        raise TypeError(f"masks must be a Tensor, got {type(masks).__name__}")
    fits = masks.shape[-2:] == x.shape[-2:] and tuple(masks.shape[: x.dim() - 3]) == images
    if masks.dim() not in (x.dim() - 1, x.dim()) or not fits:
        size = f"{x.shape[-2]}, {x.shape[-1]}"
        form = f"({leading}{size}) or ({leading}M, {size})"
        raise ValueError(f"masks must be {form}, got shape {tuple(masks.shape)}")


class Transform(nn.Module):
    """A change of geometry with parameters per image: draw, apply, replay, undo."""

    def sample(self, x: Tensor) -> tuple[Any, ...]:
        """Draw the parameters for a batch of images, without applying them.

        Args:
            x: (N, C, H, W), or (C, H, W) for one; its values are not looked at.

        Returns:
            A named tuple of tensors with N rows, or in ``Compose`` a tuple of them.
        """
        raise NotImplementedError

    def _move(self, batch: Transformed, params: tuple[Any, ...], inverse: bool) -> Transformed:
        """Images (N, C, H, W) and targets, moved forwards or back."""
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        *,
        masks: Tensor | None = None,
        boxes: Tensor | None = None,
        keypoints: Tensor | None = None,
        params: tuple[Any, ...] | None = None,
    ) -> Tensor | Transformed:
        """Transform images, and targets along with them.

        Args:
            x: uint8 or floating point, (N, C, H, W), or (C, H, W) for one image.
            masks: (N, H, W) or (N, M, H, W), any dtype; the nearest pixel, 0 from outside (or as
                ``padding_mode`` says).
            boxes: (N, M, 4) as (x1, y1, x2, y2) with x2 and y2 excluded, as in a slice: (0, 0, W, H) is the
                whole image. The result encloses the moved corners, clipped to the image; a box that left the
                image has no area.
            keypoints: (N, M, 2) as (x, y), pixel centres at integers. Points outside stay outside.
            params: what ``sample`` returned, to apply that again; None draws anew.

        For one image the targets have no N. Rows of NaN in boxes and keypoints stay NaN.

        Returns:
            The images; with any target a ``Transformed`` of images and targets.

        Raises:
            TypeError: x or a target is of the wrong kind, or params are those of another transform.
            ValueError: a target or params do not fit x.
        """
        batch = Transformed(x, masks, boxes, keypoints)
        check_batch(batch)
        return self._run(batch, self.sample(x) if params is None else params, False)

    def inverse(
        self,
        x: Tensor,
        params: tuple[Any, ...],
        *,
        masks: Tensor | None = None,
        boxes: Tensor | None = None,
        keypoints: Tensor | None = None,
    ) -> Tensor | Transformed:
        """Undo the geometry of the transform with these parameters, on the canvas of x.

        What left the image is lost. ``mean`` and ``std`` are not undone; pixels from outside are then 0, the
        mean, and ``fill`` otherwise. The inverse of boxes encloses again, so they grow.

        Args:
            x: transformed images.
            params: those that x was transformed with.
            masks, boxes, keypoints: as in a call; predictions for x, say.

        Returns:
            The images; with any target a ``Transformed`` of images and targets.

        Raises:
            TypeError: as in a call.
            ValueError: as in a call.
        """
        batch = Transformed(x, masks, boxes, keypoints)
        check_batch(batch)
        return self._run(batch, params, True)

    def _run(self, batch: Transformed, params: tuple[Any, ...], inverse: bool) -> Tensor | Transformed:
        if batch.x.dim() == 3:
            x, *targets = batch
            lifted = Transformed(x.unsqueeze(0), *(t if t is None else t.unsqueeze(0) for t in targets))
            x, *targets = self._move(lifted, params, inverse)
            moved = Transformed(x.squeeze(0), *(t if t is None else t.squeeze(0) for t in targets))
        else:
            moved = self._move(batch, params, inverse)
        return moved.x if all(target is None for target in moved[1:]) else moved


class RandomTransform(Transform):
    """Options, draws and the way of images and targets; a subclass says what is drawn and how pixels move."""

    params_type: ClassVar[type[tuple[Any, ...]]]

    def __init__(
        self,
        interpolation: object,
        fill: object,
        *,
        padding_mode: object,
        p: object,
        same_on_batch: object,
        generator: object,
        mean: object,
        std: object,
    ) -> None:
        super().__init__()
        self.interpolation = check_choice("interpolation", interpolation, INTERPOLATIONS)
        self.fill = check_channels("fill", fill)
        self.padding_mode = check_choice("padding_mode", padding_mode, PADDING_MODES)
        self.p = check_fraction("p", p)
        self.same_on_batch = check_bool("same_on_batch", same_on_batch)
        self.generator = check_generator(generator)
        self.mean = None if mean is None else check_channels("mean", mean)
        self.std = None if std is None else check_channels("std", std)

    def _warp(self, x: Tensor, params: Any, inverse: bool, options: dict[str, Any]) -> Tensor:
        """Images moved by the operator, with its options."""
        raise NotImplementedError

    def _matrix(self, params: Any, before: Size, after: Size, inverse: bool) -> Tensor:
        """The map of pixel positions that ``_warp`` makes, (N, 3, 3) float64."""
        raise NotImplementedError

    def _draw(self, x: Tensor, *ranges: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
        """Which images are transformed, (N,), and a column of numbers for each (low, high, neutral)."""
        check_images(x)
        images = x.shape[0] if x.dim() == 4 else 1
        device = x.device if self.generator is None else self.generator.device
        shape = (1 if self.same_on_batch else images, 1 + len(ranges))
        drawn = torch.rand(shape, generator=self.generator, device=device, dtype=torch.float32).to(x.device)
        applied = drawn[:, 0] < self.p
        low, high, neutral = (
            torch.tensor(ranges, dtype=torch.float32).to(x.device, non_blocking=True).unbind(1)
        )
        values = torch.where(applied[:, None], torch.lerp(low, high, drawn[:, 1:]), neutral)
        return applied.expand(images), values.expand(images, -1)

    def _move(self, batch: Transformed, params: tuple[Any, ...], inverse: bool) -> Transformed:
        x, masks, boxes, keypoints = batch
        drawn = self._fitted(params, x)
        y = self._warp(x, drawn, inverse, self._options(inverse))
        before, after = (x.shape[-2], x.shape[-1]), (y.shape[-2], y.shape[-1])
        if masks is not None:
            masks = self._warp_masks(masks, drawn, inverse, after)
        if boxes is not None or keypoints is not None:
            matrix = self._matrix(drawn, before, after, inverse)
            if boxes is not None:
                moved = move_boxes(matrix, boxes, after)
                # Not even clipped where nothing is done; a larger canvas moves every image.
                boxes = torch.where(drawn.applied[:, None, None], moved, boxes) if before == after else moved
            if keypoints is not None:
                keypoints = move_points(matrix, keypoints)
        return Transformed(y, masks, boxes, keypoints)

    def _options(self, inverse: bool) -> dict[str, Any]:
        options = {"interpolation": self.interpolation, "padding_mode": self.padding_mode, "fill": self.fill}
        if inverse:
            return options if self.mean is None and self.std is None else {**options, "fill": 0.0}
        return {**options, "mean": self.mean, "std": self.std}

    def _warp_masks(self, masks: Tensor, params: Any, inverse: bool, after: Size) -> Tensor:
        planes = masks.unsqueeze(1) if masks.dim() == 3 else masks
        if planes.shape[1] == 0:
            return masks.new_empty((*masks.shape[:-2], *after))
        options = {"interpolation": "nearest", "padding_mode": self.padding_mode, "fill": 0.0}
        moved = self._warp(planes.to(_carrier(masks.dtype)), params, inverse, options).to(masks.dtype)
        return moved.squeeze(1) if masks.dim() == 3 else moved

    def _fitted(self, params: tuple[Any, ...], x: Tensor) -> Any:
        """The parameters on the device of x, if they are this transform's and as many as the images."""
        if not isinstance(params, self.params_type):
            raise TypeError(f"params must be {self.params_type.__name__}, got {type(params).__name__}")
        if params[0].shape[0] != x.shape[0]:
            raise ValueError(f"params must be for {x.shape[0]} images, got {params[0].shape[0]}")
        return self.params_type(*(values.to(x.device) for values in params))

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        arguments = inspect.signature(type(self)).parameters.items()
        values = {name: getattr(self, name) for name, argument in arguments}
        return ", ".join(
            f"{name}={values[name]!r}" for name, argument in arguments if values[name] != argument.default
        )


def _carrier(dtype: torch.dtype) -> torch.dtype:
    """A dtype the operators take that holds a mask's labels, integers up to 2**53."""
    if dtype.is_floating_point or dtype == torch.uint8:
        return dtype
    return torch.uint8 if dtype == torch.bool else torch.float64
