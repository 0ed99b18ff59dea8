"""One comparison: the same computation by rotfast, by plain PyTorch, and by PyTorch tuned by hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn

Call = Callable[[], Sequence[Tensor]]

ROTFAST, PLAIN = "rotfast", "plain"
_TOLERANCE = 1e-10
_ASCII = str.maketrans({"→": "-", "×": "x", " ": None})  # ids that a terminal shows as they are


@dataclass(frozen=True)
class Case:
    """What is computed, on which shape, and by whom.

    Attributes:
        suite: the table it belongs to, as "ShareConv2d, forward".
        shape: its row there.
        names: the contestants; the first two are "rotfast" and "plain", the others are written by hand.
        build: dtype -> contestant -> call that returns everything computed, outputs and gradients.
        smoke: whether it belongs to the quick run.
    """

    suite: str
    shape: str
    names: tuple[str, ...]
    build: Callable[[torch.dtype], Mapping[str, Call]]
    smoke: bool = False

    def __str__(self) -> str:
        return f"{self.suite}: {self.shape}"

    def calls(self, dtype: torch.dtype) -> dict[str, Call]:
        """The contestants on freshly drawn data, the same for all of them."""
        torch.manual_seed(0)
        calls = dict(self.build(dtype))
        assert tuple(calls) == self.names
        return calls

    def check(self) -> None:
        """Refuse a comparison of different things: in float64 all results agree to 1e-10, relatively."""
        calls = self.calls(torch.float64)
        expected = [tensor.detach().clone() for tensor in calls[PLAIN]()]
        for name, call in calls.items():
            actual = call()
            assert len(actual) == len(expected), f"{self}: {name} computes another number of tensors"
            for position, (a, e) in enumerate(zip(actual, expected, strict=True)):
                error = (a.detach() - e).abs().max() / e.abs().max()
                assert a.shape == e.shape, f"{self}: result {position} of {name} has shape {tuple(a.shape)}"
                assert error <= _TOLERANCE, f"{self}: result {position} of {name} is off by {error:.1e}"


def parametrize(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """One test for each contestant of each case, the contestants of a case in a row."""
    return pytest.mark.parametrize(
        ("case", "contestant"),
        [
            pytest.param(
                case,
                name,
                id=f"{case.shape}-{name}".translate(_ASCII),
                marks=[pytest.mark.smoke] if case.smoke else [],
            )
            for case in cases
            for name in case.names
        ],
    )


def differentiable(run: Callable[[], Tensor], inputs: Sequence[Tensor], backward: bool) -> Call:
    """Forward alone, as in inference, or forward and the gradients of ⟨run(), fixed random tensor⟩."""
    if not backward:

        def forward() -> list[Tensor]:
            with torch.no_grad():
                return [run()]

        return forward

    with torch.no_grad():
        y = run()
    cotangent = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))

    def forward_and_backward() -> list[Tensor]:
        y = run()
        return [y, *torch.autograd.grad(y, inputs, cotangent)]

    return forward_and_backward


def layer_calls(layers: Mapping[str, nn.Module], x: Tensor, backward: bool) -> dict[str, Call]:
    """The layers applied to x, all with the parameters of the first; x gets a gradient if it asks for one."""
    first = next(iter(layers.values()))
    scatter(first)
    calls = {}
    for name, layer in layers.items():
        layer.to(x.dtype).load_state_dict(first.state_dict())
        parameters = dict(layer.named_parameters())
        inputs = [parameters[key] for key in sorted(parameters)] + ([x] if x.requires_grad else [])
        calls[name] = differentiable(partial(layer, x), inputs, backward)
    return calls


def scatter(module: nn.Module) -> None:
    """Move all parameters off their initial values: identities hide which factor was applied."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
