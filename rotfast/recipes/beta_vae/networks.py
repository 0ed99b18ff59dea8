"""The three architectures behind one interface: terms of the loss, codes, drawn images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rotfast.models import (
    BetaVAE,
    SpatialTerms,
    SpatialVAE,
    article_vae,
    gaussian_kl,
    own_vae,
    reconstruction_loss,
)
from rotfast.recipes.beta_vae.config import BetaVaeConfig

__all__ = ["Code", "draw", "encode", "make_net", "terms"]


class Code(NamedTuple):
    """Codes of images.

    Attributes:
        values: (N, D); of the spatial architecture the angle in degrees is the first.
        mu: means of the Gaussian part, (N, L).
        logvar: their log-variances, (N, L).
        image: what the code draws, (N, 1, H, W) in [0, 1].
    """

    values: Tensor
    mu: Tensor
    logvar: Tensor
    image: Tensor


def make_net(config: BetaVaeConfig) -> BetaVAE | SpatialVAE:
    """The network of a configuration, initialised from its seed."""
    torch.manual_seed(config.seed)
    if config.architecture == "spatial":
        return SpatialVAE(
            config.latent_size,
            config.image_size,
            candidates=config.candidates,
            span=config.span,
            prior=config.prior,
            hidden=config.hidden,
            shift_std=config.shift_std,
        )
    build = article_vae if config.architecture == "article" else own_vae
    options = {} if config.activation is None else {"activation": config.activation}
    return build(config.latent_size, config.image_size, **options)


def terms(net: nn.Module, x: Tensor) -> SpatialTerms:
    """The terms of the negative evidence bound of images, with a code drawn; net may be wrapped by Fabric."""
    output = net(x)
    if isinstance(output, SpatialTerms):
        return output
    logits, mu, logvar = output
    return SpatialTerms(reconstruction_loss(logits, x), gaussian_kl(mu, logvar), mu.new_zeros(len(x)))


@torch.no_grad()
def encode(net: BetaVAE | SpatialVAE, x: Tensor) -> Code:
    """Codes of images, and the images they draw."""
    if isinstance(net, SpatialVAE):
        code = net.encode(x)
        image = net.decode(code.mu, code.angle, code.shift if net.shift_std else None)
        parts = [code.angle.unsqueeze(1), code.mu, *([code.shift] if net.shift_std else [])]
        return Code(torch.cat(parts, dim=1), code.mu, code.logvar, image)
    mu, logvar = net.encode(x)
    return Code(mu, mu, logvar, net.decode(mu))


@torch.no_grad()
def draw(net: BetaVAE | SpatialVAE, values: Tensor) -> Tensor:
    """Images (N, 1, H, W) of codes (N, D) as `encode` gives them."""
    if not isinstance(net, SpatialVAE):
        return net.decode(values)
    end = 1 + net.latent_size
    shift = values[:, end:] if net.shift_std else None
    return net.decode(values[:, 1:end], values[:, 0], shift)
