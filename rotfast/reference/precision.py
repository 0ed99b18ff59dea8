"""Weights are generated in their own dtype, also where autocast would lower it."""

from contextlib import AbstractContextManager, nullcontext

import torch


def autocast_is_on(device: torch.device) -> bool:
    """Whether autocast would lower the dtype; devices without autocast answer False."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def own_dtype(device: torch.device) -> AbstractContextManager[None]:
    """Switch autocast off where it is on."""
    return torch.autocast(device.type, enabled=False) if autocast_is_on(device) else nullcontext()
