"""Architectures of the recipes; they hold no data, optimiser or device code."""

from rotfast.models.circuits import DedicatedCircuits, SingleCircuit
from rotfast.models.one_shot import OneShotCNN, OneShotConvNet, OneShotEmbedder, OneShotMLP, SiameseTrunk
from rotfast.models.rotnet import DigitCNN, ProfileMLP, RotNet
from rotfast.models.synthetic import synthetic_model

__all__ = [
    "DedicatedCircuits",
    "DigitCNN",
    "OneShotCNN",
    "OneShotConvNet",
    "OneShotEmbedder",
    "OneShotMLP",
    "ProfileMLP",
    "RotNet",
    "SiameseTrunk",
    "SingleCircuit",
    "synthetic_model",
]
