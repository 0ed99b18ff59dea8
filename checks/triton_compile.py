"""Compiles the Triton kernels for sm_80 and sm_90 without a GPU, as their launchers launch them.

Fails on stack or local memory (spilled registers), on more shared memory than a program can have, and where
registers or shared memory differ from benchmarks/results/kernels/triton.json, which ``--write`` renews.
"""

import argparse
import importlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction
from triton_kernels import kernels, label

from rotfast.ops.triton import OPERATORS

TABLE = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "kernels" / "triton.json"
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
ARCHITECTURES = (80, 90)
SHARED_LIMIT = 99 * 1024  # of compute capability 8.6 and 8.9, the least since 8.0
# float32 as the default has it, then with torch.set_float32_matmul_precision("high").
FORMATS = {
    "float32": (torch.float32, "highest"),
    "tf32": (torch.float32, "high"),
    "bfloat16": (torch.bfloat16, "highest"),
    "float16": (torch.float16, "highest"),
    "float64": (torch.float64, "highest"),
}
# Calls of the operators on shapes of the studies: a tuple of numbers stands for a tensor.
SUMS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "expand_dense": (((216320, 3), (3,)), ((216320, 3), (32, 3)), ((4760, 30), (32, 30))),
    "expand_dense_latent_grad": (((216320, 3), (216320,), False), ((4760, 30), (32, 4760), True)),
    "expand_dense_sharing_grad": (((216320,), (3,), False), ((32, 4760), (32, 30), False)),
}
PLAIN = ([1, 1], [0, 0], [1, 1], 1)
CIRCUIT = ((32, 20, 1, 28, 28), (32, 32, 1, 3, 3), (32, 32), (32, 10, 21632))
# Those with matrix products, which TF32 changes.
PRODUCTS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "expand_kronecker": (
        ((32, 1, 9), (32, 32), (1, 1), (9, 9)),
        ((32, 100, 3, 9), (100, 100), (3, 3), (9, 9)),
    ),
    "expand_kronecker_backward": (
        ((32, 1, 9), (32, 1, 9), (32, 32), (1, 1), (9, 9)),
        ((32, 100, 3, 9), (32, 100, 3, 9), (100, 100), (3, 3), (9, 9)),
    ),
    "conv2d": (
        ((1024, 1, 28, 28), (32, 1, 3, 3), (32,), *PLAIN),
        ((32, 20, 1, 28, 28), (32, 32, 1, 3, 3), (32, 32), *PLAIN),
        ((32, 3, 32, 32), (100, 3, 3, 3), None, *PLAIN),
        ((32, 6, 32, 32), (64, 6, 3, 3), None, [2, 2], [1, 1], [1, 1], 1),
    ),
    "conv2d_input_grad": (
        ((32, 64, 16, 16), (64, 6, 3, 3), [32, 6, 32, 32], [2, 2], [1, 1], [1, 1], 1),
        ((32, 20, 32, 26, 26), (32, 32, 1, 3, 3), [20, 1, 28, 28], *PLAIN),
    ),
    "conv2d_weight_grad": (
        ((1024, 1, 28, 28), (1024, 32, 26, 26), [32, 1, 3, 3], *PLAIN),
        ((32, 20, 1, 28, 28), (32, 20, 32, 26, 26), [32, 32, 1, 3, 3], *PLAIN),
        ((32, 6, 32, 32), (32, 64, 16, 16), [64, 6, 3, 3], [2, 2], [1, 1], [1, 1], 1),
    ),
    "conv_relu_linear": (
        ((1024, 1, 28, 28), (32, 1, 3, 3), (32,), (10, 21632), (10,), *PLAIN[:3]),
        (*CIRCUIT, (32, 10), *PLAIN[:3]),
    ),
    "conv_relu_linear_backward": (((32, 20, 10), *CIRCUIT, *PLAIN[:3], True, True, True),),
    "contract": (((19, 21632), (216320, 3)),),
    "contract_input_grad": (((19, 30), (216320, 3)),),
    "contract_sharing_grad": (((19, 30), (19, 21632), 3),),
    "linear": (
        ((19, 21632), (10, 21632), (10,)),
        ((1024, 21632), (10, 21632), (10,)),
        ((5, 95, 21632), (5, 10, 21632), (5, 10)),
    ),
    "linear_input_grad": (((1024, 10), (10, 21632), False), ((5, 95, 10), (5, 10, 21632), True)),
    "linear_weight_grad": (((1024, 10), (1024, 21632), False), ((5, 95, 10), (5, 95, 21632), True)),
}


