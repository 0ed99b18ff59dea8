"""Random rotation, affine maps and perspective of whole batches, with parameters per image.

Draw, apply, replay and undo; masks, boxes and keypoints move along.
"""

from rotfast.transforms._base import Transformed
from rotfast.transforms.affine import AffineParams, RandomAffine
from rotfast.transforms.compose import Compose
from rotfast.transforms.perspective import PerspectiveParams, RandomPerspective
from rotfast.transforms.rotation import RandomRotation, RotationParams
from rotfast.transforms.rotnet import RotNetBatch

__all__ = [
    "AffineParams",
    "Compose",
    "PerspectiveParams",
    "RandomAffine",
    "RandomPerspective",
    "RandomRotation",
    "RotNetBatch",
    "RotationParams",
    "Transformed",
]
