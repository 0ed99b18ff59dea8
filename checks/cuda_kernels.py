"""Which compiled operators have a CUDA kernel; that none has is an error."""

import sys

from rotfast import doctor


def main() -> int:
    """Print the operators' CUDA kernels; 1 where none was compiled."""
    reasons = {name: doctor.why_no_kernel(name, "CUDA") for name in doctor.operators()}
    for name, reason in reasons.items():
        print(f"{name}: {'CUDA kernel' if reason is None else reason}")
    return 0 if None in reasons.values() else 1


if __name__ == "__main__":
    sys.exit(main())
