"""The RotNet recipe: learn from rotations of unlabelled images, then from few labels."""

from rotfast.recipes.rotnet.config import RotnetConfig, preset_config
from rotfast.recipes.rotnet.training import train

__all__ = ["RotnetConfig", "preset_config", "train"]
