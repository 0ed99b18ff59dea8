"""W = U v in plain PyTorch."""

from torch import Tensor

from rotfast.reference.precision import own_dtype


def expand_dense(U: Tensor, v: Tensor) -> Tensor:
    """W[m] = Σ U[m,l] v[l]; either argument may carry a leading task dimension."""
    with own_dtype(U):
        return (U @ v.unsqueeze(-1)).squeeze(-1)
