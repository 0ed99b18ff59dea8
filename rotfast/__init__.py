"""rotfast: learned weight sharing and rotated images for PyTorch."""

from rotfast.functional import expand_dense, expand_kronecker, share_conv2d, share_conv2d_full, share_linear

__version__ = "0.1.0"

__all__ = ["expand_dense", "expand_kronecker", "share_conv2d", "share_conv2d_full", "share_linear"]
