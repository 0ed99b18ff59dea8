"""Meta-gradients of the study's models at full size against plain layers in a plain loop over tasks."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

import rotfast
from rotfast.meta import MetaLearner
from rotfast.models import DedicatedCircuits, SingleCircuit, synthetic_model

INNER_LR = 0.1


class PlainConv(nn.Module):
    def __init__(self, layer: rotfast.ShareConv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.A_warp, self.B_warp, self.C_warp = layer.A_warp, layer.B_warp, layer.C_warp

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight.flatten(2)
        W = torch.einsum("op,iq,kl,pql->oik", self.A_warp, self.B_warp, self.C_warp, w)
        return F.conv2d(x, W.view_as(self.weight), self.bias)


class PlainLinear(nn.Module):
    def __init__(self, layer: rotfast.ShareLinearFull) -> None:
        super().__init__()
        self.warp, self.latent_params, self.bias = layer.warp, layer.latent_params, layer.bias
        self.out_features = layer.out_features

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, (self.warp * self.latent_params).sum(-1).view(self.out_features, -1), self.bias)


class PlainDedicated(nn.Module):
    def __init__(self, model: DedicatedCircuits) -> None:
        super().__init__()
        self.circuits = nn.ModuleList(plain(each) for each in model.circuits)
        self.align_layer = PlainLinear(model.align_layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.align_layer(torch.cat([each(x) for each in self.circuits], dim=-1))


def plain(model: nn.Module) -> nn.Module:
    """The same parameters under the same names, in layers that use torch alone."""
    if isinstance(model, DedicatedCircuits):
        return PlainDedicated(model)
    if isinstance(model, rotfast.ShareConv2d):
        return PlainConv(model)
    if isinstance(model, rotfast.ShareLinearFull):
        return PlainLinear(model)
    return nn.Sequential(*map(plain, model)) if isinstance(model, nn.Sequential) else copy.deepcopy(model)


CASES = {
    "share_fc": (lambda: synthetic_model("rank1", "share"), (1, 70), (1, 68)),
    "share_conv": (lambda: synthetic_model("rot8", "share"), (1, 32, 32), (24, 30, 30)),
    "single": (SingleCircuit, (1, 28, 28), None),
    "dedicated": (DedicatedCircuits, (1, 28, 28), None),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_plain_layers_in_a_plain_loop(name: str) -> None:
    make, shape, target = CASES[name]
    net = make().double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    tasks, loss_fn = 3, F.cross_entropy if target is None else F.mse_loss
    x_spt, x_qry = (torch.rand(tasks, n, *shape, dtype=torch.float64) for n in (1, 4))
    if target is None:
        y_spt, y_qry = (torch.randint(10, (tasks, n)) for n in (1, 4))
    else:
        y_spt, y_qry = (torch.randn(tasks, n, *target, dtype=torch.float64) for n in (1, 4))

    learner = MetaLearner(net, loss_fn, inner_lr=INNER_LR)
    learner(x_spt, y_spt, x_qry, y_qry).sum().backward()

    reference = plain(net)
    parameters = {key: p.detach().clone().requires_grad_() for key, p in reference.named_parameters()}
    adapted = [key for key in parameters if "warp" not in key]
    rates = {key: torch.tensor(INNER_LR, dtype=torch.float64, requires_grad=True) for key in adapted}
    for t in range(tasks):
        loss = loss_fn(functional_call(reference, parameters, (x_spt[t],)), y_spt[t])
        gradients = torch.autograd.grad(loss, [parameters[key] for key in adapted], create_graph=True)
        moved = {
            key: parameters[key] - rates[key] * gradient
            for key, gradient in zip(adapted, gradients, strict=True)
        }
        loss_fn(functional_call(reference, {**parameters, **moved}, (x_qry[t],)), y_qry[t]).backward()

    for key, parameter in net.named_parameters():
        expected = parameters[key].grad
        error = (parameter.grad - expected).abs().max() / expected.abs().max()
        assert error < 1e-10, (key, error)
    for key, rate in learner.inner_lrs.items():
        torch.testing.assert_close(rate.grad, rates[key].grad, rtol=1e-9, atol=1e-12)
