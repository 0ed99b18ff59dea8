"""rotfast: learned weight sharing and rotated images for PyTorch."""

from rotfast.functional import (
    affine,
    conv_relu_linear,
    conv_relu_share_linear,
    expand_dense,
    expand_kronecker,
    perspective,
    rotate,
    rotate90,
    rotate90_all,
    share_conv2d,
    share_conv2d_full,
    share_linear,
)
from rotfast.memory import keep_freed_memory
from rotfast.nn import (
    Identity1x1Conv,
    IdentityLinear,
    LocallyConnected1d,
    ShareCircuit,
    ShareConv2d,
    ShareConv2dFull,
    ShareLinear,
    ShareLinearFull,
    adapted_parameters,
    symmetry_parameters,
    weight_norm,
)

__version__ = "0.1.0"

__all__ = [
    "Identity1x1Conv",
    "IdentityLinear",
    "LocallyConnected1d",
    "ShareCircuit",
    "ShareConv2d",
    "ShareConv2dFull",
    "ShareLinear",
    "ShareLinearFull",
    "adapted_parameters",
    "affine",
    "conv_relu_linear",
    "conv_relu_share_linear",
    "expand_dense",
    "expand_kronecker",
    "keep_freed_memory",
    "perspective",
    "rotate",
    "rotate90",
    "rotate90_all",
    "share_conv2d",
    "share_conv2d_full",
    "share_linear",
    "symmetry_parameters",
    "weight_norm",
]
