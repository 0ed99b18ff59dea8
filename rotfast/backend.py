"""Which backend a call takes, and why: the compiled kernels or the plain PyTorch reference.

``ROTFAST_BACKEND=reference`` sends every call to the reference; ``ROTFAST_LOG=debug`` logs each distinct
choice once. Both are read when rotfast is imported.
"""

import functools
import importlib
import logging
import os

import torch
from torch import Tensor

log = logging.getLogger("rotfast")

_CHOICES = ("auto", "reference")


def _requested() -> str:
    choice = os.environ.get("ROTFAST_BACKEND", "auto")
    if choice not in _CHOICES:
        raise ValueError(f"ROTFAST_BACKEND must be one of {', '.join(_CHOICES)}, got {choice!r}")
    return choice


def _load_extension() -> str | None:
    """Register the compiled operators; return why that failed, or None."""
    try:
        importlib.import_module("rotfast._C")
    except ImportError as error:
        return str(error)
    return None


_debug = os.environ.get("ROTFAST_LOG", "").lower() == "debug"
if _debug:
    logging.basicConfig()
    log.setLevel(logging.DEBUG)

reference_forced = _requested() == "reference"
extension_error = _load_extension()
kernels_loaded = extension_error is None
if not kernels_loaded and not reference_forced:
    log.warning("compiled kernels are missing, plain PyTorch is used instead: %s", extension_error)


def _compiled_for_cuda() -> frozenset[str]:
    """The operators with a CUDA kernel in the extension."""
    return frozenset(
        name.removeprefix("rotfast::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("rotfast::") and torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA")
    )


# Asked once: torch.compile cannot follow the question.
_on_cuda = _compiled_for_cuda()


def why_not_compiled() -> str | None:
    """Why no compiled kernel can run in this process, or None."""
    if reference_forced:
        return "ROTFAST_BACKEND=reference"
    if not kernels_loaded:
        return f"the extension rotfast._C did not load: {extension_error}"
    return None


def why_no_kernel(operator: str, tensor: Tensor) -> str | None:
    """Why no compiled kernel of an operator serves a tensor's device, or None."""
    if (reason := why_not_compiled()) is not None:
        return reason
    if tensor.is_cpu or (tensor.is_cuda and operator in _on_cuda):
        return None
    return f"no kernel for {tensor.device.type}"


@functools.lru_cache(maxsize=512)
def _explain(operator: str, backend: str, reason: str) -> None:
    log.debug("%s: %s (%s)", operator, backend, reason)


def explain(operator: str, backend: str, reason: str) -> None:
    """Log a choice the first time it is made; not while torch.compile traces, which would split the graph."""
    if _debug and not torch.compiler.is_compiling():
        _explain(operator, backend, reason)
