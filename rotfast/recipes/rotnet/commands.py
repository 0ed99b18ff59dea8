"""Command line of the RotNet recipe."""

from __future__ import annotations

from rotfast.recipes.rotnet import runs
from rotfast.recipes.rotnet.config import RotnetConfig, preset_config
from rotfast.recipes.rotnet.training import train as train_one
from rotfast.recipes.train_command import TrainCommand

__all__ = ["train"]


def _folder_name(config: RotnetConfig) -> str:
    return f"rotnet-{config.data}-{config.model}-{config.preset}"


train = TrainCommand(
    RotnetConfig,
    "Learn from rotations of unlabelled images, then classes from few labels, beside the same network "
    "without that pretext. --data, --preset and --model choose the defaults of the other options.",
    choices={"data": "digits", "preset": "recommended", "model": "rotnet"},
    preset=preset_config,
    train=train_one,
    train_seeds=runs.train_seeds,
    folder_name=_folder_name,
)
