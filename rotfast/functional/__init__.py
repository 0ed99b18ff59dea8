"""Public functions: check the arguments, choose the backend, call the operator."""

from rotfast.functional.circuits import conv_relu_linear, conv_relu_share_linear
from rotfast.functional.quarter_turns import rotate90, rotate90_all
from rotfast.functional.resampling import affine, perspective, rotate
from rotfast.functional.sharing import Padding as Padding
from rotfast.functional.sharing import (
    expand_dense,
    expand_kronecker,
    share_conv2d,
    share_conv2d_full,
    share_linear,
)

__all__ = [
    "affine",
    "conv_relu_linear",
    "conv_relu_share_linear",
    "expand_dense",
    "expand_kronecker",
    "perspective",
    "rotate",
    "rotate90",
    "rotate90_all",
    "share_conv2d",
    "share_conv2d_full",
    "share_linear",
]
