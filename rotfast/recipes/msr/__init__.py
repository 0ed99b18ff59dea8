"""The MSR recipe: meta-learn symmetries (Zhou, Knowles, Finn 2020) into a run folder."""

from rotfast.recipes.msr.config import MsrConfig, preset_config
from rotfast.recipes.msr.training import train

__all__ = ["MsrConfig", "preset_config", "train"]
