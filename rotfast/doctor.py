"""What is installed, which kernels are compiled, and why one is absent: what ``rotfast doctor`` prints."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable

import numpy as np
import torch

import rotfast
from rotfast import backend
from rotfast.ops import triton

__all__ = ["operators", "report", "why_no_kernel"]

_DEVICES = ("CPU", "CUDA")


def operators() -> list[str]:
    """Names of the compiled operators, those of derivatives included, as registered with torch.

    Returns:
        Sorted names without the ``rotfast::`` in front; empty where the extension did not load.

    Example:
        >>> all(torch._C._dispatch_has_kernel(f"rotfast::{name}") for name in operators())
        True
    """
    prefix = "rotfast::"
    names = torch._C._dispatch_get_all_op_names()
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def why_no_kernel(operator: str, device: str) -> str | None:
    """Why a compiled operator has no kernel for a device type, or None where it has one.

    Args:
        operator: one of `operators()`.
        device: ``"CPU"`` or ``"CUDA"``.

    Returns:
        The reason in words.

    Raises:
        ValueError: the operator or the device type is unknown.

    Example:
        >>> why_no_kernel("rotate_everything", "CPU")
        Traceback (most recent call last):
        ...
        ValueError: operator must be a compiled operator of rotfast, got 'rotate_everything'
    """
    if device not in _DEVICES:
        raise ValueError(f"device must be one of {', '.join(_DEVICES)}, got {device!r}")
    if operator not in operators():
        raise ValueError(f"operator must be a compiled operator of rotfast, got {operator!r}")
    if torch._C._dispatch_has_kernel_for_dispatch_key(f"rotfast::{operator}", device):
        return None
    if device == "CUDA":
        from rotfast import _C

        reason = _C.build_info()["no_cuda_reason"]
        if operator in triton.OPERATORS and torch.version.cuda is not None:
            return f"{triton.absent}, and they are Triton kernels; such tensors take torch's own operators"
        if reason is not None:
            return f"not compiled: {reason}"
    return "none is written; such tensors take torch's own operators"


def report() -> str:
    """Versions, build, devices and kernels of this installation, one fact a line.

    Returns:
        Text for a terminal; it ends without a newline.

    Example:
        >>> print(report().splitlines()[0])  # doctest: +ELLIPSIS
        rotfast  ...
    """
    facts = [*_versions(), *_build(), *_machine()]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name:<{width}}  {value}" for name, value in facts]
    return "\n".join([*lines, "", *_kernels()])


def _versions() -> list[tuple[str, str]]:
    return [
        ("rotfast", rotfast.__version__),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("torch", f"{torch.__version__} (CUDA {torch.version.cuda or 'absent'})"),
        ("triton", _installed("triton") or "absent"),
        ("numpy", np.__version__),
    ]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _build() -> list[tuple[str, str]]:
    reason = backend.why_not_compiled()
    chosen = ("backend", "compiled kernels" if reason is None else f"PyTorch reference: {reason}")
    if not backend.kernels_loaded:
        return [chosen]
    from rotfast import _C

    info = _C.build_info()
    cuda = f"CUDA {info['cuda']}" if info["cuda"] else "no CUDA"
    return [
        chosen,
        ("extension", str(_C.__file__)),
        ("built with", f"torch {info['torch']}, {info['compiler']}, {cuda}"),
        ("GPU code", ", ".join(info["cuda_architectures"]) or f"none: {info['no_cuda_reason']}"),
        ("instructions", info["instruction_set"]),
    ]


def _machine() -> list[tuple[str, str]]:
    devices = [f"cuda:{index} {_gpu(index)}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [
        ("CUDA toolkit", _toolkit()),
        ("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors"),
        ("devices", ", ".join(["cpu", *devices])),
    ]


def _gpu(index: int) -> str:
    major, minor = torch.cuda.get_device_capability(index)
    return f"{torch.cuda.get_device_name(index)} (sm_{major}{minor})"


def _toolkit() -> str:
    """Version and place of the nvcc that a build would find."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which(os.path.join(home, "bin", "nvcc") if home else "nvcc")
    if nvcc is None:
        return f"absent (CUDA_HOME={home})" if home else "absent (no nvcc on PATH, CUDA_HOME is not set)"
    answer = subprocess.run([nvcc, "--version"], capture_output=True, text=True)
    release = re.search(r"release (\S+),", answer.stdout)
    return f"{release[1]} ({nvcc})" if release else f"{nvcc} does not answer --version"


def _kernels() -> list[str]:
    names = operators()
    if not names:
        return [f"no compiled operators: {backend.why_not_compiled()}"]
    reasons = {(name, device): why_no_kernel(name, device) for name in names for device in _DEVICES}
    width = max(map(len, names))
    lines = [f"{'operator':<{width}}  {'  '.join(_DEVICES)}"]
    for name in names:
        cells = (_kind(name, device, reasons[name, device]).ljust(len(device)) for device in _DEVICES)
        lines.append(f"{name:<{width}}  {'  '.join(cells)}".rstrip())
    for device in _DEVICES:
        lines += _absences(device, {name: reasons[name, device] for name in names}.items())
    return lines


def _kind(operator: str, device: str, reason: str | None) -> str:
    """What an operator's kernel is written in, or no."""
    if reason is not None:
        return "no"
    return "Triton" if device == "CUDA" and operator in triton.OPERATORS else "C++"


def _absences(device: str, reasons: Iterable[tuple[str, str | None]]) -> list[str]:
    """One line for each reason, with the operators it holds for."""
    grouped: dict[str, list[str]] = {}
    for name, reason in reasons:
        if reason is not None:
            grouped.setdefault(reason, []).append(name)
    everything = len(operators())
    return [
        f"{device} kernels absent ({'all' if len(names) == everything else ', '.join(names)}): {reason}"
        for reason, names in grouped.items()
    ]
