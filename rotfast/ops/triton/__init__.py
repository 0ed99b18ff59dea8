"""Triton kernels as the CUDA implementation of operators in torch.ops.rotfast.

Registered when rotfast is imported; Triton itself is imported by the first call with a CUDA tensor.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rotfast import backend

# The module that holds an operator's launcher, a function of the operator's name and arguments.
OPERATORS = {
    "expand_dense": "expand_dense",
    "expand_dense_latent_grad": "expand_dense",
    "expand_dense_sharing_grad": "expand_dense",
    "expand_kronecker": "expand_kronecker",
    "expand_kronecker_backward": "expand_kronecker",
    "conv2d": "share_conv2d",
    "conv2d_input_grad": "share_conv2d",
    "conv2d_weight_grad": "share_conv2d",
    "conv_relu_linear": "conv_relu_linear",
    "conv_relu_linear_backward": "conv_relu_linear",
    "contract": "share_linear",
    "contract_input_grad": "share_linear",
    "contract_sharing_grad": "share_linear",
    "linear": "share_linear",
    "linear_input_grad": "share_linear",
    "linear_weight_grad": "share_linear",
}


def _why_absent() -> str | None:
    if torch.version.cuda is None:
        return "this torch was built without CUDA"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    return None


absent = _why_absent()


@torch.compiler.assume_constant_result
def _capability(device: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def why_not(tensor: Tensor) -> str | None:
    """Why the kernels do not serve a tensor's device, or None."""
    if not tensor.is_cuda:
        return f"no compiled kernel for {tensor.device.type}"
    if absent is not None:
        return f"no Triton kernel: {absent}"
    if _capability(tensor.get_device()) < (8, 0):
        return "Triton kernels need compute capability 8.0"
    return None


def _launch(operator: str) -> Callable[..., Any]:
    def launch(*args: Any) -> Any:
        module = importlib.import_module(f"{__name__}.{OPERATORS[operator]}")
        with torch.cuda.device_of(args[0]):
            return getattr(module, operator)(*args)

    return launch


def register(library: torch.library.Library) -> None:
    """Make the launchers the operators' CUDA implementation, for as long as the library lives."""
    for operator in OPERATORS:
        library.impl(operator, _launch(operator))


if backend.kernels_loaded and absent is None:
    _library = torch.library.Library("rotfast", "IMPL", "CUDA")
    register(_library)
