"""Which parameters of a model are symmetry parameters (outer loop only) and which adapt to each task."""

from torch import nn
from torch.nn.utils import parametrize

__all__ = ["adapted_parameters", "symmetry_parameters"]


def _declared(module: nn.Module, name: str) -> list[nn.Parameter]:
    """The parameters behind one declared name: none for an option not in use, several when parametrized."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if parametrize.is_parametrized(owner, leaf):
        parametrizations = owner.get_submodule(f"parametrizations.{leaf}")
        return list(parametrizations.parameters())
    if leaf not in owner._parameters:
        raise AttributeError
    parameter = owner._parameters[leaf]
    return [] if parameter is None else [parameter]


def symmetry_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that encode a model's symmetries: learned by the outer loop, never adapted to a task.

    A layer declares its own by a class attribute ``symmetry_parameter_names``, a tuple of names relative to
    the layer (dotted for a submodule's, as ``"U_warp.weight"``). rotfast's layers do; your own modules may. A
    declared name may be registered as None (an option not in use), and a parametrized one stands for the
    parameters that generate it.

    Args:
        module: any module; its submodules are searched too.

    Returns:
        Qualified name to parameter, in the order of ``module.named_parameters()``; frozen ones are included.

    Raises:
        TypeError: module is no ``nn.Module``, or a declaration is no tuple of names.
        ValueError: a layer declares a name that it does not have.

    Source: Zhou, Knowles, Finn 2020 (arXiv 2007.02933), algorithm 1: U is learned by the outer loop, v by the
    inner.

    Example:
        >>> import torch, rotfast
        >>> from torch import nn
        >>> class Warped(nn.Module):
        ...     symmetry_parameter_names = ("warp",)
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.warp, self.bias = nn.Parameter(torch.eye(2)), nn.Parameter(torch.zeros(2))
        >>> sorted(rotfast.nn.symmetry_parameters(nn.Sequential(Warped())))
        ['0.warp']
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be an nn.Module, got {type(module).__name__}")
    symmetry: set[int] = set()
    for path, submodule in module.named_modules():
        names: object = getattr(submodule, "symmetry_parameter_names", ())
        where = f"{type(submodule).__name__} at {path!r}"
        if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"symmetry_parameter_names of {where} must be a tuple of names, got {names!r}")
        for name in names:
            try:
                symmetry.update(map(id, _declared(submodule, name)))
            except AttributeError:
                raise ValueError(
                    f"symmetry_parameter_names of {where} must name its parameters, got {name!r}"
                ) from None
    return {name: parameter for name, parameter in module.named_parameters() if id(parameter) in symmetry}


def adapted_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that the inner loop adapts to each task: all others that require a gradient.

    Args:
        module: any module.

    Returns:
        Qualified name to parameter, in the order of ``module.named_parameters()``.

    Raises:
        TypeError, ValueError: as ``symmetry_parameters``.

    Example:
        >>> import rotfast
        >>> from torch import nn
        >>> list(rotfast.nn.adapted_parameters(nn.Linear(2, 3)))
        ['weight', 'bias']
    """
    symmetry = symmetry_parameters(module)
    return {n: p for n, p in module.named_parameters() if n not in symmetry and p.requires_grad}
