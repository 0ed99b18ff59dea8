"""What a code knows: rotation capture, disentanglement, few-shot classification with any encoder.

Functions take codes (N, D) and factors (N,) as tensors or arrays, on any device. Where a regressor or
classifier is fitted, it is fitted on a seeded random half of the codes and judged on the other. Those
functions need scikit-learn (``pip install 'rotfast[recipes]'``).
"""

from rotfast.metrics.angles import AngleAgreement, angle_agreement, angle_error, circular_correlation
from rotfast.metrics.capture import (
    InterventionShare,
    RotationCapture,
    intervention_share,
    rotation_capture,
)
from rotfast.metrics.disentanglement import DCI, dci, mig, mutual_information, sap
from rotfast.metrics.few_shot import FewShotScore, episodes, few_shot_predict, shared_references
from rotfast.metrics.posterior import kl_per_dimension
from rotfast.metrics.transductive import transductive_weights
from rotfast.metrics.verification import PairScore, Rejection, auroc, pair_score, rejection

__all__ = [
    "DCI",
    "AngleAgreement",
    "FewShotScore",
    "InterventionShare",
    "PairScore",
    "Rejection",
    "RotationCapture",
    "angle_agreement",
    "angle_error",
    "auroc",
    "circular_correlation",
    "dci",
    "episodes",
    "few_shot_predict",
    "intervention_share",
    "kl_per_dimension",
    "mig",
    "mutual_information",
    "pair_score",
    "rejection",
    "rotation_capture",
    "sap",
    "shared_references",
    "transductive_weights",
]
