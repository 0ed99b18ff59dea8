"""How well a learner does: losses with intervals, errors by angle, spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rotfast.recipes.msr.tasks import Tasks
from rotfast.recipes.run import RunError

__all__ = ["Score", "check_finite", "describe", "measure"]


@dataclass
class Score:
    """Loss of every task and, for a classification, its accuracy and the errors by angle."""

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    images: Counter[float] = field(default_factory=Counter)
    errors: Counter[float] = field(default_factory=Counter)

    def add(self, losses: Tensor, outputs: Tensor, tasks: Tasks) -> Score:
        """Count the query results of some tasks: losses (T,), outputs (T, k_qry, ...)."""
        self.losses += losses.detach().tolist()
        if tasks.y_qry.is_floating_point():
            return self
        wrong = outputs.detach().argmax(-1) != tasks.y_qry
        self.accuracies += (1 - wrong.double().mean(1)).tolist()
        if tasks.angle is None:
            return self
        for angle, is_wrong in zip(tasks.angle.flatten().tolist(), wrong.flatten().tolist(), strict=True):
            self.images[angle] += 1
            self.errors[angle] += is_wrong
        return self

    def record(self) -> dict[str, Any]:
        """As a line of metrics.jsonl has it; "ci95" is half of the 95 % interval of the tasks' mean."""
        record: dict[str, Any] = {}
        for name, values in (("loss", self.losses), ("accuracy", self.accuracies)):
            if values:
                record[name] = statistics.fmean(values)
            if len(values) > 1:
                record[f"{name}_ci95"] = 1.96 * statistics.stdev(values) / math.sqrt(len(values))
        if self.images:
            angles = sorted(self.images)
            record["errors_per_angle"] = {str(angle): self.errors[angle] for angle in angles}
            record["images_per_angle"] = {str(angle): self.images[angle] for angle in angles}
        return record


def check_finite(name: str, losses: Tensor) -> None:
    """Refuse losses that are infinite or NaN.

    Raises:
        RunError: One is.
    """
    if not losses.isfinite().all():
        raise RunError(f"the {name} is not finite: lower --outer-lr or --inner-lr")


@torch.no_grad()
def measure(learner: Any, tasks: Iterable[Tasks], device: torch.device) -> Score:
    """Adapt to every task's support set and judge its query set."""
    score = Score()
    for chunk in tasks:
        chunk = chunk.to(device)
        losses, outputs = learner.query(chunk.x_spt, chunk.y_spt, chunk.x_qry, chunk.y_qry)
        check_finite("test loss", losses)
        score.add(losses, outputs, chunk)
    return score


def describe(record: dict[str, Any]) -> str:
    """A record in a few words.

    Example:
        >>> describe({"loss": 0.5, "accuracy": 0.9})
        'loss 0.5000  accuracy 90.00%'
    """
    text = f"loss {record['loss']:.4f}"
    if "loss_ci95" in record:
        text += f" ± {record['loss_ci95']:.4f}"
    if "accuracy" in record:
        text += f"  accuracy {record['accuracy']:.2%}"
    if "accuracy_ci95" in record:
        text += f" ± {record['accuracy_ci95']:.2%}"
    return text
