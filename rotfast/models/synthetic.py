"""Models of the five synthetic problems: learned sharing and its baselines."""

from collections.abc import Callable

from torch import nn

from rotfast.nn import LocallyConnected1d, ShareConv2d, ShareLinearFull

__all__ = ["synthetic_model"]

_LATENT_SIZES = {"rank1": 3, "rank2": 6, "rank5": 30}
_CHANNELS = {"rot8": 24, "rot8-flip": 48}  # 3 fields in 8 orientations, or 16 with flips


def synthetic_model(problem: str, model: str) -> nn.Sequential:
    """The model that the study trains on a synthetic problem; none has a bias.

    Args:
        problem: "rank1", "rank2" or "rank5" (inputs (N, 1, 70), outputs (N, 1, 68)), or "rot8" or "rot8-flip"
            (inputs (N, 1, 32, 32), outputs (N, 24, 30, 30) or (N, 48, 30, 30)).
        model: "share" (learned sharing: ``ShareLinearFull`` or ``ShareConv2d``), "conv" (true convolution),
            and for the rank problems also "fc" (fully connected) and "lc" (locally connected).

    Returns:
        A fresh model of one layer, parameters named "0.…".

    Raises:
        ValueError: the problem or the model is unknown, or the problem has no such model.

    Source: Zhou, Knowles, Finn 2020 (arXiv 2007.02933), section 5.1 and 5.2.

    Example:
        >>> import torch
        >>> from rotfast.models import synthetic_model
        >>> synthetic_model("rank1", "share")(torch.randn(4, 1, 70)).shape
        torch.Size([4, 1, 68])
    """
    layers: dict[str, Callable[[], nn.Module]]
    if problem in _LATENT_SIZES:
        layers = {
            "share": lambda: ShareLinearFull(70, 68, bias=False, latent_size=_LATENT_SIZES[problem]),
            "conv": lambda: nn.Conv1d(1, 1, 3, bias=False),
            "fc": lambda: nn.Linear(70, 68, bias=False),
            "lc": lambda: LocallyConnected1d(1, 1, 68, kernel_size=3, bias=False),
        }
    elif problem in _CHANNELS:
        layers = {
            "share": lambda: ShareConv2d(1, _CHANNELS[problem], 3, bias=False),
            "conv": lambda: nn.Conv2d(1, _CHANNELS[problem], 3, bias=False),
        }
    else:
        raise ValueError(f"problem must be one of {', '.join((*_LATENT_SIZES, *_CHANNELS))}, got {problem!r}")
    if model not in layers:
        raise ValueError(f"model must be one of {', '.join(layers)} for problem {problem!r}, got {model!r}")
    return nn.Sequential(layers[model]())
