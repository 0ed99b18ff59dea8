"""A training step of the single circuit: forward, cross-entropy, gradients of all parameters."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import jax_circuits
from benchmarks.case import PLAIN, ROTFAST, Call, Case, parametrize, scatter
from benchmarks.peers import JAX, installed
from benchmarks.plain import plain_single_circuit
from rotfast.models import SingleCircuit

# Of JAX the quicker convolution for so many images.
BATCHES = {20: jax_circuits.conv, 95: jax_circuits.conv_of_patches, 1024: jax_circuits.conv_of_patches}
NETS: dict[str, Callable[[], nn.Module]] = {ROTFAST: SingleCircuit, PLAIN: plain_single_circuit}


def build(batch: int, dtype: torch.dtype) -> dict[str, Call]:
    nets = {name: net().to(dtype) for name, net in NETS.items()}
    scatter(nets[PLAIN])
    x, y = torch.rand(batch, 1, 28, 28, dtype=dtype), torch.randint(10, (batch,))
    calls: dict[str, Call] = {}
    for name, net in nets.items():
        net.load_state_dict(nets[PLAIN].state_dict())
        calls[name] = partial(training_step, net, x, y)
    if installed(JAX):
        jax_net = partial(jax_circuits.single_circuit, BATCHES[batch])
        calls[JAX] = jax_circuits.training_step(jax_net, jax_circuits.cross_entropy, nets[PLAIN], x, y)
    return calls


def training_step(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    loss = F.cross_entropy(net(x), y)
    parameters = dict(net.named_parameters())
    return [loss, *torch.autograd.grad(loss, [parameters[name] for name in sorted(parameters)])]


CASES = [
    Case(
        suite="Single circuit, training step",
        shape=f"N={batch}",
        names=(*NETS, *installed(JAX)),
        build=partial(build, batch),
        smoke=batch == min(BATCHES),
    )
    for batch in BATCHES
]


@parametrize(CASES)
def test_training_step(case, contestant, compare):
    compare(case, contestant)
