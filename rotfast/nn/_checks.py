"""Checks of constructor arguments that several layers share."""


def check_positive(**sizes: object) -> None:
    """Raise unless each size is an int of at least one."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be a positive int, got {size!r}")


def check_bool(**flags: object) -> None:
    """Raise unless each flag is a bool."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be a bool, got {flag!r}")


def check_kernel_size(kernel_size: object) -> None:
    """Raise unless the kernel size is a positive int or a pair of them."""
    pair = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or not all(isinstance(k, int) and k > 0 for k in pair)
    ):
        raise ValueError(f"kernel_size must be a positive int or a pair of them, got {kernel_size!r}")
