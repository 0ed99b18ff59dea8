"""Runs the tests of the Triton kernels on the CPU, interpreted, and fails where they leave something out.

Every kernel has to be launched, every operator's launcher called, and no test skipped but those of a GPU.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are decorated

import pytest
from triton.runtime.interpreter import InterpretedFunction
from triton_kernels import kernels, label, modules

from rotfast.ops.triton import OPERATORS


class Watch:
    """Notes what tests launch, call and skip."""

    def __init__(self) -> None:
        self.launched: set[str] = set()
        self.called: set[str] = set()
        self.skipped: list[str] = []

    def start(self) -> None:
        """Look on whenever a kernel runs and whenever a launcher is called."""
        run = InterpretedFunction.run

        def watched_run(kernel: Any, *args: Any, **kwargs: Any) -> Any:
            self.launched.add(label(kernel.fn))
            return run(kernel, *args, **kwargs)

        InterpretedFunction.run = watched_run
        for module in modules():
            for operator in OPERATORS:
                if hasattr(module, operator):
                    setattr(module, operator, self._watched(operator, getattr(module, operator)))

    def _watched(self, operator: str, launcher: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            self.called.add(operator)
            return launcher(*args)

        return watched

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and "cuda" not in report.keywords:
            self.skipped.append(f"{report.nodeid}: {report.longrepr}")


def main() -> int:
    """Run the tests; 1 where one fails or something is left out."""
    watch = Watch()
    watch.start()
    status = pytest.main(["-q", "tests/ops/triton", *sys.argv[1:]], plugins=[watch])
    left_out = [
        *(f"{name}: no test launches this kernel" for name in sorted(kernels() - watch.launched)),
        *(f"{name}: no test calls this operator" for name in sorted(set(OPERATORS) - watch.called)),
        *(f"skipped: {test}" for test in watch.skipped),
    ]
    print("\n".join(left_out), end="\n" if left_out else "")
    print(f"{len(watch.launched)} Triton kernels of {len(watch.called)} operators interpreted")
    return 1 if status or left_out else 0


if __name__ == "__main__":
    sys.exit(main())
