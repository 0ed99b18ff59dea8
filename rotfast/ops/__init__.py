from rotfast.reference import expand_dense, expand_kronecker, share_conv2d, share_conv2d_full, share_linear

__all__ = ["expand_dense", "expand_kronecker", "share_conv2d", "share_conv2d_full", "share_linear"]
