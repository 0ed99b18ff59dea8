"""The one-shot recipe: an embedding in which one image of a class it never saw is enough to tell the class."""

from rotfast.recipes.one_shot.config import OneShotConfig, preset_config
from rotfast.recipes.one_shot.training import train

__all__ = ["OneShotConfig", "preset_config", "train"]