def compiled_by(call: Callable[[], Any], architecture: int) -> list[tuple[str, Any]]:
    """The kernels that a launcher launches, by name, compiled for a device that is not there."""
    launched = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, **kwargs: Any) -> None:
        launched.append((label(self.fn), run(self, *args, **{**kwargs, "warmup": True})))

    target = GPUTarget("cuda", architecture, 32)
    triton.runtime.driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: target,
            get_current_device=lambda: architecture,  # kernels are cached by device
            get_current_stream=lambda device: 0,
        )
    )
    JITFunction.run = compile_only
    try:
        call()
    finally:
        JITFunction.run = run
    return launched


def resources(kernel: Any) -> dict[str, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(kernel.asm["cubin"])
        cubin.flush()
        answer = subprocess.run(
            [CUOBJDUMP, "-res-usage", cubin.name], capture_output=True, text=True, check=True
        )
    usage = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", answer.stdout)}
    return {
        "registers": usage["REG"],
        "shared": kernel.metadata.shared,
        "spilled": usage["STACK"] + usage["LOCAL"],
    }


def argument(value: Any, dtype: torch.dtype) -> Any:
    return torch.empty(value, dtype=dtype) if isinstance(value, tuple) else value


def shapes(case: tuple[Any, ...]) -> str:
    return " ".join("x".join(map(str, a)) for a in case if isinstance(a, tuple))


def table() -> tuple[dict[str, dict[str, int]], set[str]]:
    """Resources of every kernel, by operator, shapes, number format, architecture and kernel; which ran."""
    rows, reached = {}, set()
    for operator, cases in {**SUMS, **PRODUCTS}.items():
        launcher = getattr(importlib.import_module(f"rotfast.ops.triton.{OPERATORS[operator]}"), operator)
        for case in cases:
            for name, (dtype, precision) in FORMATS.items():
                if name == "tf32" and operator in SUMS:
                    continue
                torch.set_float32_matmul_precision(precision)
                arguments = [argument(value, dtype) for value in case]
                for architecture in ARCHITECTURES:
                    for kernel, compiled in compiled_by(lambda: launcher(*arguments), architecture):  # noqa: B023
                        reached.add(kernel)
                        row = (
                            f"{operator}, {shapes(case)}, {name}, sm_{architecture}, {compiled.metadata.name}"
                        )
                        rows[row] = resources(compiled)
    return rows, reached


def main() -> int:
    """Compile, compare, report; 1 where a kernel spills or the table does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    write = parser.parse_args().write
    rows, reached = table()
    missing = sorted({*OPERATORS, *kernels()} - {*SUMS, *PRODUCTS, *reached})
    spilled = [row for row, used in rows.items() if used["spilled"]]
    large = [row for row, used in rows.items() if used["shared"] > SHARED_LIMIT]
    if write:
        lines = ",\n".join(f"{json.dumps(row)}: {json.dumps(used)}" for row, used in rows.items())
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(f'{{"triton": "{triton.__version__}", "kernels": {{\n{lines}\n}}}}\n')
    known = json.loads(TABLE.read_text())
    changed = [
        f"{row}: {known['kernels'].get(row)} in the table, now {rows.get(row)}"
        for row in {**known["kernels"], **rows}
        if known["kernels"].get(row) != rows.get(row)
    ]
    for line in (
        *(f"{name}: nothing here compiles it" for name in missing),
        *(f"{row}: spills registers, {rows[row]}" for row in spilled),
        *(f"{row}: more shared memory than there is, {rows[row]}" for row in large),
        *changed,
    ):
        print(line)
    if changed:
        print(f"The table is of Triton {known['triton']}, this is {triton.__version__}. --write renews it.")
    print(f"{len(rows)} Triton kernels compiled for sm_80 and sm_90, {len(spilled)} of them spill")
    return 1 if missing or spilled or large or changed else 0


if __name__ == "__main__":
    sys.exit(main())
