"""Inner optimisers: Adam where gradients vanish, fresh state in each episode."""

import pytest
import torch
from torch.nn.functional import mse_loss

from rotfast.meta import MetaLearner
from rotfast.meta.inner import Adam


@pytest.mark.parametrize("steps", [1, 3])
def test_adam_moves_like_torch(steps):
    weight = torch.randn(4, dtype=torch.float64)
    expected = torch.nn.Parameter(weight.clone())
    reference, inner = torch.optim.Adam([expected], lr=0.1), Adam()
    for gradient in torch.randn(steps, 4, dtype=torch.float64):
        expected.grad = gradient
        reference.step()
        weight = weight - 0.1 * inner.directions({"w": gradient})["w"]
    torch.testing.assert_close(weight, expected.data, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_derivative_at_zero_gradient_is_finite_and_exact(dtype):
    gradient = torch.tensor([0.0, 1.0, 1e-30], dtype=dtype, requires_grad=True)
    direction = Adam().directions({"w": gradient})["w"]
    (slope,) = torch.autograd.grad(direction.sum(), gradient)
    # d/dg g / (|g| + eps) = eps / (|g| + eps)^2
    torch.testing.assert_close(slope, torch.tensor([1e8, 1e-8, 1e8], dtype=dtype), rtol=1e-5, atol=1e-6)
    assert direction[0] == 0


def test_adam_second_step_after_a_zero_gradient():
    inner = Adam()
    gradient = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    first = inner.directions({"w": gradient})["w"]
    second = inner.directions({"w": gradient * 3})["w"]
    assert torch.autograd.grad((first + second).sum(), gradient)[0].isfinite().all()


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_dead_units_give_no_nan(inner_steps):
    net = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    with torch.no_grad():
        net[0].bias[:3] = -100
    learner = MetaLearner(net, mse_loss, inner_optimizer="adam", inner_steps=inner_steps)
    x, y = torch.randn(4, 2, 5), torch.randn(4, 2, 3)
    learner(x, y, x, y).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in learner.parameters())
    assert not net[0].weight.grad[:3].any()


def test_state_is_fresh_in_each_episode(make_net, make_episode):
    learner = MetaLearner(make_net("shared"), mse_loss, inner_optimizer="adam", inner_steps=2)
    episode = make_episode()
    assert torch.equal(learner(*episode), learner(*episode))
