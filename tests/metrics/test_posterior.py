"""KL per dimension against torch's own divergence, its gradient and its errors."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from rotfast.metrics import kl_per_dimension


def test_it_is_the_divergence_of_two_gaussians():
    mu, logvar = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).mean(dim=0)
    torch.testing.assert_close(kl_per_dimension(mu, logvar), expected)


def test_the_prior_itself_has_none_and_a_tiny_variance_is_not_lost():
    assert torch.equal(kl_per_dimension(torch.zeros(4, 2), torch.zeros(4, 2)), torch.zeros(2))
    near = kl_per_dimension(torch.zeros(1, 1), torch.full((1, 1), 1e-3))
    torch.testing.assert_close(near, torch.tensor([1e-3**2 / 4]), rtol=1e-3, atol=0)


def test_its_gradient():
    mu, logvar = (torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(kl_per_dimension, (mu, logvar))


def test_what_is_wrong_is_named():
    with pytest.raises(TypeError, match="mu must be a floating-point Tensor, got list"):
        kl_per_dimension([[0.0]], torch.zeros(1, 1))
    with pytest.raises(TypeError, match=r"logvar must be a floating-point Tensor, got torch.int64"):
        kl_per_dimension(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"mu must be \(N, D\) with N of at least 1, got shape \(0, 2\)"):
        kl_per_dimension(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"logvar must have mu's shape \(2, 3\), got \(3,\)"):
        kl_per_dimension(torch.zeros(2, 3), torch.zeros(3))
