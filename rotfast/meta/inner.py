"""Differentiable optimisers of the inner loop: from the gradients of one step to the directions of that step.

An instance lives for one episode, so its state starts fresh in each and never mixes tasks.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class InnerOptimizer(Protocol):
    """Turns gradients into directions; the caller multiplies them by the inner rates and subtracts."""

    def directions(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one direction per gradient, of the same name and shape."""
        ...


class Sgd:
    """Plain gradient descent: the direction is the gradient."""

    def directions(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the gradients."""
        return dict(gradients)


class Adam:
    """Adam with bias correction (Kingma and Ba 2015, Algorithm 1), differentiable in all gradients so far.

    Where all gradients of an element were exactly zero its second moment is a constant zero, so no gradient
    passes through the root there, whose slope is infinite. The direction g / (|g| + eps) still has its true
    slope, 1 / eps.
    """

    beta1 = 0.9
    beta2 = 0.999
    eps = 1e-8

    def __init__(self) -> None:
        self._step = 0
        self._mean: dict[str, Tensor] = {}
        self._square: dict[str, Tensor] = {}

    def directions(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the bias-corrected mean over the root of the bias-corrected second moment."""
        self._step += 1
        mean_correction = 1 - self.beta1**self._step
        square_correction = 1 - self.beta2**self._step
        directions = {}
        for name, gradient in gradients.items():
            mean = (1 - self.beta1) * gradient
            square = (1 - self.beta2) * gradient * gradient
            if name in self._mean:
                mean = mean + self.beta1 * self._mean[name]
                square = square + self.beta2 * self._square[name]
            self._mean[name], self._square[name] = mean, square
            root = _sqrt_flat_at_zero(square / square_correction)
            directions[name] = mean / mean_correction / (root + self.eps)
        return directions


def _sqrt_flat_at_zero(x: Tensor) -> Tensor:
    zero = x == 0
    # Masking the result alone would not do: the backward of sqrt at 0 is infinite, and 0 * inf is NaN.
    return torch.where(zero, 0.0, torch.where(zero, 1.0, x).sqrt())


INNER_OPTIMIZERS: Mapping[str, type[InnerOptimizer]] = {"sgd": Sgd, "adam": Adam}
