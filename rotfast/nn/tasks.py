"""Run a net for many tasks at once, each with parameters of its own, without a torch.func transform."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn

from rotfast.nn.share_circuit import hooked

__all__ = ["call_with_tasks", "takes_tasks"]


def takes_tasks(module: nn.Module) -> bool:
    """Whether `call_with_tasks` can run this module: it is made of layers that know a task dimension.

    A layer says so by an attribute ``batch_ndim`` of its own class (a subclass says it anew): the dimensions
    of a batch of its inputs, as 4 for images (N, C, H, W), or 0 for any; None takes it back. Its forward then
    also takes an input with the tasks in front, (T, N, …), together with parameters of which any may have
    them. rotfast's sharing layers do, and of torch's ``Sequential``, ``Linear``, ``Flatten`` and the
    activations without parameters. A net with forward hooks does not, for they would see all tasks together.

    Args:
        module: any module.

    Example:
        >>> import rotfast
        >>> from torch import nn
        >>> takes_tasks(nn.Sequential(rotfast.ShareLinearFull(5, 4), nn.ReLU(), nn.Linear(4, 2)))
        True
        >>> takes_tasks(nn.BatchNorm2d(3))
        False
    """
    return not hooked(module) and _takes_tasks(module)


def call_with_tasks(module: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Call the module once for all tasks.

    Args:
        module: one for which `takes_tasks` holds.
        parameters: qualified name to values (T, *shape); the other parameters are those of the module.
        x: inputs (T, N, …).

    Returns:
        Outputs (T, N, …).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        >>> weights = torch.stack([torch.zeros(2, 3), net[0].weight.detach()])
        >>> x = torch.randn(5, 3)
        >>> y = call_with_tasks(net, {"0.weight": weights}, x.expand(2, 5, 3))
        >>> torch.equal(y[0], net[0].bias.relu().expand(5, 2)), torch.allclose(y[1], net(x))
        (True, True)
    """
    # By identity and not by name, for a tied parameter has several names.
    per_task = {id(module.get_parameter(name)): value for name, value in parameters.items()}
    return _call(module, per_task, x)


def _takes_tasks(module: nn.Module) -> bool:
    if "forward" in vars(module):
        return False
    if type(module) is nn.Sequential:
        return all(map(_takes_tasks, module))
    return type(module) in _TORCH or _batch_ndim(module) is not None


def _batch_ndim(module: nn.Module) -> int | None:
    if "batch_ndim" not in vars(type(module)):
        return None
    return cast("int | None", module.batch_ndim)


def _call(module: nn.Module, per_task: Mapping[int, Tensor], x: Tensor) -> Tensor:
    if type(module) is nn.Sequential:
        for child in module:
            x = _call(child, per_task, x)
        return x
    if (forward := _TORCH.get(type(module))) is not None:
        named = module.named_parameters(remove_duplicate=False)
        return forward(module, {name: per_task.get(id(p), p) for name, p in named}, x)
    # A sample without a batch dimension would pass for a batch of which each task is a sample.
    alone = x.dim() == _batch_ndim(module)
    with _replaced(module, per_task):
        y: Tensor = module(x.unsqueeze(1) if alone else x)
    return y.squeeze(1) if alone else y


@contextmanager
def _replaced(module: nn.Module, per_task: Mapping[int, Tensor]) -> Iterator[None]:
    """torch.func.functional_call takes 60 µs to do this, as long as a small layer."""
    places = [
        (owner._parameters, name, parameter)
        for owner in module.modules()
        for name, parameter in owner._parameters.items()
        if id(parameter) in per_task
    ]
    try:
        for parameters, name, parameter in places:
            parameters[name] = per_task[id(parameter)]  # type: ignore[assignment]
        yield
    finally:
        for parameters, name, parameter in places:
            parameters[name] = parameter


def _elementwise(module: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    y: Tensor = module(x)
    return y


def _flatten(module: nn.Flatten, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    first, last = (dim + 1 if dim >= 0 else dim for dim in (module.start_dim, module.end_dim))
    return x.flatten(first, last)


def _linear(module: nn.Linear, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    weight, bias = parameters["weight"], parameters.get("bias")
    if weight.dim() == 2:
        y = x @ weight.mT
    else:
        y = (x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)) @ weight.mT
        y = y.view(*x.shape[:-1], -1)
    if bias is None:
        return y
    bias = bias.to(y.dtype)  # under autocast, as in F.linear
    return y + (bias if bias.dim() == 1 else bias.view(bias.shape[0], *[1] * (y.dim() - 2), -1))


_ACTIVATIONS = (
    *(nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
)
_TORCH: dict[type[nn.Module], Callable[[Any, Mapping[str, Tensor], Tensor], Tensor]] = {
    **dict.fromkeys(_ACTIVATIONS, _elementwise),
    nn.Flatten: _flatten,
    nn.Linear: _linear,
}
