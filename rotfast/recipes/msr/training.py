"""Training of one seed of the MSR recipe."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from rotfast.meta import MetaLearner
from rotfast.models import (
    DedicatedCircuits,
    FewShotClassifier,
    FewShotPrototypes,
    SingleCircuit,
    synthetic_model,
)
from rotfast.recipes.config import config_to_dict
from rotfast.recipes.environment import make_fabric, versions
from rotfast.recipes.msr.config import MsrConfig
from rotfast.recipes.msr.score import Score, check_finite, describe, measure
from rotfast.recipes.msr.tasks import TaskSource, make_source
from rotfast.recipes.progress import StepProgress
from rotfast.recipes.run import RunFolder, RunStopped, catch_interrupt

__all__ = ["load_learner", "make_learner", "make_net", "train"]


def make_net(config: MsrConfig) -> nn.Module:
    """The network of a configuration, initialised from its seed."""
    torch.manual_seed(config.seed)
    if config.model == "prototypes":
        return FewShotPrototypes(config.ways, config.width)
    if config.problem == "omniglot":
        return FewShotClassifier(config.ways, config.width, shared=config.model == "share")
    if config.model == "single":
        return SingleCircuit(latent_size=config.latent_size)
    if config.model == "dedicated":
        return DedicatedCircuits(len(config.angles), latent_size=config.latent_size, routed=config.routed)
    return synthetic_model(config.problem, config.model)


def make_learner(config: MsrConfig) -> MetaLearner:
    """The network in its inner loop: cross-entropy where targets are classes, squared error for the rest."""
    return MetaLearner(
        make_net(config),
        F.cross_entropy if config.classifies else F.mse_loss,
        inner_lr=config.inner_lr,
        lr_mode=config.lr_mode,
        inner_optimizer=config.inner_optimizer,
        # Prototypes are made of the support images in one pass, without an inner loop.
        inner_steps=0 if config.model == "prototypes" else config.inner_steps,
        first_order=config.first_order,
        task_chunk=config.task_chunk,
    )


def outer_rate(config: MsrConfig, step: int) -> float:
    """Learning rate of outer step 1, 2, ...

    Example:
        >>> config = MsrConfig(outer_lr=1.0, schedule="cosine", steps=10)
        >>> [round(outer_rate(config, step), 2) for step in (1, 6, 10)]
        [1.0, 0.5, 0.02]
    """
    if config.schedule == "constant":
        return config.outer_lr
    return config.outer_lr * 0.5 * (1 + math.cos(math.pi * (step - 1) / config.steps))


def train(
    config: MsrConfig,
    folder: str | Path,
    *,
    resume: bool = False,
    command: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Train into a run folder; with `resume` go on from its checkpoint, to the same result bit for bit.

    Args:
        config: The whole configuration.
        folder: The run folder, new or empty unless `resume`.
        resume: Go on with the run in the folder.
        command: The command line, for summary.json.
        console: Where progress goes; None is standard output.

    Returns:
        What summary.json holds.

    Raises:
        RunError: The folder, the data or the configuration cannot be used, or the loss is no longer finite.
        RunStopped: Ctrl-C; the checkpoint of the last whole step is saved.

    Example:
        >>> import io, tempfile
        >>> config = MsrConfig("rank1", steps=2, tasks=2, test_tasks=3)
        >>> quiet = Console(file=io.StringIO())
        >>> summary = train(config, Path(tempfile.mkdtemp()) / "run", console=quiet)
        >>> summary["steps"], sorted(summary["test"])
        (2, ['loss', 'loss_ci95', 'step'])
    """
    run = RunFolder(folder)
    if resume:
        run.check_config(config_to_dict(config), config.free_on_resume)
    fabric = make_fabric(config)
    source = make_source(config)
    learner = make_learner(config)
    adam = torch.optim.Adam(learner.parameters(), lr=config.outer_lr, fused=True)
    wrapped, optimizer = fabric.setup(learner, adam)
    wrapped.mark_forward_method("query")
    done, seconds_before = 0, 0.0
    if not resume:
        run.create(config_to_dict(config))
    elif run.has_checkpoint:
        learner.net.load_state_dict(run.load_weights())
        done, seconds_before = _load_state(run.load_state(), learner, adam, source)
    start = time.perf_counter()

    def seconds() -> float:
        return round(seconds_before + time.perf_counter() - start, 3)

    with run.writing(), catch_interrupt() as stop, StepProgress(config.steps, done, console) as progress:
        run.truncate_metrics(done)
        for step in range(done + 1, config.steps + 1):
            is_last = step == config.steps
            tasks = source.train().to(fabric.device)
            for group in adam.param_groups:
                group["lr"] = outer_rate(config, step)
            losses, outputs = wrapped.query(tasks.x_spt, tasks.y_spt, tasks.x_qry, tasks.y_qry)
            check_finite(f"training loss of step {step}", losses)
            optimizer.zero_grad()
            fabric.backward(losses.sum())
            optimizer.step()
            progress.advance()

            if step % config.log_every == 0 or step == 1 or is_last:
                record = Score().add(losses, outputs, tasks).record()
                run.append_metrics({"step": step, "split": "train", **record, "seconds": seconds()})
                progress.show(f"train {describe(record)}")
            if step % config.test_every == 0 or step == 1 or is_last:
                record = measure(wrapped, source.test(), fabric.device).record()
                run.append_metrics({"step": step, "split": "test", **record, "seconds": seconds()})
                progress.note(f"test {describe(record)}")
            if step % config.checkpoint_every == 0 or is_last or stop:
                state = _state(learner, adam, source, step, seconds())
                run.save_checkpoint(learner.net.state_dict(), state)
            if stop and not is_last:
                raise RunStopped(
                    f"stopped after step {step} of {config.steps}, checkpoint saved; "
                    f"go on with: rotfast train msr --resume {run.path}"
                )
        summary = _summary(config, run, learner, command, seconds())
        run.write_json("summary.json", summary)
    return summary


