"""How well networks do: confusion of classes, and accuracy or angle error of the pretext."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotfast.recipes.rotnet.images import Images, Pipeline

__all__ = ["describe", "judge_classes", "judge_pretext", "pretext_loss", "turned_batches"]

_BATCH = 500


def pretext_loss(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the turn, or squared error of the direction, (N, 2)."""
    if target.is_floating_point():
        return F.mse_loss(output, target)
    return F.cross_entropy(output, target)


@torch.no_grad()
def judge_classes(net: nn.Module, images: Images, prepare: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Accuracy, loss and confusion (rows: true class, columns: predicted) on labelled images."""
    net.eval()
    device = next(net.parameters()).device
    logits = torch.cat([net(prepare(x.to(device))).float().cpu() for x in images.x.split(_BATCH)])
    classes = logits.shape[1]
    confusion = torch.bincount(images.y * classes + logits.argmax(1), minlength=classes**2)
    return {
        "accuracy": (logits.argmax(1) == images.y).double().mean().item(),
        "loss": F.cross_entropy(logits, images.y).item(),
        "confusion": confusion.view(classes, classes).tolist(),
    }


@torch.no_grad()
def judge_pretext(net: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Loss and accuracy of the pretext on turned images; of free angles, the mean error in degrees."""
    net.eval()
    outputs, targets = zip(*((net(x).float().cpu(), y.cpu()) for x, y in batches), strict=True)
    output, target = torch.cat(outputs), torch.cat(targets)
    record: dict[str, Any] = {"loss": pretext_loss(output, target).item()}
    if target.is_floating_point():
        gap = torch.atan2(output[:, 1], output[:, 0]) - torch.atan2(target[:, 1], target[:, 0])
        error = torch.atan2(gap.sin(), gap.cos()).abs().rad2deg()
        record["angle_error"] = error.double().mean().item()
    else:
        record["accuracy"] = (output.argmax(1) == target).double().mean().item()
    return record


def turned_batches(
    images: Images, pipeline: Pipeline, device: torch.device, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images in all their turns, jittered alike at every call; torch's random state stays as it is."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        for x in images.x.split(_BATCH // 4):
            yield pipeline.turned(x.to(device))


def describe(record: dict[str, Any]) -> str:
    """A record in a few words.

    Example:
        >>> describe({"loss": 0.5, "accuracy": 0.9})
        'loss 0.5000  accuracy 90.00%'
    """
    text = f"loss {record['loss']:.4f}"
    if "accuracy" in record:
        text += f"  accuracy {record['accuracy']:.2%}"
    if "angle_error" in record:
        text += f"  angle error {record['angle_error']:.1f}°"
    return text
