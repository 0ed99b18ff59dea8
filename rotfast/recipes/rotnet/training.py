"""Training of one seed of the RotNet recipe: the pretext once, then every trial from it and from scratch."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor, nn

from rotfast.models import RotNet
from rotfast.recipes.config import config_to_dict
from rotfast.recipes.environment import make_fabric, versions
from rotfast.recipes.progress import StepProgress
from rotfast.recipes.rotnet.config import RotnetConfig
from rotfast.recipes.rotnet.images import Pipeline, load_images
from rotfast.recipes.rotnet.pseudo import joint_features, spread_labels
from rotfast.recipes.rotnet.score import describe, judge_classes, judge_pretext, turned_batches
from rotfast.recipes.rotnet.stages import (
    Labels,
    Pretext,
    Stage,
    make_trials,
    new_rotnet,
    stage_seed,
    unlabelled_images,
)
from rotfast.recipes.run import RunError, RunFolder, RunStopped, catch_interrupt
from rotfast.recipes.seeds import spread

__all__ = ["load_pretext", "summarise_trials", "train"]

_PRETEXT_FILE = "rotnet.safetensors"
_PSEUDO_LABELS_FILE = "pseudo-labels.json"
_PRETEXT_TEST_IMAGES = 1000
_STEPS_BETWEEN_LOSSES = 20


def train(
    config: RotnetConfig,
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
    """
    run = RunFolder(folder)
    if resume:
        run.check_config(config_to_dict(config), config.free_on_resume)
    training = _Training(config, run, make_fabric(config))
    if not resume:
        run.create(config_to_dict(config))
    state: dict[str, Any] = {"step": 0, "seconds": 0.0}
    if resume and run.has_checkpoint:
        state = run.load_state()
    with run.writing():
        run.truncate_metrics(state["step"])
        training.run(state, console)
        summary = {**training.summary(), "command": command, "versions": versions()}
        run.write_json("summary.json", summary)
    return summary


def load_pretext(config: RotnetConfig, folder: str | Path) -> RotNet:
    """The network that a run's pretext trained, for a network of this configuration.

    Raises:
        RunError: There is none, its file is damaged, or it has another architecture.
    """
    try:
        return new_rotnet(config).load_features(RotNet.from_run(folder))
    except (FileNotFoundError, ValueError) as error:
        raise RunError(f"pretext of {folder} cannot be used: {error}") from error


