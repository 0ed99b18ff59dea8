"""Training of one seed and one β of the β-VAE recipe into a run folder."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from rotfast.models import BetaVAE, SpatialVAE
from rotfast.recipes.beta_vae.config import BetaVaeConfig
from rotfast.recipes.beta_vae.images import Images, load_images
from rotfast.recipes.beta_vae.networks import make_net, terms
from rotfast.recipes.beta_vae.score import Means, beta_note, capture, describe, headline, validate
from rotfast.recipes.config import config_to_dict
from rotfast.recipes.environment import make_fabric, versions
from rotfast.recipes.progress import StepProgress
from rotfast.recipes.run import RunError, RunFolder, RunStopped, catch_interrupt

__all__ = ["load_net", "steps_per_epoch", "train"]


def steps_per_epoch(config: BetaVaeConfig, images: Images) -> int:
    """Whole batches of an epoch; a rest is dropped, but for data smaller than a batch."""
    return max(1, images.copies // config.batch)


def rate(config: BetaVaeConfig, progress: float) -> float:
    """Learning rate where `progress` of all steps are done.

    Example:
        >>> config = BetaVaeConfig(lr=1.0, schedule="cosine")
        >>> [round(rate(config, progress), 2) for progress in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    if config.schedule == "constant":
        return config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def temperature(config: BetaVaeConfig, progress: float) -> float:
    """Weight of the angle's divergence where `progress` of all steps are done: a geometric way down.

    Example:
        >>> config = BetaVaeConfig(temperature=(16.0, 1.0))
        >>> [temperature(config, progress) for progress in (0.0, 0.5, 1.0)]
        [16.0, 4.0, 1.0]
    """
    first, last = config.temperature
    return float(first * (last / first) ** progress)


def train(
    config: BetaVaeConfig,
    folder: str | Path,
    *,
    resume: bool = False,
    command: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Train into a run folder; with `resume` go on from its checkpoint, to the same result bit for bit.

    Args:
        config: The whole configuration; `runs.train` serves one with several `betas`.
        folder: The run folder, new or empty unless `resume`.
        resume: Go on with the run in the folder.
        command: The command line, for summary.json.
        console: Where progress goes; None is standard output.

    Returns:
        What summary.json holds.

    Raises:
        RunError: The folder, the data or the configuration cannot be used, or the loss is no longer finite.
        RunStopped: Ctrl-C; the checkpoint of the last whole step is saved.
    """
    console = Console() if console is None else console
    run = RunFolder(folder)
    if resume:
        run.check_config(config_to_dict(config), config.free_on_resume)
    fabric = make_fabric(config)
    images, held_out = (load_images(config, split).to(fabric.device) for split in ("train", "validation"))
    net = make_net(config)
    adam = torch.optim.Adam(net.parameters(), lr=config.lr, fused=True)
    wrapped, optimizer = fabric.setup(net, adam)
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "means": None}
    if not resume:
        run.create(config_to_dict(config))
    elif run.has_checkpoint:
        net.load_state_dict(run.load_weights())
        state = run.load_state()
        _restore(state, adam)
    per_epoch = steps_per_epoch(config, images)
    steps, done, means = config.epochs * per_epoch, state["step"], Means(state["means"])
    start = time.perf_counter() - state["seconds"]

    def seconds() -> float:
        return round(float(time.perf_counter() - start), 3)

    console.print(f"{beta_note(config)}, {len(images)} images, {per_epoch} steps an epoch", highlight=False)
    with run.writing(), catch_interrupt() as stop, StepProgress(steps, done, console) as progress:
        run.truncate_metrics(done)
        for step in range(done + 1, steps + 1):
            epoch, place = divmod(step - 1, per_epoch)
            if place == 0 or step == done + 1:
                order = _order(config, epoch, images)
            for group in adam.param_groups:
                group["lr"] = rate(config, (step - 1) / steps)
            weight = temperature(config, (step - 1) / steps)
            batch = terms(wrapped, images.drawn(order[place * config.batch :][: config.batch]))
            loss = (batch.reconstruction + config.beta * batch.kl + weight * batch.angle_kl).mean()
            if not torch.isfinite(loss):
                raise RunError(f"the loss of step {step} is {loss.item()}: lower --lr")
            optimizer.zero_grad()
            fabric.backward(loss)
            if config.clip_norm is not None:
                fabric.clip_gradients(wrapped, optimizer, max_norm=config.clip_norm)
            optimizer.step()
            means.add(batch)
            progress.advance()

            if step % config.log_every == 0 or step == steps:
                record = means.record(config.beta)
                run.append_metrics({"step": step, "split": "train", **record, "seconds": seconds()})
                progress.show(f"train {describe(record)}")
                means = Means()
            if place == per_epoch - 1:
                record = validate(wrapped, held_out, config.beta)
                run.append_metrics({"step": step, "split": "validation", **record, "seconds": seconds()})
                progress.note(f"epoch {epoch + 1}, validation {describe(record)}")
            if step % config.checkpoint_every == 0 or step == steps or stop:
                run.save_checkpoint(net.state_dict(), _state(step, seconds(), means, adam))
            if stop and step < steps:
                raise RunStopped(
                    f"stopped after step {step} of {steps}, checkpoint saved; "
                    f"go on with: rotfast train beta-vae --resume {run.path}"
                )
        trained = seconds()
        test = load_images(config, "test").to(fabric.device)
        summary = {
            **_summary(config, run, net, steps),
            "test": capture(net, test, config.seed),
            "seconds": trained,
            "command": command,
            "versions": versions(),
        }
        run.write_json("summary.json", summary)
    console.print(_verdict(summary["test"]), highlight=False)
    return summary


def load_net(run: RunFolder, config: BetaVaeConfig) -> tuple[BetaVAE | SpatialVAE, int]:
    """The network of a run's checkpoint, on the CPU, and the steps it has made."""
    net = make_net(config)
    net.load_state_dict(run.load_weights())
    return net.eval(), run.load_state()["step"]


def _order(config: BetaVaeConfig, epoch: int, images: Images) -> torch.Tensor:
    """The copies in the order of an epoch, the same whether or not the run was interrupted."""
    generator = torch.Generator().manual_seed(1_000_003 * config.seed + epoch)
    return torch.randperm(images.copies, generator=generator).to(images.x.device)


def _state(step: int, seconds: float, means: Means, adam: torch.optim.Adam) -> dict[str, Any]:
    return {
        "step": step,
        "seconds": seconds,
        "means": means.state(),
        "optimizer": adam.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all(),
    }


def _restore(state: dict[str, Any], adam: torch.optim.Adam) -> None:
    adam.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch_rng"])
    if len(state["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_rng"])


def _summary(config: BetaVaeConfig, run: RunFolder, net: BetaVAE | SpatialVAE, steps: int) -> dict[str, Any]:
    names = ("architecture", "data", "preset", "mixture", "prior", "beta", "latent_size", "seed", "epochs")
    last = {record["split"]: record for record in run.read_metrics()}
    for record in last.values():
        del record["split"], record["seconds"]
    return {
        "recipe": config.recipe,
        **{name: getattr(config, name) for name in names},
        "steps": steps,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "train": last["train"],
        "validation": last["validation"],
    }


def _verdict(result: dict[str, Any]) -> str:
    figures = headline(result)
    prefix = "angle_" if "angle_r2" in figures else ""
    what = "its angle" if prefix else f"dimension {result['rotation']['dimension']}"
    return (
        f"{result['images']} test images: {what} tells the rotation with R² {figures[prefix + 'r2']:.3f}, "
        f"circular correlation {figures[prefix + 'circular_correlation']:.3f}, mean error "
        f"{figures[prefix + 'mean_error']:.1f}° (blind 45°); forest on the whole code R² "
        f"{figures['forest_r2']:.3f}; MIG of the angle {figures['mig_angle']:.3f}"
    )
