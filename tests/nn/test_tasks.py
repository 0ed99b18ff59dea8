"""Nets run for many tasks at once, against one call for each task."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

import rotfast
from rotfast.models import DedicatedCircuits, SingleCircuit
from rotfast.nn import adapted_parameters, call_with_tasks, takes_tasks

TASKS = 3


class OwnSequential(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + 1


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5, bias=False))
    net[2].weight = net[0].weight
    return net


class OwnForward(rotfast.ShareLinearFull):
    def forward(self, x):
        return super().forward(x) + 1


# name: net and shape of one sample
NETS = {
    "linear": (lambda: nn.Linear(5, 3), (5,)),
    "linear-no-bias": (lambda: nn.Linear(5, 3, bias=False), (5,)),
    "linear-deep": (lambda: nn.Linear(5, 3), (2, 4, 5)),
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Sequential(nn.Linear(4, 3))), (5,)),
    "tied": (tied, (5,)),
    "share-linear": (lambda: rotfast.ShareLinearFull(5, 3), (5,)),
    "share-linear-deep": (lambda: rotfast.ShareLinearFull(5, 3, bias=False), (2, 5)),
    "share-conv": (
        lambda: nn.Sequential(rotfast.ShareConv2d(1, 4, 3), nn.ReLU(), nn.Flatten(-3), nn.Linear(80, 3)),
        (1, 6, 7),
    ),
    "share-conv-options": (
        lambda: rotfast.ShareConv2d(4, 6, 3, stride=2, padding=1, groups=2, padding_mode="reflect"),
        (4, 6, 7),
    ),
    "share-conv-sigmoid": (lambda: rotfast.ShareConv2d(2, 3, 3, sigmoid=True), (2, 6, 7)),
    "share-conv-full": (lambda: rotfast.nn.ShareConv2dFull(2, 3, 3, padding="same"), (2, 6, 7)),
    "circuit": (
        lambda: rotfast.ShareCircuit(rotfast.ShareConv2d(1, 4, 3), rotfast.ShareLinearFull(80, 3)),
        (1, 6, 7),
    ),
    "circuit-full": (
        lambda: rotfast.ShareCircuit(rotfast.nn.ShareConv2dFull(1, 4, 3), rotfast.ShareLinearFull(80, 3)),
        (1, 6, 7),
    ),
    "circuit-unfused": (
        lambda: rotfast.ShareCircuit(rotfast.ShareConv2d(2, 4, 3, groups=2), rotfast.ShareLinearFull(80, 3)),
        (2, 6, 7),
    ),
    "single": (lambda: SingleCircuit(3, channels=2, image_size=6), (1, 6, 6)),
    "dedicated": (lambda: DedicatedCircuits(2, 3, channels=2, image_size=6), (1, 6, 6)),
}


def scattered(make) -> nn.Module:
    net = make().double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net


@pytest.mark.parametrize("batch", [(), (1,), (4,)], ids=["alone", "one", "four"])
@pytest.mark.parametrize("name", NETS)
def test_equals_a_call_for_each_task(name, batch):
    make, shape = NETS[name]
    net = scattered(make)
    assert takes_tasks(net)
    per_task = {
        key: value + 0.3 * torch.randn(TASKS, *value.shape, dtype=value.dtype)
        for key, value in adapted_parameters(net).items()
    }
    x = torch.randn(TASKS, *batch, *shape, dtype=torch.float64)
    expected = torch.stack(
        [functional_call(net, {k: v[t] for k, v in per_task.items()}, (x[t],)) for t in range(TASKS)]
    )
    torch.testing.assert_close(call_with_tasks(net, per_task, x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dims", [(0, -1), (1, 2), (-2, -1), (0, 1)])
def test_flatten_counts_dimensions_of_one_task(dims):
    x = torch.randn(TASKS, 4, 2, 3)
    net = nn.Flatten(*dims)
    expected = torch.stack([net(each) for each in x])
    torch.testing.assert_close(call_with_tasks(net, {}, x), expected, rtol=0, atol=0)


def test_some_parameters_per_task():
    net = scattered(NETS["mlp"][0])
    bias, x = torch.randn(TASKS, 3, dtype=torch.float64), torch.randn(TASKS, 4, 5, dtype=torch.float64)
    expected = torch.stack([functional_call(net, {"2.0.bias": bias[t]}, (x[t],)) for t in range(TASKS)])
    torch.testing.assert_close(call_with_tasks(net, {"2.0.bias": bias}, x), expected)


def patched() -> nn.Module:
    net = nn.Linear(2, 2)
    net.forward = lambda x: x
    return net


def hooked() -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_hook(lambda *_: None)
    return net


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.BatchNorm2d(3),
        lambda: nn.Sequential(nn.Linear(2, 2), nn.Dropout()),
        lambda: nn.Conv2d(1, 2, 3),
        lambda: OwnForward(5, 3),
        lambda: rotfast.ShareLinear(5, 3),
        lambda: DedicatedCircuits(2, 3, channels=2, image_size=6, routed=True),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
        OwnSequential,
        patched,
        hooked,
    ],
)
def test_nets_that_do_not_take_tasks(make):
    assert not takes_tasks(make())


def test_a_layer_of_ones_own():
    class Scale(nn.Module):
        batch_ndim = 0

        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return x * self.factor.view(-1, *[1] * (x.dim() - 1))

    net = nn.Sequential(Scale(), nn.ReLU())
    assert takes_tasks(net)
    y = call_with_tasks(net, {"0.factor": torch.tensor([1.0, 2.0])}, torch.ones(2, 3))
    torch.testing.assert_close(y, torch.tensor([[1.0] * 3, [2.0] * 3]))


@pytest.mark.parametrize("x", [torch.randn(TASKS, 4, 5), torch.randn(TASKS, 4, 6)], ids=["right", "wrong"])
def test_the_net_keeps_its_parameters(x):
    net = rotfast.ShareLinearFull(5, 3)
    before = dict(net.named_parameters())
    latent = torch.randn(TASKS, 3)
    if x.shape[-1] == 5:
        call_with_tasks(net, {"latent_params": latent}, x)
    else:
        with pytest.raises(ValueError, match="x must be"):
            call_with_tasks(net, {"latent_params": latent}, x)
    assert all(parameter is before[name] for name, parameter in net.named_parameters())


@pytest.mark.parametrize("name", ["mlp", "linear-deep", "share-linear", "share-conv", "circuit", "dedicated"])
def test_autocast_gives_the_dtype_of_a_call_for_one_task(name):
    make, shape = NETS[name]
    net, x = make(), torch.randn(5, 1, *shape)
    per_task = {key: p.expand(5, *p.shape) for key, p in adapted_parameters(net).items()}
    with torch.autocast("cpu", torch.bfloat16):
        expected, actual = net(x[0]), call_with_tasks(net, per_task, x)
    assert actual.dtype == expected.dtype
    torch.testing.assert_close(actual[0].float(), expected.float(), rtol=0.05, atol=0.05)
