"""Time of an epoch with rotfast's kernels and with plain PyTorch augmentation, in the same loop.

`python docs/results/rotnet/augmentation_time.py` writes augmentation_time.json beside this file. One thread;
the two take turns. What is counted is processor time of this process, as other work may share the machine.
"""

import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import rotfast
from rotfast.data import load_mnist
from rotfast.models import RotNet
from rotfast.recipes.rotnet.config import RotnetConfig, preset_config
from rotfast.recipes.rotnet.images import Pipeline

MEAN, STD = 0.1307, 0.3081
ROUNDS = 5
PRETEXT_BATCHES, PRETEXT_BATCH, LABEL_BATCHES, LABEL_BATCH = 4, 64, 10, 100
Prepare = Callable[[Tensor], tuple[Tensor, Tensor]]


def plain_affine(config: RotnetConfig, x: Tensor, angle: Tensor) -> Tensor:
    """The recipe's shift, zoom, shear and a turn, by affine_grid and grid_sample on normalised images."""
    drawn = 2 * torch.rand(len(x), 5) - 1
    radians, shear_x, shear_y = angle.deg2rad(), *(config.shear * drawn[:, 3:]).deg2rad().tan().unbind(1)
    low, high = config.scale
    zoom = 1 / (low + (high - low) * (drawn[:, 2] + 1) / 2)
    cos, sin = zoom * radians.cos(), zoom * radians.sin()
    shift = 2 * config.translate * drawn[:, :2]
    rows = [cos - shear_x * sin, shear_x * cos - sin, shift[:, 0], sin + shear_y * cos, cos, shift[:, 1]]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(x.shape), align_corners=False)
    values = F.grid_sample(x.float().div(255), grid, align_corners=False)
    return values.sub_(MEAN).div_(STD)


def plain_pretext(config: RotnetConfig) -> Prepare:
    """Every image in all its turns, jittered."""

    def prepare(x: Tensor) -> tuple[Tensor, Tensor]:
        turn = torch.arange(config.turns).repeat(len(x))
        angle = turn * (360 / config.turns) + config.degrees * (2 * torch.rand(len(turn)) - 1)
        return plain_affine(config, x.repeat_interleave(config.turns, 0), angle), turn

    return prepare


def epoch(
    net: RotNet, adam: torch.optim.Optimizer, batches: list[tuple[Tensor, Tensor | None]], prepare: Prepare
) -> tuple[float, float]:
    """Seconds of an epoch, and of its augmentation."""
    augmenting, start = 0.0, time.process_time()
    for x, y in batches:
        before = time.process_time()
        images, turn = prepare(x)
        augmenting += time.process_time() - before
        with torch.autocast("cpu", torch.bfloat16):
            output = net(images)
        adam.zero_grad()
        F.cross_entropy(output.float(), turn if y is None else y).backward()
        adam.step()
    return time.process_time() - start, augmenting


def race(
    batches: list[tuple[Tensor, Tensor | None]], classes: int, ways: dict[str, Prepare]
) -> dict[str, dict[str, object]]:
    """Milliseconds for 1,000 images: epochs (lowest, median, highest), and augmentation (median)."""
    torch.manual_seed(0)
    net = RotNet("small", classes, width=16).to(memory_format=torch.channels_last)
    adam = torch.optim.AdamW(net.parameters(), fused=True)
    seen = sum(len(ways["rotfast"](x)[0]) for x, _ in batches)
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number, way in itertools.product(range(ROUNDS + 1), ways):
        measured = epoch(net, adam, batches, ways[way])
        if number:  # the first warms up
            times[way].append(measured)
    results = {}
    for way, measured in times.items():
        whole, part = zip(*measured, strict=True)
        results[way] = {
            "epoch": [1e6 * value / seen for value in (min(whole), statistics.median(whole), max(whole))],
            "augmentation": 1e6 * statistics.median(part) / seen,
            "share": statistics.median(a / b for a, b in zip(part, whole, strict=True)),
        }
    return results


def main() -> None:
    """Both loops of the recipe, as recommended."""
    torch.set_num_threads(1)
    rotfast.keep_freed_memory()
    config = preset_config("mnist")
    pixels, labels = load_mnist()
    pixels = pixels.unsqueeze(1)
    pipeline, without_perspective = Pipeline(config), Pipeline(replace(config, perspective=0.0))
    pretext: list[tuple[Tensor, Tensor | None]] = [
        (x, None) for x in pixels.split(PRETEXT_BATCH)[:PRETEXT_BATCHES]
    ]
    few: list[tuple[Tensor, Tensor | None]] = [
        (x, y) for x, y in zip(pixels.split(LABEL_BATCH), labels.split(LABEL_BATCH), strict=True)
    ][:LABEL_BATCHES]

    def affine_only(x: Tensor) -> tuple[Tensor, Tensor]:
        return without_perspective.augmented(x), x

    def plain_labels(x: Tensor) -> tuple[Tensor, Tensor]:
        return plain_affine(config, x, config.degrees * (2 * torch.rand(len(x)) - 1)), x

    result = {
        "pretext, 8 turns": race(
            pretext, config.turns, {"rotfast": pipeline.turned, "plain": plain_pretext(config)}
        ),
        "labels, without perspective": race(few, 10, {"rotfast": affine_only, "plain": plain_labels}),
    }
    text = json.dumps({"rounds": ROUNDS, "torch": torch.__version__, "loops": result}, indent=2)
    (Path(__file__).parent / "augmentation_time.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
