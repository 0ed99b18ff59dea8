"""Two ways to run all tasks at once: layers that know a task dimension, or torch.func.vmap over any net."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._pytree import tree_leaves

from rotfast.meta.losses import Loss, per_task, scalar
from rotfast.nn import call_with_tasks, takes_tasks

Tensors: TypeAlias = Tensor | tuple[Tensor, ...]
Parameters: TypeAlias = dict[str, Tensor]


class Batching(Protocol):
    """What an episode is made of. Where it runs under vmap, tensors here are those of one task."""

    def run(self, episode: Callable[..., Any], *inputs: Tensors) -> Any:
        """Run the episode for all tasks and return its tensors with the tasks in front."""
        ...

    def initial(self, parameters: Mapping[str, Tensor], x: Tensors) -> Parameters:
        """The parameters that every task starts from, x being its support inputs."""
        ...

    def output(self, parameters: Parameters, x: Tensors) -> Any:
        """What the net answers."""
        ...

    def loss(self, output: Any, y: Tensors) -> Tensor:
        """The loss of that answer."""
        ...

    def gradients(self, parameters: Parameters, x: Tensors, y: Tensors, first_order: bool) -> Parameters:
        """The gradients of that loss, themselves differentiable unless first_order."""
        ...


def choose(net: nn.Module, loss_fn: Loss, inputs: tuple[Tensors, ...]) -> Batching:
    """The quicker way that serves this net and these inputs."""
    if _transforms_are_active() or isinstance(inputs[0], tuple) or not takes_tasks(net):
        return Vmapped(net, loss_fn)
    if torch.is_inference_mode_enabled() or any(x.is_inference() for x in tree_leaves(inputs)):
        return Vmapped(net, loss_fn)
    return TaskDimension(net, loss_fn)


def _transforms_are_active() -> bool:
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch.compiler.is_compiling()
    )


class Vmapped:
    """One task as the user sees it, under torch.func.vmap. The first support pass is one batch."""

    def __init__(self, net: nn.Module, loss_fn: Loss) -> None:
        self.net, self.loss_fn = net, loss_fn

    def run(self, episode: Callable[..., Any], *inputs: Tensors) -> Any:
        """Map the episode over tasks."""
        return torch.func.vmap(episode, randomness="different")(*inputs)

    def initial(self, parameters: Mapping[str, Tensor], x: Tensors) -> Parameters:
        """The net's own parameters."""
        return dict(parameters)

    def output(self, parameters: Parameters, x: Tensors) -> Any:
        """Call the net with these parameters."""
        return torch.func.functional_call(self.net, parameters, x)

    def loss(self, output: Any, y: Tensors) -> Tensor:
        """Call the loss function of the user."""
        return scalar(self.loss_fn(output, y))

    def gradients(self, parameters: Parameters, x: Tensors, y: Tensors, first_order: bool) -> Parameters:
        """By torch.func.grad."""

        def loss(parameters: Parameters) -> Tensor:
            return self.loss(self.output(parameters, x), y)

        # Inside func.grad the graph of the inner gradient is kept all the same: no_grad only hides it from
        # the outer loop.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not first_order):
            gradients: Parameters = torch.func.grad(loss)(parameters)
        return gradients


class TaskDimension:
    """All tasks in a leading dimension, differentiated by autograd itself."""

    def __init__(self, net: nn.Module, loss_fn: Loss) -> None:
        self.net, self.loss_fn = net, loss_fn

    def run(self, episode: Callable[..., Any], *inputs: Tensors) -> Any:
        """Run the episode once."""
        return episode(*inputs)

    def initial(self, parameters: Mapping[str, Tensor], x: Tensors) -> Parameters:
        """Views, which the operators know for weights that all tasks share."""
        assert isinstance(x, Tensor)
        return {name: value.expand(x.shape[0], *value.shape) for name, value in parameters.items()}

    def output(self, parameters: Parameters, x: Tensors) -> Any:
        """Call the net once for all tasks."""
        assert isinstance(x, Tensor)
        return call_with_tasks(self.net, parameters, x)

    def loss(self, output: Any, y: Tensors) -> Tensor:
        """One loss for each task."""
        return per_task(self.loss_fn, output, y)

    def gradients(self, parameters: Parameters, x: Tensors, y: Tensors, first_order: bool) -> Parameters:
        """By torch.autograd.grad."""
        create_graph = torch.is_grad_enabled() and not first_order
        leaves = {
            name: value if create_graph and value.requires_grad else value.detach().requires_grad_()
            for name, value in parameters.items()
        }
        constants = {} if create_graph else {n: p.detach() for n, p in self.net.named_parameters()}
        with torch.enable_grad():
            losses = self.loss(self.output(constants | leaves, x), y)
            gradients = torch.autograd.grad(
                losses.sum(), list(leaves.values()), create_graph=create_graph, materialize_grads=True
            )
        return dict(zip(leaves, gradients, strict=True))
