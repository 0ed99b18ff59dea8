"""Measurements on finished runs that `rotfast evaluate` does not make.

`python docs/results/msr/probe.py RUNS` writes probe.json beside this file. RUNS is a folder that holds the
runs of ../msr.md, each under its name there.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from rotfast.data import synthetic_problem
from rotfast.meta import MetaLearner
from rotfast.recipes.msr.config import MsrConfig
from rotfast.recipes.msr.score import measure
from rotfast.recipes.msr.tasks import make_source
from rotfast.recipes.msr.training import load_learner, make_learner
from rotfast.recipes.seeds import open_run

SEEDS = (0, 1, 2)
CPU = torch.device("cpu")


def load(folder: Path) -> tuple[MsrConfig, MetaLearner]:
    """The configuration and the learner of a run."""
    run, config, _ = open_run(MsrConfig, folder)
    return config, load_learner(run, config)[0]


def finished(runs: Path, name: str) -> dict[int, Path]:
    """Folders of the seeds that have come to their end."""
    folders = {seed: runs / name / f"seed-{seed}" for seed in SEEDS}
    return {seed: folder for seed, folder in folders.items() if (folder / "summary.json").exists()}


def loss(learner: MetaLearner, config: MsrConfig, tasks: int) -> float:
    """Mean loss over test tasks that no test during training has seen."""
    return measure(learner, make_source(config).evaluation(tasks), CPU).record()["loss"]


def fill_rates(learner: MetaLearner, rate: float) -> None:
    """Set every inner rate."""
    with torch.no_grad():
        for parameter in learner.inner_lrs.parameters():
            parameter.fill_(rate)


def inner_rates(runs: Path, share: str, conv: str, tasks: int = 50) -> dict[str, object]:
    """Loss of the trained models, and of the convolution when its inner rate is set by hand.

    The squared error's mean over n channels has the gradient 2 / n (w - w*) on average over N(0, 1) inputs,
    so the rate n / 2 solves a task at once, but for the sampling noise of its one image.
    """
    result: dict[str, object] = {"tasks": tasks}
    for name in (share, conv):
        for seed, folder in finished(runs, name).items():
            config, learner = load(folder)
            rates = {key: value.item() for key, value in learner.inner_lrs.named_parameters()}
            result[f"{name}/{seed}"] = {"loss": loss(learner, config, tasks), "inner_rate": rates}
    for seed, folder in finished(runs, conv).items():
        config, trained = load(folder)
        rate = trained.net[0].out_channels / 2
        for stage, learner in (("untrained", make_learner(config)), ("trained", trained)):
            fill_rates(learner, rate)
            result[f"{stage} conv, inner rate {rate:g}/{seed}"] = {"loss": loss(learner, config, tasks)}
    return result


def adaptation(folder: Path, tasks: int = 500) -> dict[str, object]:
    """What the inner loop contributes: the same checkpoint with and without its inner step."""
    config, adapted = load(folder)
    bare = make_learner(replace(config, inner_steps=0))
    bare.net.load_state_dict(adapted.net.state_dict())
    score = measure(bare, make_source(config).evaluation(tasks), CPU).record()
    rates = {key: value.item() for key, value in adapted.inner_lrs.named_parameters()}
    return {"without inner step": {key: score[key] for key in ("loss", "accuracy")}, "inner rates": rates}


def projector(columns: Tensor) -> Tensor:
    """On the span of the columns of a matrix."""
    left, singular, _ = torch.linalg.svd(columns, full_matrices=False)
    basis = left[:, singular > 1e-6 * singular[0]]
    return basis @ basis.T


def reachable(problem: str, seed: int) -> dict[str, Tensor]:
    """Projectors on what the true filter banks (C, 9) reach along their channels and along their taps."""
    true = synthetic_problem(problem, seed)
    banks = true.true_warp.double().T.view(true.latent_size, -1, 9)
    return {"A_warp": projector(banks.mT.flatten(0, 1).T), "C_warp": projector(banks.flatten(0, 1).T)}


def equivariance_error(A: Tensor, C: Tensor, channels: Tensor, taps: Tensor, draws: int = 200) -> float:
    """Mean of ||W taps' - channels' W|| / ||W|| over W = A w C' with w ~ N(0, 1)."""
    w = torch.randn(draws, len(A), 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    W = A @ w @ C.T
    return ((W @ taps.T - channels.T @ W).norm(dim=(1, 2)) / W.norm(dim=(1, 2))).mean().item()


def commutator(gram: Tensor, action: Tensor) -> float:
    """How far a matrix is from commuting with an action, relative to its norm."""
    return ((gram @ action - action @ gram).norm() / gram.norm()).item()


def turned(gram: Tensor) -> Tensor:
    """A matrix of the same eigenvalues whose eigenvectors are random."""
    draw = torch.randn(gram.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    orthogonal = torch.linalg.qr(draw)[0]
    return orthogonal @ gram @ orthogonal.T


def warps(folder: Path) -> dict[str, object]:
    """What the warps of a rot8 run have in common with the true symmetry."""
    config, learner = load(folder)
    layer = learner.net[0]
    learned = {name: getattr(layer, name).detach().double() for name in ("A_warp", "C_warp")}
    spaces = reachable(config.problem, config.seed)
    result: dict[str, object] = {"B_warp": layer.B_warp.item()}
    identities = {name: torch.eye(len(warp), dtype=torch.float64) for name, warp in learned.items()}
    for action, true in synthetic_problem(config.problem, config.seed).group_action.items():
        result[f"equivariance error, {action}"] = {
            stage: equivariance_error(pair["A_warp"], pair["C_warp"], true.channels, true.taps)
            for stage, pair in (("before", identities), ("after", learned), ("projectors", spaces))
        }
        for name, matrix in (("A_warp", true.channels), ("C_warp", true.taps)):
            gram = learned[name] @ learned[name].T
            result[f"commutator of {name}, {action}"] = {
                "after": commutator(gram, matrix),
                "random eigenvectors": commutator(turned(gram), matrix),
            }
    for name, warp in learned.items():
        gram, space = warp @ warp.T, spaces[name]
        result[f"{name} {name}'"] = {
            "reachable dimensions": round(space.trace().item()),
            "share inside, before": (space.trace() / len(space)).item(),
            "share inside, after": ((space * gram).sum() / gram.trace()).item(),
            "eigenvalues": [round(value, 3) for value in torch.linalg.eigvalsh(gram).flip(0).tolist()],
        }
    return result


def main(runs: Path) -> None:
    """Measure all that is finished."""
    torch.set_num_threads(1)
    result = {
        "rot8, recommended": inner_rates(runs, "rot8-rec-share", "rot8-rec-conv"),
        "rot8-flip, recommended": inner_rates(runs, "rot8-flip-rec-share", "rot8-flip-rec-conv"),
        "rot8, as-in-deck": inner_rates(runs, "rot8-deck-share", "rot8-deck-conv"),
        "warps": {
            f"{name}/{seed}": warps(folder)
            for name in ("rot8-rec-share", "rot8-flip-rec-share", "rot8-deck-share")
            for seed, folder in finished(runs, name).items()
        },
        "rotated-mnist": {
            f"{name}/{seed}": adaptation(folder)
            for name in ("mnist-rec-single", "mnist-rec-routed")
            for seed, folder in finished(runs, name).items()
        },
    }
    target = Path(__file__).with_name("probe.json")
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
