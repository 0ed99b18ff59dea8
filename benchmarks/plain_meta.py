"""The meta step as one writes it without rotfast: a loop over tasks, torch.func.vmap over tasks, and higher.

All take one inner step of gradient descent on everything but the warps, with a learned rate for each tensor,
and leave the gradients of the summed query losses in the parameters and the rates.
"""

from collections.abc import Callable, Mapping
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

Episode = tuple[Tensor, Tensor, Tensor, Tensor]  # x_spt, y_spt, x_qry, y_qry, each (T, N, ...)
Loss = Callable[[Tensor, Tensor], Tensor]


def adapted(net: nn.Module) -> dict[str, Tensor]:
    """The parameters of the inner loop: all but the warps."""
    return {name: p for name, p in net.named_parameters() if not name.endswith("warp")}


def loop_step(net: nn.Module, loss_fn: Loss, rates: Mapping[str, Tensor], episode: Episode) -> None:
    """Each task on its own, by torch.autograd.grad."""
    initial = adapted(net)
    for x_spt, y_spt, x_qry, y_qry in zip(*episode, strict=True):
        support_loss = loss_fn(net(x_spt), y_spt)
        gradients = torch.autograd.grad(support_loss, list(initial.values()), create_graph=True)
        moved = {name: p - rates[name] * g for (name, p), g in zip(initial.items(), gradients, strict=True)}
        loss_fn(functional_call(net, moved, x_qry), y_qry).backward()


def vmap_step(net: nn.Module, loss_fn: Loss, rates: Mapping[str, Tensor], episode: Episode) -> None:
    """All tasks in one batch, by torch.func."""
    vmap_loss(net, loss_fn, rates, episode).backward()


def vmap_loss(net: nn.Module, loss_fn: Loss, rates: Mapping[str, Tensor], episode: Episode) -> Tensor:
    """The summed query losses of all tasks."""
    initial = adapted(net)

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss_fn(functional_call(net, parameters, x), y)

    def query_loss(x_spt: Tensor, y_spt: Tensor, x_qry: Tensor, y_qry: Tensor) -> Tensor:
        gradients = grad(loss)(initial, x_spt, y_spt)
        moved = {name: p - rates[name] * gradients[name] for name, p in initial.items()}
        return loss(moved, x_qry, y_qry)

    total: Tensor = vmap(query_loss)(*episode).sum()
    return total


def inner_sgd(net: nn.Module) -> torch.optim.SGD:
    """What higher makes differentiable: a group for each adapted tensor, for each has a rate of its own."""
    return torch.optim.SGD([{"params": [p]} for p in adapted(net).values()])


def higher_step(
    net: nn.Module,
    loss_fn: Loss,
    rates: Mapping[str, Tensor],
    optimizer: torch.optim.SGD,
    episode: Episode,
) -> None:
    """Each task on its own by higher, as in the code of the study; the optimizer is ``inner_sgd(net)``."""
    innerloop_ctx = import_module("higher").innerloop_ctx
    override = {"lr": [rates[name] for name in adapted(net)]}
    for x_spt, y_spt, x_qry, y_qry in zip(*episode, strict=True):
        with innerloop_ctx(net, optimizer, copy_initial_weights=False, override=override) as (inner, descent):
            descent.step(loss_fn(inner(x_spt), y_spt))
            loss_fn(inner(x_qry), y_qry).backward()
