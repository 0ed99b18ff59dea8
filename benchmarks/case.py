"""One comparison: the same computation by rotfast, by plain PyTorch, by hand, and by other libraries."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from benchmarks.work import Work

Call = Callable[[], Sequence[Tensor]]  # or of arrays that torch.from_dlpack takes

ROTFAST, PLAIN = "rotfast", "plain"
COMPILED = ("compiled plain", "compiled by hand")
PEERS = ("kornia", "OpenCV", "higher", "jax")
FLOORS = ("copy", "expanded copy")  # what moving the data costs: they compute nothing
ONE_THREAD = "one thread"  # rotfast again, where the others run on two
TOLERANCE = 1e-10
_ASCII = str.maketrans({"→": "-", "×": "x", " ": None})  # ids that a terminal shows as they are


@dataclass(frozen=True)
class Case:
    """What is computed, on which shape, and by whom.

    Attributes:
        suite: the table it belongs to, as "ShareConv2d, forward".
        shape: its row there.
        names: the contestants, "rotfast" and "plain" first; those not named above are written by hand.
        build: dtype -> contestant -> call that returns everything computed, outputs and gradients.
        smoke: whether it belongs to the quick run.
        tolerances: of contestants that cannot agree with plain to ``TOLERANCE``.
        work: the least that has to be done, computed from the shapes; None where nobody asks.
    """

    suite: str
    shape: str
    names: tuple[str, ...]
    build: Callable[[torch.dtype], Mapping[str, Call]]
    smoke: bool = False
    tolerances: Mapping[str, float] = field(default_factory=dict, compare=False)
    work: Callable[[], Work] | None = None

    def __str__(self) -> str:
        return f"{self.suite}: {self.shape}"

    def calls(
        self, dtype: torch.dtype, names: Iterable[str] | None = None, device: str = "cpu"
    ) -> dict[str, Call]:
        """All contestants, or the named ones, on freshly drawn data, the same for all of them."""
        torch.manual_seed(0)
        with torch.device(device):
            calls = self.build(dtype)
        assert tuple(calls) == self.names
        return {name: calls[name] for name in (names or self.names)}

    def check(self, names: Iterable[str] | None = None, device: str = "cpu") -> dict[str, float]:
        """Refuse a comparison of different things: in float64 all agree with plain, relatively.

        Returns:
            The largest difference of each contestant.
        """
        calls = self.calls(torch.float64, names, device)
        expected = [_tensor(result).clone() for result in calls[PLAIN]()]
        errors = {}
        for name, call in calls.items():
            if name in FLOORS:
                continue
            actual = list(map(_tensor, call()))
            assert len(actual) == len(expected), f"{self}: {name} computes another number of tensors"
            errors[name] = 0.0
            for position, (a, e) in enumerate(zip(actual, expected, strict=True)):
                assert a.shape == e.shape, f"{self}: result {position} of {name} has shape {tuple(a.shape)}"
                error = float((a - e).abs().max() / e.abs().max())
                assert error <= self.tolerances.get(name, TOLERANCE), (
                    f"{self}: result {position} of {name} is off by {error:.1e}"
                )
                errors[name] = max(errors[name], error)
        return errors


def _tensor(result: Tensor) -> Tensor:
    return result.detach() if isinstance(result, Tensor) else torch.from_dlpack(result)


def parametrize(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """One test for each contestant of each case, the contestants of a case in a row.

    Compiling takes seconds, so the quick run leaves it out.
    """
    return pytest.mark.parametrize(
        ("case", "contestant"),
        [
            pytest.param(
                case,
                name,
                id=f"{case.shape}-{name}".translate(_ASCII),
                marks=[pytest.mark.smoke] if case.smoke and name not in COMPILED else [],
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
    generator = torch.Generator(y.device).manual_seed(1)
    cotangent = torch.randn(y.shape, dtype=y.dtype, device=y.device, generator=generator)

    def forward_and_backward() -> list[Tensor]:
        y = run()
        return [y, *torch.autograd.grad(y, inputs, cotangent)]

    return forward_and_backward


def on_two_threads(case: Case, suite: str) -> Case:
    """The contestants that run in torch's threads, on two of them, and rotfast on one besides."""
    names = tuple(name for name in case.names if name not in (*COMPILED, *PEERS, *FLOORS))

    def build(dtype: torch.dtype) -> dict[str, Call]:
        calls = case.build(dtype)
        return {
            **{name: partial(_on_threads, 2, calls[name]) for name in names},
            ONE_THREAD: partial(_on_threads, 1, calls[ROTFAST]),
        }

    what = case.suite.partition(", ")[2] or case.suite
    return replace(
        case,
        suite=suite,
        shape=f"{what}, {case.shape}",
        names=(*names, ONE_THREAD),
        build=build,
        tolerances={**case.tolerances, ONE_THREAD: case.tolerances.get(ROTFAST, TOLERANCE)},
    )


def _on_threads(count: int, call: Call) -> Sequence[Tensor]:
    torch.set_num_threads(count)
    try:
        return call()
    finally:
        torch.set_num_threads(1)


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
