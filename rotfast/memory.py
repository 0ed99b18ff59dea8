"""Keeping freed memory in the process."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_BLOCK = 1 << 30  # bytes: blocks up to this size stay in the heap
_HEAP = (1 << 31) - 1  # bytes: the heap's free end stays up to this size


def keep_freed_memory() -> bool:
    """Ask the C allocator to keep freed memory for the next step instead of returning it to the system.

    Every training step frees its intermediates. By default glibc hands large ones back, and the next step
    pays a page fault for each 4 KB it takes again: up to half the time of a meta-learning step on a CPU.
    After this call the process stays at its highest memory use. It concerns CPU tensors only and all code in
    the process, so importing rotfast does not do it; ``rotfast train`` does.

    Returns:
        Whether the allocator understood; False where it is not glibc's.

    Example:
        >>> import rotfast
        >>> kept = rotfast.keep_freed_memory()
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _BLOCK)) and bool(mallopt(_M_TRIM_THRESHOLD, _HEAP))
