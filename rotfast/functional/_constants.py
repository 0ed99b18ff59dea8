"""Numbers of the caller in the memory of a device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def constants(values: Sequence[float], device: torch.device) -> Tensor:
    """The numbers as float64 on a device, without the host waiting for it.

    They are copied from ordinary memory, but not into a CUDA graph: replayed, it would copy from memory that
    is gone. There, and under torch.compile, which makes such graphs, kernels write them.
    """
    if device.type == "cuda" and (torch.compiler.is_compiling() or torch.cuda.is_current_stream_capturing()):
        return written(values, device)
    return torch.tensor(values, dtype=torch.float64).to(device, non_blocking=True)


def written(values: Sequence[float], device: torch.device) -> Tensor:
    """The same without a copy: a fill for each number."""
    return torch.stack([torch.full((), value, dtype=torch.float64, device=device) for value in values])
