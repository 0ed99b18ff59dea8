"""W = (A ⊗ B ⊗ C) w in plain PyTorch."""

import torch
from torch import Tensor

from rotfast.reference.precision import own_dtype


def expand_kronecker(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """W[o,i,k] = Σ A[o,p] B[i,q] C[k,l] w[p,q,l]; any argument may carry a leading task dimension."""
    with own_dtype(weight):
        inner = torch.einsum("...kl,...pql->...pqk", C, weight)
        middle = torch.einsum("...iq,...pqk->...pik", B, inner)
        return torch.einsum("...op,...pik->...oik", A, middle)
