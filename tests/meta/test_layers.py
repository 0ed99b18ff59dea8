"""Meta-gradients of rotfast's own layers, which bring their own derivatives and batching rules."""

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import rotfast.nn
from rotfast.meta import MetaLearner

# name: net and shape of one sample; every net answers with 3 numbers
NETS = {
    "share_linear_full": (lambda: rotfast.nn.ShareLinearFull(5, 3), (5,)),
    "share_linear": (lambda: rotfast.nn.ShareLinear(5, 3), (5,)),
    "share_linear_sigmoid": (lambda: rotfast.nn.ShareLinear(5, 3, sigmoid=True), (5,)),
    "share_conv": (
        lambda: nn.Sequential(
            rotfast.nn.ShareConv2d(2, 3, 3, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(60, 3)
        ),
        (2, 6, 7),
    ),
    "share_conv_options": (
        lambda: nn.Sequential(
            rotfast.nn.ShareConv2d(
                2, 4, 3, stride=2, padding=1, groups=2, padding_mode="circular", sigmoid=True
            ),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(48, 3),
        ),
        (2, 6, 7),
    ),
    "share_conv_full": (
        lambda: nn.Sequential(
            rotfast.nn.ShareConv2dFull(1, 2, 3, padding="same"), nn.Tanh(), nn.Flatten(), nn.Linear(84, 3)
        ),
        (1, 6, 7),
    ),
    "single_circuit": (
        lambda: nn.Sequential(
            rotfast.nn.ShareConv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), rotfast.nn.ShareLinearFull(80, 3)
        ),
        (1, 6, 7),
    ),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(
    "options",
    [{}, {"inner_steps": 3}, {"inner_optimizer": "adam", "lr_mode": "per_param"}, {"task_chunk": 2}],
    ids=["one-step", "three-steps", "adam-per-param", "chunked"],
)
def test_equals_plain_loop(name, options, plain_losses, meta_gradients, assert_same):
    make_net, shape = NETS[name]
    net = make_net().double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    learner = MetaLearner(net, mse_loss, **{"inner_lr": 0.05, **options})
    num_tasks = 4
    x_spt, x_qry = (torch.randn(num_tasks, n, *shape, dtype=torch.float64) for n in (1, 5))
    y_spt, y_qry = (torch.randn(num_tasks, n, 3, dtype=torch.float64) for n in (1, 5))
    losses, expected = learner(x_spt, y_spt, x_qry, y_qry), plain_losses(learner, x_spt, y_spt, x_qry, y_qry)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    actual = meta_gradients(learner, losses)
    assert rotfast.nn.symmetry_parameters(net).keys() <= {name.removeprefix("net.") for name in actual}
    assert_same(actual, meta_gradients(learner, expected))
