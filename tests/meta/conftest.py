"""Nets with known symmetry parameters, random episodes, and the plain loop over tasks as the judge."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import linear, mse_loss

from rotfast.meta import MetaLearner
from rotfast.nn import adapted_parameters

Episode = tuple[Tensor, Tensor, Tensor, Tensor]


class SharedLinear(nn.Module):
    """W = (warp @ latent).view(out, in): warp belongs to the outer loop."""

    symmetry_parameter_names = ("warp",)

    def __init__(self, in_features: int = 5, out_features: int = 3, latent_size: int = 2) -> None:
        super().__init__()
        self.shape = (out_features, in_features)
        self.warp = nn.Parameter(torch.randn(in_features * out_features, latent_size))
        self.latent = nn.Parameter(torch.randn(latent_size))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, (self.warp @ self.latent).view(self.shape), self.bias)


class WarpedConv(nn.Conv2d):
    """Convolution whose output channels are mixed by a warp."""

    symmetry_parameter_names = ("A_warp",)

    def __init__(self) -> None:
        super().__init__(1, 4, 3)
        self.A_warp = nn.Parameter(torch.eye(4) + 0.1 * torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, torch.einsum("op,pikl->oikl", self.A_warp, self.weight), self.bias)


class Tied(nn.Module):
    """The same matrix used twice, known under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.first(x).tanh()).tanh())


class Gated(nn.Module):
    """Takes two inputs: features and the index of the gate that each sample goes through."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Parameter(torch.randn(4, 5))
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return self.head((x * self.gates[gate]).tanh())


def _frozen() -> nn.Module:
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    net[0].requires_grad_(False)
    return net


def _shared_with_norm() -> nn.Module:
    return nn.Sequential(SharedLinear(5, 8), nn.Tanh(), nn.GroupNorm(2, 8), SharedLinear(8, 3))


NETS: dict[str, Callable[[], nn.Module]] = {
    "shared": SharedLinear,
    "shared-norm": _shared_with_norm,
    "mlp": lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)),
    "conv": lambda: nn.Sequential(WarpedConv(), nn.Tanh(), nn.Flatten(), SharedLinear(4 * 4 * 5, 3)),
    "tied": Tied,
    "frozen": _frozen,
}


@pytest.fixture
def make_net() -> Callable[[str], nn.Module]:
    """Net of a kind in float64: (N, 5) -> (N, 3), for "conv" (N, 1, 6, 7) -> (N, 3)."""
    return lambda kind: NETS[kind]().double()


@pytest.fixture
def gated_net() -> nn.Module:
    return Gated().double()


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    def make(num_tasks: int = 5, kind: str = "shared", dtype: torch.dtype = torch.float64) -> Episode:
        shape = (1, 6, 7) if kind == "conv" else (5,)
        return (
            torch.randn(num_tasks, 2, *shape, dtype=dtype),
            torch.randn(num_tasks, 2, 3, dtype=dtype),
            torch.randn(num_tasks, 4, *shape, dtype=dtype),
            torch.randn(num_tasks, 4, 3, dtype=dtype),
        )

    return make


def _pick(x: Tensor | tuple[Tensor, ...], task: int) -> Tensor | tuple[Tensor, ...]:
    return tuple(part[task] for part in x) if isinstance(x, tuple) else x[task]


def _adapt(learner: MetaLearner, x: Tensor | tuple[Tensor, ...], y: Tensor) -> dict[str, Tensor]:
    parameters: dict[str, Tensor] = dict(adapted_parameters(learner.net))
    mean = dict.fromkeys(parameters, 0.0)
    square = dict.fromkeys(parameters, 0.0)
    for step in range(1, learner.inner_steps + 1):
        loss = mse_loss(functional_call(learner.net, parameters, x), y)
        gradients = torch.autograd.grad(
            loss, list(parameters.values()), create_graph=not learner.first_order, materialize_grads=True
        )
        moved = {}
        for (name, value), gradient in zip(parameters.items(), gradients, strict=True):
            direction = gradient
            if learner.inner_optimizer == "adam":
                mean[name] = 0.9 * mean[name] + 0.1 * gradient
                square[name] = 0.999 * square[name] + 0.001 * gradient**2
                direction = (mean[name] / (1 - 0.9**step)) / (
                    (square[name] / (1 - 0.999**step)).sqrt() + 1e-8
                )
            moved[name] = value - learner.inner_lrs[name] * direction
        parameters = moved
    return parameters


@pytest.fixture
def plain_adapt() -> Callable[..., list[dict[str, Tensor]]]:
    """Adapted parameters of each task, one by one, by torch.autograd.grad; for the mean squared error."""

    def adapt(learner: MetaLearner, x_spt, y_spt) -> list[dict[str, Tensor]]:
        return [_adapt(learner, _pick(x_spt, t), y_spt[t]) for t in range(len(y_spt))]

    return adapt


@pytest.fixture
def plain_losses() -> Callable[..., Tensor]:
    """Query losses of each task, one by one, by torch.autograd.grad; for the mean squared error."""

    def losses(learner: MetaLearner, x_spt, y_spt, x_qry, y_qry) -> Tensor:
        return torch.stack(
            [
                mse_loss(
                    functional_call(learner.net, _adapt(learner, _pick(x_spt, t), y_spt[t]), _pick(x_qry, t)),
                    y_qry[t],
                )
                for t in range(len(y_spt))
            ]
        )

    return losses


@pytest.fixture
def meta_gradients() -> Callable[..., dict[str, Tensor]]:
    """Gradients of losses.sum() in every parameter of the learner that has one."""

    def gradients(learner: MetaLearner, losses: Tensor) -> dict[str, Tensor]:
        learner.zero_grad()
        losses.sum().backward()
        return {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}

    return gradients


@pytest.fixture
def assert_same() -> Callable[..., None]:
    """Equal names, and tensors equal relative to the largest element of each."""

    def check(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10) -> None:
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            scale = max(value.abs().max().item(), 1e-12)
            error = (actual[name] - value).abs().max().item()
            assert error <= tolerance * scale, f"{name}: error {error:.3g} at scale {scale:.3g}"

    return check
