"""The operators in plain PyTorch: the truth that tests compare with, and the fallback when no kernel fits."""

from rotfast.reference.affine import affine, normalize, positions, sample
from rotfast.reference.affine_antialias import affine_antialias
from rotfast.reference.conv_relu_linear import conv_relu_linear
from rotfast.reference.expand_dense import expand_dense
from rotfast.reference.expand_kronecker import expand_kronecker
from rotfast.reference.perspective import perspective
from rotfast.reference.rotate90 import rotate90, rotate90_all
from rotfast.reference.rotation_matrix import cos_sin, rotation_matrix
from rotfast.reference.share_conv2d import conv2d, share_conv2d, share_conv2d_full
from rotfast.reference.share_linear import linear, share_linear

__all__ = [
    "affine",
    "affine_antialias",
    "conv2d",
    "conv_relu_linear",
    "cos_sin",
    "expand_dense",
    "expand_kronecker",
    "linear",
    "normalize",
    "perspective",
    "positions",
    "rotate90",
    "rotate90_all",
    "rotation_matrix",
    "sample",
    "share_conv2d",
    "share_conv2d_full",
    "share_linear",
]
