"""The one-shot recipe: an embedding in which one image of an unseen class is enough to tell it."""

from rotfast.recipes.one_shot.config import OneShotConfig, preset_config
from rotfast.recipes.one_shot.training import train

__all__ = ["OneShotConfig", "preset_config", "train"]
