"""What expand_dense does besides the contract of every operator."""

import pytest
import torch

import rotfast
from rotfast import backend


@pytest.mark.skipif(not backend.kernels_loaded, reason="needs the compiled kernels")
def test_tasks_that_repeat_one_latent_vector():
    U = torch.randn(30_000, 3, dtype=torch.float64, requires_grad=True)
    v = torch.randn(3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 30_000, dtype=torch.float64)

    def gradients(per_task):
        W = rotfast.expand_dense(U, per_task)
        return W, *torch.autograd.grad((W * weights).sum(), (U, per_task))

    for actual, expected in zip(gradients(v.expand(4, 3)), gradients(v.repeat(4, 1)), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
