"""Configuration of the β-VAE recipe and its presets."""

from __future__ import annotations

import typing
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from rotfast.models import ACTIVATIONS, ANGLE_PRIORS
from rotfast.recipes.config import (
    Device,
    Precision,
    Preset,
    RecipeConfig,
    check_at_least,
    check_choice,
    check_finite_not_negative,
)

__all__ = ["BetaVaeConfig", "preset_config"]

Architecture = Literal["article", "own", "spatial"]
Data = Literal["digits", "mnist"]
Mixture = Literal["union", "rotated"]
Prior = Literal["upright", "half", "flat"]

_AT_LEAST_ONE = (
    *("latent_size", "epochs", "batch", "validation_images", "hidden"),
    *("image_size", "log_every", "checkpoint_every"),
)


@dataclass(frozen=True)
class BetaVaeConfig(RecipeConfig):
    """β-VAE (Higgins et al. 2017) on upright and rotated digits.

    The defaults come from a preset (`preset_config`).

    Example:
        >>> BetaVaeConfig(image_size=28)
        Traceback (most recent call last):
        ...
        ValueError: image_size must be 64, 32 or 16 for architecture article, got 28
    """

    recipe: ClassVar[str] = "beta-vae"

    architecture: Architecture = "article"
    """article: Higgins et al. own: the study's, linear with batch normalisation. spatial: the code holds the
    angle explicitly, and the decoder's upright image is turned by it."""
    data: Data = "digits"
    """Images: scikit-learn's digits or MNIST."""
    preset: Preset = "recommended"
    """as-in-deck repeats the study, recommended is what one should do."""
    seed: int = 0
    """Seed of initial weights, shuffles, rotations and codes."""

    beta: float = 4.0
    """Weight of the code's divergence from its prior, against losses summed over pixels."""
    betas: tuple[float, ...] = ()
    """Train once for each of these β, into RUN/beta-B, instead of once for --beta."""
    latent_size: int = 10
    """Numbers of the Gaussian code; spatial's angle is one more."""
    image_size: int = 64
    """Height and width the images are enlarged to."""
    activation: str | None = None
    """article, own: linear, relu, leaky_relu, elu, gelu or tanh; None is the architecture's own."""

    mixture: Mixture = "union"
    """union: every image upright and, in the same epoch, rotated. rotated: rotated alone."""
    span: float = 90.0
    """Rotations are drawn afresh in every epoch, uniformly from -span to span degrees."""
    images: int | None = None
    """Training images; None is all but those of the validation."""
    validation_images: int = 5000
    """Images held out of the training split, upright and rotated copies alike, to judge a training by."""

    prior: Prior = "upright"
    """spatial: prior of the angle. upright: the smaller the likelier. half: upright in half of all images.
    flat: all alike."""
    candidates: int = 13
    """spatial: angles tried for every image in training."""
    hidden: int = 512
    """spatial: units of the wide layers."""
    shift_std: float = 0.0
    """spatial: standard deviation of a shift in pixels as a further part of the code; 0 has none."""
    temperature: tuple[float, float] = (40.0, 3.0)
    """spatial: weight of the angle's divergence from its prior, in the first step and in the last."""

    epochs: int = 15
    """Passes over the images."""
    batch: int = 128
    """Images of a step."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How lr changes: not at all, or down to zero along half a cosine."""
    clip_norm: float | None = None
    """Gradients longer than this, all parameters together, are shortened to it."""
    log_every: int = 50
    """Steps between lines about the training in metrics.jsonl, each a mean over those steps."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    device: Device = "auto"
    """Where to compute; auto takes an accelerator that is there."""
    precision: Precision = "32-true"
    """Number format of parameters and arithmetic."""
    data_dir: str | None = None
    """Folder with MNIST's files; otherwise ROTFAST_DATA names it, or MNIST is downloaded."""

    def __post_init__(self) -> None:
        for name, kind in (
            ("architecture", Architecture),
            ("data", Data),
            ("preset", Preset),
            ("mixture", Mixture),
        ):
            check_choice(name, getattr(self, name), typing.get_args(kind))
        check_choice("prior", self.prior, ANGLE_PRIORS)
        for name in _AT_LEAST_ONE:
            check_at_least(name, getattr(self, name), 1)
        check_at_least("seed", self.seed, 0)
        check_at_least("candidates", self.candidates, 2)
        if self.images is not None:
            check_at_least("images", self.images, 1)
        for name in ("beta", "lr", "shift_std"):
            check_finite_not_negative(name, getattr(self, name))
        if self.clip_norm is not None and not 0 < self.clip_norm < float("inf"):
            raise ValueError(f"clip_norm must be a positive number, got {self.clip_norm}")
        for beta in self.betas:
            check_finite_not_negative("betas", beta)
        if len(set(self.betas)) != len(self.betas):
            raise ValueError(f"betas must differ from each other, got {self.betas}")
        if not 0 < self.span < 180:
            raise ValueError(f"span must be above 0 and below 180, got {self.span}")
        if len(self.temperature) != 2 or not all(0 < value < float("inf") for value in self.temperature):
            raise ValueError(f"temperature must be two positive numbers, got {self.temperature}")
        if self.architecture != "spatial" and self.image_size not in (64, 32, 16):
            raise ValueError(
                f"image_size must be 64, 32 or 16 for architecture {self.architecture}, got {self.image_size}"
            )
        if self.activation is not None:
            check_choice("activation", self.activation, ACTIVATIONS)
            if self.architecture == "spatial":
                raise ValueError(
                    f"activation needs architecture article or own, got {self.activation!r} with spatial"
                )


# The fields' defaults are the study's.
_RECOMMENDED: dict[str, Any] = {"schedule": "cosine"}
_SPATIAL: dict[str, Any] = {
    "image_size": 28,
    "beta": 1.0,
    "batch": 64,
    "schedule": "cosine",
    "candidates": 9,
    "prior": "half",
    "clip_norm": 200.0,  # as the posterior of the angle sharpens, single steps can undo a training
}
_SPATIAL_DATA: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 60},
    "mnist": {"epochs": 8},
}
_DIGITS: dict[str, Any] = {
    "validation_images": 200,
    "image_size": 32,
    "epochs": 60,
    "batch": 64,
}


def preset_config(
    architecture: str = "spatial", data: str = "digits", preset: str = "recommended"
) -> BetaVaeConfig:
    """The defaults for an architecture, a data set and a preset.

    Args:
        architecture: "article", "own" or "spatial"; the study had no spatial, whose presets are the same.
        data: "digits" or "mnist".
        preset: "as-in-deck" or "recommended".

    Raises:
        ValueError: An unknown name.

    Example:
        >>> preset_config("article", "mnist", "as-in-deck").image_size
        64
    """
    base = BetaVaeConfig(
        architecture=typing.cast(Architecture, architecture),
        data=typing.cast(Data, data),
        preset=typing.cast(Preset, preset),
    )
    values: dict[str, Any] = {}
    if preset == "recommended":
        values |= _RECOMMENDED
    if data == "digits":
        values |= _DIGITS
    if architecture == "spatial":
        values |= _SPATIAL | _SPATIAL_DATA[data]
    return replace(base, **values)
