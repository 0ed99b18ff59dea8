"""What a Gaussian posterior tells of its prior."""

import torch
from torch import Tensor

__all__ = ["kl_per_dimension"]


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of each dimension of N(mu, exp(logvar)) from the prior N(0, 1).

    KL_d = mean over images of ½ (μ² + σ² - 1 - log σ²) (Kingma and Welling, "Auto-Encoding Variational
    Bayes", 2014, appendix B), in nats. Their sum over d is the KL term of the evidence bound; a dimension
    that the model leaves unused has about 0.

    Args:
        mu: posterior means, (N, D).
        logvar: logarithms of the posterior variances, (N, D).

    Returns:
        The divergences, (D,), differentiable, of the dtype and on the device of mu.

    Raises:
        TypeError: an argument is no floating-point tensor.
        ValueError: the shapes are not (N, D) with N of at least 1, or differ.

    Example:
        >>> kl_per_dimension(torch.tensor([[0.0, 3.0], [0.0, -1.0]]), torch.zeros(2, 2))
        tensor([0.0000, 2.5000])
    """
    for name, value in (("mu", mu), ("logvar", logvar)):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a floating-point Tensor, got {got}")
    if mu.dim() != 2 or len(mu) < 1:
        raise ValueError(f"mu must be (N, D) with N of at least 1, got shape {tuple(mu.shape)}")
    if logvar.shape != mu.shape:
        raise ValueError(f"logvar must have mu's shape {tuple(mu.shape)}, got {tuple(logvar.shape)}")
    return (0.5 * (mu.square() + torch.expm1(logvar) - logvar)).mean(dim=0)
