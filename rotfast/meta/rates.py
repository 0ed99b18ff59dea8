"""Step sizes of the inner loop, one entry for each adapted parameter."""

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView

import torch
from torch import Tensor, nn

LR_MODES = ("per_layer", "per_param", "fixed")


class InnerRates(nn.Module):
    """Inner-loop rates as a read-only mapping from parameter name to rate.

    Learned rates are the alpha of Meta-SGD (Li et al. 2017, arXiv 1707.09835): they multiply the inner
    direction and are trained by the outer loop like any other parameter. Each has the dtype and device of its
    parameter. In a state dict the dots of a name are slashes.

    Args:
        parameters: name -> parameter that the inner loop adapts. Names may hold dots.
        inner_lr: initial value of every rate, finite and not negative.
        mode: "per_layer" (one learned scalar per tensor, shape ()), "per_param" (one learned rate per
            element, shape of the parameter) or "fixed" (scalars kept as buffers, so that a state dict still
            holds them).

    Raises:
        ValueError: if mode is none of the three, or inner_lr is negative or not finite.

    Example:
        >>> from torch import nn
        >>> rates = InnerRates(dict(nn.Linear(3, 2).named_parameters()), inner_lr=0.1, mode="per_layer")
        >>> rates["bias"]
        Parameter containing:
        tensor(0.1000, requires_grad=True)
        >>> list(rates), list(rates.state_dict())
        (['weight', 'bias'], ['rate/weight', 'rate/bias'])
    """

    def __init__(self, parameters: Mapping[str, Tensor], inner_lr: float, mode: str) -> None:
        super().__init__()
        if mode not in LR_MODES:
            raise ValueError(f"lr_mode: expected one of {', '.join(LR_MODES)}; got {mode!r}")
        # `not >=` instead of `<`: it refuses NaN as well.
        if not 0 <= inner_lr < float("inf"):
            raise ValueError(f"inner_lr: expected a finite number that is not negative; got {inner_lr}")
        self.mode = mode
        # A registered name may not hold a dot; the prefix keeps a parameter called "values" off the method.
        self._attributes = {name: "rate/" + name.replace(".", "/") for name in parameters}
        for name, parameter in parameters.items():
            shape = parameter.shape if mode == "per_param" else ()
            rate = torch.full(shape, float(inner_lr), dtype=parameter.dtype, device=parameter.device)
            if mode == "fixed":
                self.register_buffer(self._attributes[name], rate)
            else:
                self.register_parameter(self._attributes[name], nn.Parameter(rate))

    def __getitem__(self, name: str) -> Tensor:
        rate: Tensor = getattr(self, self._attributes[name])
        return rate

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)

    def __contains__(self, name: object) -> bool:
        return name in self._attributes

    def keys(self) -> KeysView[str]:
        """Names of the adapted parameters."""
        return self._attributes.keys()

    def values(self) -> ValuesView[Tensor]:
        """Rates, in the order of keys()."""
        return dict(self.items()).values()

    def items(self) -> ItemsView[str, Tensor]:
        """Pairs of name and rate."""
        return {name: self[name] for name in self}.items()

    def extra_repr(self) -> str:
        """Describe the settings, for repr()."""
        return f"{self.mode}, {len(self)} tensors"
