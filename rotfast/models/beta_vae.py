"""Convolutional variational autoencoders of the β-VAE study, and the terms of their loss."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "ACTIVATIONS",
    "BetaVAE",
    "article_vae",
    "gaussian_kl",
    "normalised_beta",
    "own_vae",
    "reconstruction_loss",
]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}
_SMALLEST = 4  # height and width of the last feature map at 64x64


class BetaVAE(nn.Module):
    """An autoencoder with a Gaussian code: encoder to mean and log-variance, decoder to logits of pixels.

    Args:
        encoder: images (N, 1, H, W) to (N, 2 * latent_size), the means first.
        decoder: codes (N, latent_size) to the logits of images (N, 1, H, W).

    Shape:
        x (N, 1, H, W) in [0, 1] -> logits (N, 1, H, W), mu (N, L), logvar (N, L), with a code drawn from the
        posterior by torch's global generator.

    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014 (arXiv 1312.6114); Higgins et al.,
    "beta-VAE", 2017.

    Example:
        >>> import torch
        >>> from rotfast.models import article_vae
        >>> model = article_vae(latent_size=10)
        >>> logits, mu, logvar = model(torch.rand(2, 1, 64, 64))
        >>> logits.shape, mu.shape, model.decode(mu).shape
        (torch.Size([2, 1, 64, 64]), torch.Size([2, 10]), torch.Size([2, 1, 64, 64]))
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the code of each image, (N, L) each."""
        mu, logvar = self.encoder(x).chunk(2, dim=-1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Images (N, 1, H, W) in [0, 1] of codes (N, L)."""
        return torch.sigmoid(self.decoder(z))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, draw a code, decode."""
        mu, logvar = self.encode(x)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.decoder(z), mu, logvar


def reconstruction_loss(logits: Tensor, x: Tensor) -> Tensor:
    """Cross-entropy of each image with its reconstruction, in nats, **summed** over channels and pixels.

    The mean over pixels would divide this term by their number and leave β as it is: the code then collapses.

    Args:
        logits: (N, C, H, W).
        x: images in [0, 1], (N, C, H, W).

    Returns:
        (N,).

    Example:
        >>> reconstruction_loss(torch.zeros(2, 1, 4, 4), torch.rand(2, 1, 4, 4)) / 16
        tensor([0.6931, 0.6931])
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=(-3, -2, -1))


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence of N(mu, exp(logvar)) from N(0, 1), in nats, summed over the last dimension.

    Args:
        mu: means, (..., L).
        logvar: logarithms of the variances, (..., L).

    Returns:
        (...).

    Source: Kingma and Welling 2014 (arXiv 1312.6114), appendix B.

    Example:
        >>> gaussian_kl(torch.tensor([[3.0, -1.0]]), torch.zeros(1, 2))
        tensor([5.])
    """
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar).sum(dim=-1)


def normalised_beta(beta: float, latent_size: int, pixels: int) -> float:
    """β·M/N of Higgins et al. 2017, for codes of M numbers and images of N: comparable between sizes.

    Example:
        >>> normalised_beta(4.0, latent_size=10, pixels=64 * 64)
        0.009765625
    """
    return beta * latent_size / pixels


def article_vae(latent_size: int = 10, image_size: int = 64, activation: str = "relu") -> BetaVAE:
    """The architecture of Higgins et al. 2017: convolutions of 4x4, stride 2, then 256 units.

    At 64x64 the encoder is conv 32, 32, 64, 64, dense 1024-256-(2 * latent_size) and the decoder its mirror
    image. Smaller images leave out the first convolutions: 32x32 has 32, 64, 64, and 16x16 has 64, 64.

    Args:
        latent_size: numbers of the code.
        image_size: height and width of the images: 64, 32 or 16.
        activation: one of ACTIVATIONS, after every layer but the last ones.

    Raises:
        ValueError: an unknown activation, a latent size below 1 or another image size.

    Example:
        >>> sum(parameter.numel() for parameter in article_vae().parameters())
        764245
    """
    act = _check(latent_size, image_size, activation)
    channels = {64: (32, 32, 64, 64), 32: (32, 64, 64), 16: (64, 64)}[image_size]
    features = channels[-1] * _SMALLEST**2
    encoder: list[nn.Module] = []
    decoder: list[nn.Module] = []
    for before, after in zip((1, *channels), channels, strict=False):
        encoder += [nn.Conv2d(before, after, 4, stride=2, padding=1), act()]
        upward = nn.ConvTranspose2d(after, before, 4, stride=2, padding=1)
        decoder = [upward, *([act(), *decoder] if decoder else [])]
    return BetaVAE(
        nn.Sequential(
            *(*encoder, nn.Flatten()),
            *(nn.Linear(features, 256), act(), nn.Linear(256, 2 * latent_size)),
        ),
        nn.Sequential(
            *(nn.Linear(latent_size, 256), act(), nn.Linear(256, features), act()),
            *(nn.Unflatten(1, (channels[-1], _SMALLEST, _SMALLEST)), *decoder),
        ),
    )


def own_vae(latent_size: int = 10, image_size: int = 64, activation: str = "linear") -> BetaVAE:
    """The study's own architecture: seven convolutions with batch normalisation, linear by default.

    The encoder is conv 32, 32, 64, 64, 128, 128, 256 (3x3, strides 2, 1, 2, 1, 2, 1, 2) and one dense layer;
    the decoder is its mirror image. The study's slides give the channels, the normalisation and the linear
    activation; kernel size and strides are ours. With no activation only the decoder's sigmoid is not linear.

    Args:
        latent_size: numbers of the code.
        image_size: height and width of the images: 64, 32 or 16.
        activation: one of ACTIVATIONS, after every batch normalisation.

    Raises:
        ValueError: as `article_vae`.

    Example:
        >>> sum(parameter.numel() for parameter in own_vae().parameters())
        1292245
    """
    act = _check(latent_size, image_size, activation)
    channels, strides = (32, 32, 64, 64, 128, 128, 256), (2, 1, 2, 1, 2, 1, 2)
    side = image_size // 16
    encoder: list[nn.Module] = []
    decoder: list[nn.Module] = []
    for before, after, stride in zip((1, *channels), channels, strides, strict=False):
        encoder += [nn.Conv2d(before, after, 3, stride, padding=1), nn.BatchNorm2d(after), act()]
        upward = nn.ConvTranspose2d(after, before, 3, stride, padding=1, output_padding=stride - 1)
        decoder = [upward, *([nn.BatchNorm2d(before), act(), *decoder] if decoder else [])]
    features = channels[-1] * side**2
    return BetaVAE(
        nn.Sequential(*encoder, nn.Flatten(), nn.Linear(features, 2 * latent_size)),
        nn.Sequential(
            nn.Linear(latent_size, features), nn.Unflatten(1, (channels[-1], side, side)), *decoder
        ),
    )


def _check(latent_size: int, image_size: int, activation: str) -> Callable[[], nn.Module]:
    if not isinstance(latent_size, int) or latent_size < 1:
        raise ValueError(f"latent_size must be a positive int, got {latent_size!r}")
    if image_size not in (64, 32, 16):
        raise ValueError(f"image_size must be 64, 32 or 16, got {image_size!r}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return ACTIVATIONS[activation]