class _Ema:
    """A running mean of the weights and buffers of a network; young, it forgets faster."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.mean = {name: value.detach().clone() for name, value in net.state_dict().items()}

    def update(self, net: nn.Module) -> None:
        self.count += 1
        weight = 1 - min(self.decay, self.count / (10 + self.count))
        state = net.state_dict()
        floats = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.mean[name] for name in floats], [state[name] for name in floats], weight)
        for name in state.keys() - set(floats):
            self.mean[name].copy_(state[name])


class _Training:
    """All stages of a run, and the files they leave."""

    def __init__(self, config: RotnetConfig, run: RunFolder, fabric: Fabric) -> None:
        self.config, self.run_folder, self.fabric = config, run, fabric
        self.pipeline = Pipeline(config)
        train, self.test = load_images(config, "train"), load_images(config, "test").first(config.test_images)
        self.unlabelled = unlabelled = unlabelled_images(config, train).to(fabric.device)
        self.stages: list[Stage] = []
        if config.model == "rotnet":
            if config.pretext_from is None:
                self.stages.append(Pretext(config, unlabelled, self.pipeline, fabric.device))
            else:
                load_pretext(config, config.pretext_from)
        for trial in make_trials(config):
            sources = (self._trained_pretext, self._pseudo_labels)
            more = (train, unlabelled, self.pipeline, fabric.device, *sources)
            self.stages.append(Labels(config, trial, *more))
        self.steps = sum(stage.steps for stage in self.stages)

    def run(self, state: dict[str, Any], console: Console | None) -> None:
        """Go through the stages, from where a checkpoint was."""
        self._start: float = time.perf_counter() - state["seconds"]
        self._saved = state["step"]
        before = 0
        with (
            catch_interrupt() as self._stop,
            StepProgress(self.steps, state["step"], console) as self._progress,
        ):
            while self.stages:
                stage = self.stages.pop(0)  # goes with its images when it is done
                after = before + stage.steps
                if state["step"] < after:
                    self._train(stage, before, state if state["step"] > before else None)
                before = after

    def summary(self) -> dict[str, Any]:
        """What came out, from metrics.jsonl."""
        records = self.run_folder.read_metrics()
        config = self.config
        result: dict[str, Any] = {
            "recipe": config.recipe,
            **{name: getattr(config, name) for name in ("data", "model", "preset", "seed")},
            "steps": self.steps,
        }
        pretext = [
            record for record in records if record["stage"] == "pretext" and record["split"] != "train"
        ]
        if pretext:
            result["pretext"] = {
                record["split"]: {
                    key: record[key] for key in ("loss", "accuracy", "angle_error") if key in record
                }
                for record in pretext
            }
        result["trials"] = summarise_trials(records)
        result["parameters"] = {
            record["stage"]: record["parameters"] for record in records if "parameters" in record
        }
        return {**result, "seconds": self._seconds()}

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._start, 3)

    def _trained_pretext(self) -> RotNet:
        return load_pretext(self.config, self.config.pretext_from or self.run_folder.path)

    def _pseudo_labels(self) -> Tensor:
        content = self.run_folder.read_json(_PSEUDO_LABELS_FILE)
        if content is None:
            raise RunError(f"{self.run_folder.path / _PSEUDO_LABELS_FILE} is missing: start the run again")
        return torch.tensor(content["labels"])

    def _train(self, stage: Stage, before: int, state: dict[str, Any] | None) -> None:
        """One stage, from its start or from a checkpoint in its midst."""
        torch.manual_seed(stage.seed)
        net = stage.make_net()
        if self.config.model != "mlpc":
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._parameters = sum(parameter.numel() for parameter in net.parameters())
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        adam = torch.optim.AdamW(trained, stage.lr, weight_decay=self.config.weight_decay, fused=True)
        wrapped, optimizer = self.fabric.setup(net, adam)
        ema = _Ema(net, self.config.ema) if self.config.ema else None
        first = 0
        if state is not None:
            first = state["step"] - before
            net.load_state_dict(self.run_folder.load_weights())
            _load_state(state, adam, ema)
        for step in range(first, stage.steps):
            for group in adam.param_groups:
                group["lr"] = stage.lr * _factor(self.config.schedule, step / stage.steps)
            wrapped.train()
            loss = stage.loss(wrapped, step)
            if not loss.isfinite():
                raise RunError(
                    f"the loss of {stage.name}, step {step + 1} is not finite: lower its learning rate"
                )
            optimizer.zero_grad()
            self.fabric.backward(loss)
            optimizer.step()
            if ema is not None:
                ema.update(net)
            self._progress.advance()
            now, is_last = before + step + 1, step + 1 == stage.steps
            if isinstance(stage, Pretext) and (is_last or step % _STEPS_BETWEEN_LOSSES == 0):
                self._report(loss, now)
            if not is_last and (now % self.config.checkpoint_every == 0 or self._stop):
                self._save(net, _state(adam, ema), now)
            if self._stop and not is_last:
                self._halt(now)
        if ema is not None:
            net.load_state_dict(ema.mean)
        self._finish(stage, net, wrapped, loss, before + stage.steps)

    def _report(self, loss: Tensor, now: int) -> None:
        record = {"step": now, "stage": "pretext", "split": "train", "loss": loss.item()}
        self.run_folder.append_metrics({**record, "seconds": self._seconds()})
        self._progress.show(f"pretext loss {record['loss']:.4f}")

    def _finish(self, stage: Stage, net: nn.Module, wrapped: nn.Module, loss: Tensor, now: int) -> None:
        """Judge a trained network and keep it."""
        if isinstance(stage, Pretext):
            self._finish_pretext(stage, net, wrapped, now)
        elif isinstance(stage, Labels):
            record = {
                "step": now,
                "stage": "labels",
                "split": "test",
                **stage.trial.record(),
                **judge_classes(wrapped, self.test, self.pipeline.plain),
                "train_loss": loss.item(),
                "parameters": self._parameters,
                "seconds": self._seconds(),
            }
            if len(stage.validation.y):
                validation = judge_classes(wrapped, stage.validation, self.pipeline.plain)
                record["validation_accuracy"] = validation["accuracy"]
            following = self.stages[0] if self.stages else None
            if isinstance(following, Labels) and following.trial.pseudo:
                record["pseudo_label_accuracy"] = self._spread(stage, net)
            self.run_folder.append_metrics(record)
            self._progress.note(f"{stage.name}: {describe(record)}")
        done = now == self.steps
        if (
            isinstance(stage, Pretext)
            or done
            or self._stop
            or now - self._saved >= self.config.checkpoint_every
        ):
            self._save(net, {"judged": isinstance(stage, Labels)}, now)
        if self._stop and not done:
            self._halt(now)

    def _spread(self, stage: Labels, net: nn.Module) -> float:
        """Leave pseudo-labels for the next stage; the share of them that is right."""
        assert isinstance(net, RotNet)
        nets = [net]
        if stage.trial.start == "pretext":
            nets.append(self._trained_pretext().to(self.fabric.device))
        x = torch.cat([stage.labelled.x.to(self.fabric.device), self.unlabelled.x])
        with self.fabric.autocast():
            features = joint_features(nets, x, self.pipeline)
        labels = spread_labels(features, stage.labelled.y)
        self.run_folder.write_json(_PSEUDO_LABELS_FILE, {"after": stage.name, "labels": labels.tolist()})
        return float((labels == self.unlabelled.y.cpu()).float().mean())

    def _finish_pretext(self, stage: Pretext, net: nn.Module, wrapped: nn.Module, now: int) -> None:
        seed = stage_seed(self.config, "pretext test")
        test = turned_batches(self.test.first(_PRETEXT_TEST_IMAGES), self.pipeline, self.fabric.device, seed)
        batches = {"test": test}
        if stage.held_out is not None:
            batches["held-out copies"] = stage.held_out_batches()
        for split, turned in batches.items():
            record = {"step": now, "stage": "pretext", "split": split, **judge_pretext(wrapped, turned)}
            self.run_folder.append_metrics(
                {**record, "parameters": self._parameters, "seconds": self._seconds()}
            )
            self._progress.note(f"pretext, {split}: {describe(record)}")
        assert isinstance(net, RotNet)
        net.save(self.run_folder.path / _PRETEXT_FILE)

    def _save(self, net: nn.Module, state: dict[str, Any], now: int) -> None:
        self.run_folder.save_checkpoint(net.state_dict(), {**state, "step": now, "seconds": self._seconds()})
        self._saved = now

    def _halt(self, now: int) -> None:
        raise RunStopped(
            f"stopped after step {now} of {self.steps}, checkpoint saved; "
            f"go on with: rotfast train rotnet --resume {self.run_folder.path}"
        )


def summarise_trials(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Test accuracies of trials that differ by draw or seed alone, with their spread."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for record in records:
        if record["stage"] == "labels":
            key = (record["labels_per_class"], record["augment"], record["arm"])
            groups.setdefault(key, []).append(record["accuracy"])
    names = ("labels_per_class", "augment", "arm")
    return [
        {**dict(zip(names, key, strict=True)), "accuracy": spread(values)} for key, values in groups.items()
    ]


def _factor(schedule: str, done: float) -> float:
    """Share of the largest learning rate."""
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * done))


def _state(adam: torch.optim.Optimizer, ema: _Ema | None) -> dict[str, Any]:
    return {
        "optimizer": adam.state_dict(),
        "ema": None if ema is None else {"mean": ema.mean, "count": ema.count},
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all(),
    }


def _load_state(state: dict[str, Any], adam: torch.optim.Optimizer, ema: _Ema | None) -> None:
    adam.load_state_dict(state["optimizer"])
    if ema is not None:
        ema.count = state["ema"]["count"]
        for name, value in state["ema"]["mean"].items():
            ema.mean[name].copy_(value)
    torch.set_rng_state(state["torch_rng"])
    if len(state["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
