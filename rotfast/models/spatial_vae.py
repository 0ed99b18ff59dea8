"""A variational autoencoder whose code holds the angle explicitly and whose decoder draws upright images."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rotfast.functional import affine, rotate
from rotfast.models.beta_vae import gaussian_kl, reconstruction_loss

__all__ = ["ANGLE_PRIORS", "SpatialCode", "SpatialTerms", "SpatialVAE"]

ANGLE_PRIORS = ("upright", "half", "flat")


class SpatialTerms(NamedTuple):
    """The terms of a negative evidence bound, in nats, (N,) each.

    Attributes:
        reconstruction: cross-entropy in the upright frame, averaged over the angle's posterior.
        kl: divergence of the Gaussian part of the code, averaged likewise.
        angle_kl: divergence of the angle's posterior from its prior.
    """

    reconstruction: Tensor
    kl: Tensor
    angle_kl: Tensor


class SpatialCode(NamedTuple):
    """The code of images: ``decode(mu, angle, shift)`` draws them again.

    Attributes:
        angle: degrees by which the image is turned, counter-clockwise, (N,).
        mu: means of the rest of the code, of the image turned upright, (N, L).
        logvar: their log-variances, (N, L).
        shift: pixels to the right and down in the upright frame, (N, 2); zeros in a model without shifts.
    """

    angle: Tensor
    mu: Tensor
    logvar: Tensor
    shift: Tensor


class SpatialVAE(nn.Module):
    """Code = angle + Gaussian: the decoder draws an upright image, ``rotfast.rotate`` turns it.

    No network has to learn what turning does. The encoder finds the angle by trying: the image is turned back
    by K candidate angles at once, and one shared network gives each result a score (the softmax over the K is
    the angle's posterior), a mean and a log-variance. Every candidate is decoded and compared in the upright
    frame. No label and no true angle enters. What the images themselves cannot tell, which of their
    orientations is called 0, is decided by the prior of the angle.

    In training the candidates are K equal steps over ±span, all displaced by one random offset per image:
    otherwise interpolation, which blurs each copy but the one at 0, would betray that copy.

    Args:
        latent_size: numbers of the Gaussian part, L.
        image_size: height and width of the images, in pixels.
        candidates: angles tried in training, K.
        span: largest angle, in degrees, at most 180.
        prior: of the angle. "upright": falls off exponentially with the angle, on a flat ground: upright
            images are common. "half": upright with probability ½, otherwise uniform. "flat": uniform.
        hidden: units of the wide layers; the narrow ones have half as many.
        shift_std: standard deviation of the prior of a shift of the upright image, in pixels, as a third part
            of the code; 0 leaves it out.

    Raises:
        ValueError: a size below 1 (candidates: 2), a span outside (0, 180], an unknown prior, a negative or
            infinite shift_std.

    Source: Bepler et al., "Explicitly disentangling image content from translation and rotation with
    spatial-VAE", 2019 (arXiv 1909.11663); candidate angles with an attention over them as in Nasiri and
    Bepler, "Unsupervised object representation learning using translation and rotation group equivariant
    VAE", 2022 (arXiv 2210.12918).

    Example:
        >>> import torch
        >>> from rotfast.models import SpatialVAE
        >>> model = SpatialVAE(image_size=28)
        >>> x = torch.rand(4, 1, 28, 28)
        >>> terms = model(x)
        >>> loss = (terms.reconstruction + terms.kl + terms.angle_kl).mean()
        >>> code = model.encode(x)
        >>> code.angle.shape, model.decode(code.mu, code.angle).shape
        (torch.Size([4]), torch.Size([4, 1, 28, 28]))
    """

    def __init__(
        self,
        latent_size: int = 10,
        image_size: int = 32,
        candidates: int = 13,
        span: float = 90.0,
        prior: str = "upright",
        hidden: int = 512,
        shift_std: float = 0.0,
    ) -> None:
        super().__init__()
        _check_sizes(latent_size=latent_size, image_size=image_size, hidden=hidden, candidates=candidates)
        if not 0 < span <= 180:
            raise ValueError(f"span must be in (0, 180] degrees, got {span}")
        if prior not in ANGLE_PRIORS:
            raise ValueError(f"prior must be one of {', '.join(ANGLE_PRIORS)}, got {prior!r}")
        if not 0 <= shift_std < math.inf:
            raise ValueError(f"shift_std must be finite and not negative, got {shift_std}")
        self.latent_size, self.image_size, self.candidates = latent_size, image_size, candidates
        self.span, self.prior, self.shift_std = span, prior, shift_std
        self.gaussian_size = latent_size + (2 if shift_std else 0)
        pixels, narrow = image_size**2, max(1, hidden // 2)
        self.encoder = nn.Sequential(
            *(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, narrow), nn.ReLU()),
            nn.Linear(narrow, 1 + 2 * self.gaussian_size),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(latent_size, narrow), nn.ReLU(), nn.Linear(narrow, hidden), nn.ReLU()),
            *(nn.Linear(hidden, pixels), nn.Unflatten(1, (1, image_size, image_size))),
        )

    def forward(self, x: Tensor) -> SpatialTerms:
        """The terms of the loss of images (N, 1, H, W) in [0, 1], candidates and codes drawn at random."""
        step = self._step(self.candidates)
        offset = step * (torch.rand(len(x), 1, device=x.device) - 0.5)
        angle = torch.linspace(-self.span, self.span, self.candidates, device=x.device) + offset
        upright, score, mu, logvar = self._inspect(x, angle)
        code = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        z, shift = code[..., : self.latent_size], code[..., self.latent_size :]
        logits = self.decoder(z.flatten(0, 1))
        if self.shift_std:
            logits = affine(logits, translate=self.shift_std * shift.flatten(0, 1), padding_mode="border")
        # Interpolation of values in [0, 1] may leave it by a rounding error, which the loss does not forgive.
        target = upright.flatten(0, 1).clamp(0, 1)
        log_q = score.log_softmax(dim=-1)
        q = log_q.exp()
        reconstruction = reconstruction_loss(logits, target).view_as(q)
        return SpatialTerms(
            (q * reconstruction).sum(dim=-1),
            (q * gaussian_kl(mu, logvar)).sum(dim=-1),
            (q * (log_q - self.log_prior(angle))).sum(dim=-1),
        )

    def log_prior(self, angle: Tensor) -> Tensor:
        """Logarithm of the prior at candidate angles (..., K), over which it sums to 1."""
        if self.prior == "flat":
            return torch.zeros_like(angle).log_softmax(dim=-1)
        if self.prior == "half":
            upright = (angle.abs() <= 0.5 * self._step(angle.shape[-1])).to(angle.dtype)
            return torch.log(upright + 1 / angle.shape[-1]).log_softmax(dim=-1)
        return torch.log(torch.exp(-angle.abs() / _SCALE) + _GROUND).log_softmax(dim=-1)

    def angle_posterior(self, x: Tensor, angle: Tensor) -> Tensor:
        """Probabilities (N, K) of candidate angles (N, K), or (K,) for all images, in degrees."""
        return self._inspect(x, angle.expand(len(x), -1))[1].softmax(dim=-1)

    def encode(self, x: Tensor, candidates: int = 60) -> SpatialCode:
        """The code of images (N, 1, H, W): the angle first, then the rest of the image turned back by it.

        The angle is the mean direction of its posterior over that many angles, the middles of equal steps
        over ±span. (No image is tried at angle 0 itself when their number is even: that copy is sharper.)
        """
        step = 2 * self.span / candidates
        grid = step * (torch.arange(candidates, device=x.device) + 0.5) - self.span
        probability = self.angle_posterior(x, grid)
        radian = torch.deg2rad(grid)
        angle = torch.rad2deg(torch.atan2(probability @ radian.sin(), probability @ radian.cos()))
        _, _, mu, logvar = (part.squeeze(1) for part in self._inspect(x, angle.unsqueeze(1)))
        shift = self.shift_std * mu[:, self.latent_size :] if self.shift_std else mu.new_zeros(len(x), 2)
        return SpatialCode(angle, mu[:, : self.latent_size], logvar[:, : self.latent_size], shift)

    def decode(self, z: Tensor, angle: Tensor | float = 0.0, shift: Tensor | None = None) -> Tensor:
        """Draw upright images of codes (N, L) and turn them; differentiable in all three.

        Args:
            z: (N, L).
            angle: degrees, counter-clockwise: a number for all, (N,), or (N, K) for K results each.
            shift: pixels to the right and down, in the upright frame, (N, 2).

        Returns:
            Images (N, 1, H, W) in [0, 1], or (N, K, 1, H, W).
        """
        upright = torch.sigmoid(self.decoder(z))
        if shift is not None:
            upright = affine(upright, translate=shift)
        return rotate(upright, angle)

    def _inspect(self, x: Tensor, angle: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images turned back by K angles (N, K, 1, H, W); score (N, K), mu and logvar (N, K, G)."""
        upright = rotate(x, -angle)
        heads = self.encoder(upright.flatten(0, 1)).unflatten(0, angle.shape)
        score, mu, logvar = heads.split([1, self.gaussian_size, self.gaussian_size], dim=-1)
        return upright, score.squeeze(-1), mu, logvar

    def _step(self, candidates: int) -> float:
        return 2 * self.span / (candidates - 1)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        least = 2 if name == "candidates" else 1
        if not isinstance(size, int) or size < least:
            raise ValueError(f"{name} must be an int of at least {least}, got {size!r}")


_SCALE, _GROUND = 30.0, 0.02  # degrees; of the "upright" prior
