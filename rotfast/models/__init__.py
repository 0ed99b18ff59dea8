"""Architectures of the recipes; they hold no data, optimiser or device code."""

from rotfast.models.circuits import DedicatedCircuits, SingleCircuit
from rotfast.models.synthetic import synthetic_model

__all__ = ["DedicatedCircuits", "SingleCircuit", "synthetic_model"]
