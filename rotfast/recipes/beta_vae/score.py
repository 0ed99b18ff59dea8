"""What a trained code is worth: loss terms, and what it knows of rotation and digit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from rotfast import metrics
from rotfast.models import BetaVAE, SpatialTerms, SpatialVAE, normalised_beta
from rotfast.recipes.beta_vae.config import BetaVaeConfig
from rotfast.recipes.beta_vae.images import Images
from rotfast.recipes.beta_vae.networks import encode, terms
from rotfast.recipes.run import RunError

__all__ = ["Means", "beta_note", "capture", "describe", "headline", "validate"]

_BATCH = 200
_TURNED_IMAGES, _TURNS = 100, 19
_ACTIVE_NATS = 0.1


class Means:
    """Running means of the loss terms; `state` goes into a checkpoint."""

    def __init__(self, sums: list[float] | None = None) -> None:
        self._sums = [0.0] * 4 if sums is None else sums

    def add(self, batch: SpatialTerms) -> None:
        """Add a batch's terms, (N,) each."""
        values = [*(float(term.detach().sum()) for term in batch), float(len(batch.kl))]
        self._sums = [old + new for old, new in zip(self._sums, values, strict=True)]

    def record(self, beta: float) -> dict[str, float]:
        """The means in nats an image; in loss the angle's divergence counts once, not by its temperature."""
        reconstruction, kl, angle_kl = (value / self._sums[3] for value in self._sums[:3])
        return {
            "loss": reconstruction + beta * kl + angle_kl,
            "reconstruction": reconstruction,
            "kl": kl,
            "angle_kl": angle_kl,
        }

    def state(self) -> list[float]:
        """What the constructor takes."""
        return self._sums


def describe(record: Mapping[str, Any]) -> str:
    """One line about a record.

    Example:
        >>> describe({"loss": 100.0, "reconstruction": 80.0, "kl": 5.0, "angle_kl": 0.0})
        'loss 100.0 (reconstruction 80.0, KL 5.00)'
    """
    angle = f", angle's KL {record['angle_kl']:.2f}" if record["angle_kl"] else ""
    return (
        f"loss {record['loss']:.1f} (reconstruction {record['reconstruction']:.1f}, "
        f"KL {record['kl']:.2f}{angle})"
    )


@torch.no_grad()
def validate(net: nn.Module, images: Images, beta: float) -> dict[str, float]:
    """Loss terms of images at their fixed angles and, with the union, upright."""
    means = Means()
    angles = images.fixed_angles()
    turns = (angles, torch.zeros_like(angles)) if images.mixture == "union" else (angles,)
    net.eval()
    for angle in turns:
        for index in _batches(len(images), images.x.device):
            means.add(terms(net, images.turned(index, angle[index])))
    net.train()
    return means.record(beta)


def capture(net: BetaVAE | SpatialVAE, images: Images, seed: int = 0) -> dict[str, Any]:
    """What the code of rotated images knows, each image turned by its own fixed angle.

    Args:
        net: The trained network, not wrapped.
        images: Images that it was not trained on.
        seed: Of the random halves and forests of the metrics.

    Returns:
        "reconstruction" and "kl" in nats an image at the code's mean, "rotation" (see
        `rotfast.metrics.rotation_capture`), for the spatial architecture "angle" (its angle as it is, nothing
        fitted), "mig" and "sap" of angle and digit, "dci", "kl_per_dimension", "active_dimensions" (above 0.1
        nats) and "intervention".
    """
    net.eval()
    angles = images.fixed_angles()
    codes, reconstruction = [], []
    mu, logvar = [], []
    for index in _batches(len(images), images.x.device):
        x = images.turned(index, angles[index])
        code = encode(net, x)
        codes.append(code.values)
        mu.append(code.mu)
        logvar.append(code.logvar)
        reconstruction.append(_cross_entropy(code.image, x))
    values, labels, degrees = torch.cat(codes).cpu(), images.y.cpu(), angles.cpu()
    if not torch.isfinite(values).all():
        raise RunError("the codes are no longer finite: lower --lr")
    divergences = metrics.kl_per_dimension(torch.cat(mu), torch.cat(logvar)).cpu()
    factors: dict[str, Any] = {"angle": degrees, "digit": labels}
    result = {
        "images": len(images),
        "reconstruction": float(torch.cat(reconstruction).mean()),
        "kl": float(divergences.sum()),
        "rotation": asdict(metrics.rotation_capture(values, degrees, classes=labels, seed=seed)),
        "mig": {name: metrics.mig(values, factor) for name, factor in factors.items()},
        "sap": {name: metrics.sap(values, factor, seed=seed) for name, factor in factors.items()},
        "dci": asdict(metrics.dci(values, factors, seed=seed)),
        "kl_per_dimension": divergences.tolist(),
        "active_dimensions": int((divergences > _ACTIVE_NATS).sum()),
        "intervention": asdict(_intervention(net, images)),
    }
    if isinstance(net, SpatialVAE):
        result["angle"] = asdict(metrics.angle_agreement(values[:, 0], degrees, classes=labels))
    return result


def headline(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of `capture` that are compared between runs.

    "r2", "circular_correlation" and "mean_error" are those of the best single dimension, fitted linearly.
    """
    best = result["rotation"]["one_dimension"]
    figures = {
        "r2": best["r2"],
        "circular_correlation": best["circular_correlation"],
        "mean_error": best["mean_error"],
        "linear_r2": result["rotation"]["linear"]["r2"],
        "forest_r2": result["rotation"]["forest"]["r2"],
        "forest_error": result["rotation"]["forest"]["mean_error"],
        "mig_angle": result["mig"]["angle"],
        "mig_digit": result["mig"]["digit"],
        "reconstruction": result["reconstruction"],
        "kl": result["kl"],
    }
    if "angle" in result:
        read = result["angle"]
        figures |= {f"angle_{name}": read[name] for name in ("r2", "circular_correlation", "mean_error")}
    return figures


def beta_note(config: BetaVaeConfig) -> str:
    """β and what it is once normalised by the sizes of code and image."""
    norm = normalised_beta(config.beta, config.latent_size, config.image_size**2)
    return f"β = {config.beta:g}, β_norm = {norm:.3g}"


def _batches(count: int, device: torch.device) -> Iterator[Tensor]:
    yield from torch.arange(count, device=device).split(_BATCH)


def _cross_entropy(image: Tensor, x: Tensor) -> Tensor:
    """Sum over pixels, (N,): of a drawn image and not of logits, as a turned one has none."""
    p = image.clamp(1e-6, 1 - 1e-6)
    return -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(dim=1)


def _intervention(net: BetaVAE | SpatialVAE, images: Images) -> metrics.InterventionShare:
    """Of some images, each turned through the whole span in equal steps."""
    device = images.x.device
    turns = torch.linspace(-images.span, images.span, _TURNS, device=device)
    chosen = torch.arange(min(_TURNED_IMAGES, len(images)), device=device)
    codes = [encode(net, images.turned(chosen, turn.expand(len(chosen)))).values for turn in turns]
    return metrics.intervention_share(torch.stack(codes, dim=1))
