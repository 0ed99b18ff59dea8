"""What a code knows: rotation capture and disentanglement of any encoder.

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
from rotfast.metrics.posterior import kl_per_dimension

__all__ = [
    "DCI",
    "AngleAgreement",
    "InterventionShare",
    "RotationCapture",
    "angle_agreement",
    "angle_error",
    "circular_correlation",
    "dci",
    "intervention_share",
    "kl_per_dimension",
    "mig",
    "mutual_information",
    "rotation_capture",
    "sap",
]
