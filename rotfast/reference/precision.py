"""Weights are generated in their own dtype, also where autocast would lower it."""

from contextlib import AbstractContextManager, nullcontext

import torch


def own_dtype(device: torch.device) -> AbstractContextManager[None]:
    """Switch autocast off where it is on."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
