"""Operators: backend choice, autograd Functions, fake kernels and vmap rules over torch.ops.rotfast."""

from rotfast.ops.affine import affine
from rotfast.ops.conv_relu_linear import conv_relu_linear
from rotfast.ops.conv_relu_share_linear import conv_relu_share_linear
from rotfast.ops.expand_dense import expand_dense
from rotfast.ops.expand_kronecker import expand_kronecker
from rotfast.ops.rotate90 import rotate90, rotate90_all
from rotfast.ops.rotation_matrix import cos_sin, rotation_matrix
from rotfast.ops.share_conv2d import share_conv2d, share_conv2d_full
from rotfast.ops.share_linear import share_linear
from rotfast.reference import affine_antialias, perspective  # plain PyTorch is all they have

__all__ = [
    "affine",
    "affine_antialias",
    "conv_relu_linear",
    "conv_relu_share_linear",
    "cos_sin",
    "expand_dense",
    "expand_kronecker",
    "perspective",
    "rotate90",
    "rotate90_all",
    "rotation_matrix",
    "share_conv2d",
    "share_conv2d_full",
    "share_linear",
]
