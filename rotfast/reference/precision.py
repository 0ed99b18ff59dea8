"""Weights are generated in their own dtype, also where autocast would lower it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def autocast_is_on(tensor: Tensor) -> bool:
    """Whether autocast would lower the dtype; devices without autocast answer False."""
    if tensor.is_cpu:  # asking for a device's name costs more than the rest
        return torch.is_autocast_enabled("cpu")
    device = tensor.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def own_dtype(tensor: Tensor) -> AbstractContextManager[None]:
    """Switch autocast off where it is on."""
    return torch.autocast(tensor.device.type, enabled=False) if autocast_is_on(tensor) else nullcontext()
