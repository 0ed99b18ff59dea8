"""Training of one seed of the one-shot recipe."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from rotfast.models import OneShotCNN, OneShotConvNet, OneShotEmbedder, OneShotMLP, SiameseTrunk
from rotfast.recipes.config import config_to_dict
from rotfast.recipes.environment import make_fabric, versions
from rotfast.recipes.one_shot.config import CLASSES, OneShotConfig
from rotfast.recipes.one_shot.images import CHANNELS, SIZE, Batch, Batches, Pipeline, Split, load_split
from rotfast.recipes.one_shot.losses import batch_hard_loss, contrastive_loss, supervised_contrastive_loss
from rotfast.recipes.one_shot.score import describe, judge, quick
from rotfast.recipes.progress import StepProgress
from rotfast.recipes.run import RunError, RunFolder, RunStopped, catch_interrupt

__all__ = ["load_net", "make_net", "train"]


def make_net(config: OneShotConfig, classes: int) -> nn.Module:
    """The network of a configuration, initialised from its seed.

    Args:
        config: The configuration.
        classes: Number of classes in training, each kind of a turned or mirrored class counted.

    Raises:
        RunError: l2_on names a parameter that the network does not have.
    """
    torch.manual_seed(config.seed)
    sizes = {"in_channels": CHANNELS[config.data], "image_size": SIZE[config.data]}
    # The study's small networks have an output for every digit, also for those held out.
    outputs = max(classes, CLASSES.get(config.data, 0))
    net: nn.Module
    if config.model == "convnet":
        net = OneShotConvNet(classes, **sizes)
    elif config.model == "cnn":
        net = OneShotCNN(outputs, config.embedding_size, **sizes)
    elif config.model == "dense":
        net = OneShotMLP(outputs, config.embedding_size, **sizes)
    elif config.model == "siamese":
        net = SiameseTrunk(config.embedding_size, **sizes)
    else:
        net = OneShotEmbedder(
            config.embedding_size,
            **sizes,
            width=config.width,
            depth=config.depth,
            rotation_head=config.rotation_weight > 0,
        )
    names = [name for name, _ in net.named_parameters()]
    for name in config.l2_on:
        if name not in names:
            raise RunError(f"l2_on must name parameters of the model, {', '.join(names)}, got {name}")
    return net


def step_loss(net: nn.Module, x: Tensor, batch: Batch, config: OneShotConfig) -> Tensor:
    """Loss of a batch of augmented images x, without the penalty on weights."""
    label = batch.label.to(x.device)
    output = net(x)
    if config.loss == "cross-entropy":
        return F.cross_entropy(output, label)
    if config.loss == "contrastive":
        (first, second), (a, b) = output.chunk(2), label.chunk(2)
        return contrastive_loss(first, second, a == b, config.margin)
    if config.loss == "supervised-contrastive":
        loss = supervised_contrastive_loss(output, label, config.temperature)
    else:
        loss = batch_hard_loss(output, label, config.margin)
    if config.rotation_weight:
        turn: Tensor = net.rotation(output)  # type: ignore[operator]
        loss = loss + config.rotation_weight * F.cross_entropy(turn, batch.turn.to(x.device))
    return loss


def train(
    config: OneShotConfig,
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
        >>> config = OneShotConfig(steps=2, batch=16, width=4, episodes=2, draws=2)
        >>> quiet = Console(file=io.StringIO())
        >>> summary = train(config, Path(tempfile.mkdtemp()) / "run", console=quiet)
        >>> summary["steps"], sorted(summary["test"])
        (2, ['episodes', 'pairs', 'references', 'rejection'])
    """
    run = RunFolder(folder)
    if resume:
        run.check_config(config_to_dict(config), config.free_on_resume)
    fabric = make_fabric(config)
    split = load_split(config)
    batches, pipeline = Batches(config, split.train.y), Pipeline(config)
    net = make_net(config, batches.classes)
    adam = torch.optim.AdamW(net.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    wrapped, optimizer = fabric.setup(net, adam)
    wrapped.mark_forward_method("embed")
    penalised = [parameter for name, parameter in net.named_parameters() if name in config.l2_on]
    images = split.train.x.to(fabric.device)
    done, seconds_before = 0, 0.0
    if not resume:
        run.create(config_to_dict(config))
    elif run.has_checkpoint:
        net.load_state_dict(run.load_weights())
        done, seconds_before = _load_state(run.load_state(), adam, batches)
    start = time.perf_counter()

    def seconds() -> float:
        return round(seconds_before + time.perf_counter() - start, 3)

    with run.writing(), catch_interrupt() as stop, StepProgress(config.steps, done, console) as progress:
        run.truncate_metrics(done)
        for step in range(done + 1, config.steps + 1):
            is_last = step == config.steps
            for group in adam.param_groups:
                group["lr"] = _rate(config, step)
            batch = batches.draw()
            wrapped.train()
            loss = step_loss(wrapped, pipeline.augmented(batch.images(images)), batch, config)
            if not loss.isfinite():
                raise RunError(f"the training loss of step {step} is not finite: lower --lr")
            penalty = sum((weight.square().sum() for weight in penalised), torch.zeros_like(loss))
            optimizer.zero_grad()
            fabric.backward(loss + config.l2 * penalty)
            optimizer.step()
            progress.advance()

            if step % config.log_every == 0 or step == 1 or is_last:
                record = {"step": step, "split": "train", "loss": loss.item(), "seconds": seconds()}
                run.append_metrics(record)
                progress.show(f"train loss {record['loss']:.4f}")
            if step % config.test_every == 0 or is_last:
                record = quick(wrapped, split, pipeline, config)
                run.append_metrics({"step": step, "split": "unseen", **record, "seconds": seconds()})
                progress.note(describe(record))
            if step % config.checkpoint_every == 0 or is_last or stop:
                run.save_checkpoint(net.state_dict(), _state(adam, batches, step, seconds()))
            if stop and not is_last:
                raise RunStopped(
                    f"stopped after step {step} of {config.steps}, checkpoint saved; "
                    f"go on with: rotfast train one-shot --resume {run.path}"
                )
        summary = {
            "recipe": config.recipe,
            **{name: getattr(config, name) for name in ("data", "model", "preset", "seed", "steps")},
            "parameters": sum(parameter.numel() for parameter in net.parameters()),
            **sizes(split),
            "test": judge(wrapped, split, pipeline, config),
            "seconds": seconds(),
            "command": command,
            "versions": versions(),
        }
        run.write_json("summary.json", summary)
    return summary


def sizes(split: Split) -> dict[str, int]:
    """How many images there are to learn from and to judge by."""
    return {"train_images": len(split.train.y), "unseen_images": len(split.unseen.y)}


def load_net(run: RunFolder, config: OneShotConfig, split: Split) -> tuple[nn.Module, int]:
    """The network of a run's checkpoint, on the CPU, and the steps it has made."""
    net = make_net(config, Batches(config, split.train.y).classes)
    net.load_state_dict(run.load_weights())
    return net, run.load_state()["step"]


def _rate(config: OneShotConfig, step: int) -> float:
    """Learning rate of step 1, 2, ..."""
    if config.schedule == "constant":
        return config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - 1) / config.steps))


def _state(adam: torch.optim.Optimizer, batches: Batches, step: int, seconds: float) -> dict[str, Any]:
    return {
        "step": step,
        "seconds": seconds,
        "optimizer": adam.state_dict(),
        "batches": batches.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all(),
    }


def _load_state(state: dict[str, Any], adam: torch.optim.Optimizer, batches: Batches) -> tuple[int, float]:
    adam.load_state_dict(state["optimizer"])
    batches.load_state_dict(state["batches"])
    torch.set_rng_state(state["torch_rng"])
    if len(state["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return state["step"], state["seconds"]
