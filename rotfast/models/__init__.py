"""Architectures of the recipes; they hold no data, optimiser or device code."""

from rotfast.models.beta_vae import (
    ACTIVATIONS,
    BetaVAE,
    article_vae,
    gaussian_kl,
    normalised_beta,
    own_vae,
    reconstruction_loss,
)
from rotfast.models.circuits import DedicatedCircuits, SingleCircuit
from rotfast.models.few_shot import FewShotClassifier, FewShotPrototypes
from rotfast.models.one_shot import OneShotCNN, OneShotConvNet, OneShotEmbedder, OneShotMLP, SiameseTrunk
from rotfast.models.rotnet import DigitCNN, ProfileMLP, RotNet
from rotfast.models.spatial_vae import ANGLE_PRIORS, SpatialCode, SpatialTerms, SpatialVAE
from rotfast.models.synthetic import synthetic_model

__all__ = [
    "ACTIVATIONS",
    "ANGLE_PRIORS",
    "BetaVAE",
    "DedicatedCircuits",
    "DigitCNN",
    "FewShotClassifier",
    "FewShotPrototypes",
    "OneShotCNN",
    "OneShotConvNet",
    "OneShotEmbedder",
    "OneShotMLP",
    "ProfileMLP",
    "RotNet",
    "SiameseTrunk",
    "SingleCircuit",
    "SpatialCode",
    "SpatialTerms",
    "SpatialVAE",
    "article_vae",
    "gaussian_kl",
    "normalised_beta",
    "own_vae",
    "reconstruction_loss",
    "synthetic_model",
]
