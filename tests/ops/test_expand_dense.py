"""What expand_dense does besides the contract of every operator."""

import sys

import pytest
import torch

import rotfast
from rotfast import backend

expand_dense = sys.modules["rotfast.ops.expand_dense"]  # the package has a function of this name


@pytest.mark.skipif(backend.why_not_compiled() is not None, reason="needs the compiled kernels")
def test_tasks_that_repeat_one_latent_vector():
    U = torch.randn(30_000, 3, dtype=torch.float64, requires_grad=True)
    v = torch.randn(3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 30_000, dtype=torch.float64)

    def gradients(per_task):
        W = rotfast.expand_dense(U, per_task)
        return W, *torch.autograd.grad((W * weights).sum(), (U, per_task))

    for actual, expected in zip(gradients(v.expand(4, 3)), gradients(v.repeat(4, 1)), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(backend.why_not_compiled() is not None, reason="needs the compiled kernels")
def test_gradients_nobody_asks_for_are_not_computed(monkeypatch):
    U = torch.randn(30_000, 3, requires_grad=True)
    v = torch.randn(3, requires_grad=True)
    W = rotfast.expand_dense(U, v)

    def taken(ask):
        calls = []
        for name in ("latent_grad", "sharing_grad"):
            original = getattr(expand_dense, name)
            monkeypatch.setattr(
                expand_dense, name, lambda *a, _f=original, _n=name, **k: calls.append(_n) or _f(*a, **k)
            )
        ask()
        monkeypatch.undo()
        return sorted(calls)

    assert taken(lambda: torch.autograd.grad(W.sum(), v, create_graph=True)) == ["latent_grad"]
    assert taken(lambda: torch.autograd.grad(W.sum(), U, create_graph=True)) == ["sharing_grad"]
    assert taken(lambda: torch.autograd.grad(W.sum(), (U, v), create_graph=True)) == [
        "latent_grad",
        "sharing_grad",
    ]
    assert taken(lambda: W.sum().backward(retain_graph=True)) == ["latent_grad", "sharing_grad"]