def load_learner(run: RunFolder, config: MsrConfig) -> tuple[MetaLearner, int]:
    """The learner of a run's checkpoint, on the CPU, and the outer steps it has made."""
    learner = make_learner(config)
    learner.net.load_state_dict(run.load_weights())
    state = run.load_state()
    learner.inner_lrs.load_state_dict(state["inner_lrs"])
    return learner, state["step"]


def _state(
    learner: MetaLearner, adam: torch.optim.Adam, source: TaskSource, step: int, seconds: float
) -> dict[str, Any]:
    return {
        "step": step,
        "seconds": seconds,
        "inner_lrs": learner.inner_lrs.state_dict(),
        "optimizer": adam.state_dict(),
        "tasks": source.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all(),
    }


def _load_state(
    state: dict[str, Any], learner: MetaLearner, adam: torch.optim.Adam, source: TaskSource
) -> tuple[int, float]:
    learner.inner_lrs.load_state_dict(state["inner_lrs"])
    adam.load_state_dict(state["optimizer"])
    source.load_state_dict(state["tasks"])
    torch.set_rng_state(state["torch_rng"])
    if len(state["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return state["step"], state["seconds"]


def _summary(
    config: MsrConfig, run: RunFolder, learner: MetaLearner, command: str, seconds: float
) -> dict[str, Any]:
    last = {record["split"]: record for record in run.read_metrics()}
    for record in last.values():
        del record["split"], record["seconds"]
    return {
        "recipe": config.recipe,
        "problem": config.problem,
        "model": config.model,
        "routed": config.routed,
        "preset": config.preset,
        "seed": config.seed,
        "steps": config.steps,
        "parameters": sum(parameter.numel() for parameter in learner.net.parameters()),
        "train": last["train"],
        "test": last["test"],
        "seconds": seconds,
        "command": command,
        "versions": versions(),
    }
