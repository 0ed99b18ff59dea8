"""The β-VAE recipe: codes of rotated digits, and what they know of the rotation."""

from rotfast.recipes.beta_vae.config import BetaVaeConfig, preset_config
from rotfast.recipes.beta_vae.training import train

__all__ = ["BetaVaeConfig", "preset_config", "train"]
