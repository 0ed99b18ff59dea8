"""Compiles every CUDA source for sm_80 and sm_90, without a GPU and against any torch's headers.

Fails on spilled registers and local memory, and where registers or shared memory differ from
benchmarks/results/kernels/nvcc.json, which ``--write`` renews; a table of another nvcc is not compared.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "benchmarks" / "results" / "kernels" / "nvcc.json"
ARCHITECTURES = (80, 90)
FLAGS = (
    *("-std=c++20", "-O3", "-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020b000000000000"),
    *("-Xptxas", "-v,-warn-spills", "-Xcompiler", "-fPIC,-Wall", "-Werror", "all-warnings"),
)
# What ptxas says of a kernel, in this order.
KERNEL = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")

Rows = dict[str, dict[str, int]]


def compiler() -> str | None:
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def version(nvcc: str) -> str:
    answer = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True)
    release = re.search(r"V(\d+\.\d+\.\d+)", answer.stdout)
    assert release is not None, answer.stdout
    return release[1]


def compiled(nvcc: str, source: Path) -> str:
    """What the compilers say; they stop the check where they fail."""
    headers = Path(torch.__file__).parent / "include"
    targets = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in ARCHITECTURES]
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, "-isystem", str(headers), "-Icsrc", *targets]
        answer = subprocess.run(
            [*command, "-c", str(source), "-o", f"{folder}/out.o"], cwd=ROOT, capture_output=True, text=True
        )
    if answer.returncode != 0:
        said = [line for line in (answer.stdout + answer.stderr).splitlines() if "ptxas info" not in line]
        raise SystemExit("\n".join([f"nvcc: {source} does not compile", *said]))
    return answer.stdout + answer.stderr


def resources(report: str) -> dict[tuple[str, str], dict[str, int]]:
    """Registers, shared memory and spilled bytes by mangled name and architecture."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    kernel, spilled = None, 0
    for line in report.splitlines():
        if (match := KERNEL.search(line)) is not None:
            kernel = match[1], match[2]
        elif (match := STACK.search(line)) is not None:
            spilled = sum(map(int, match.groups()))
        elif kernel is not None and (match := USED.search(line)) is not None:
            shared = SHARED.search(line)
            found[kernel] = {
                "registers": int(match[1]),
                "shared": int(shared[1]) if shared else 0,
                "spilled": spilled,
            }
            kernel = None
    return found


def readable(mangled: Iterable[str]) -> dict[str, str]:
    """Kernels' names without namespaces and parameters, as ``resample_tiles<1, 0, float, float>``."""
    names = list(mangled)
    answer = subprocess.run(["c++filt", *names], capture_output=True, text=True, check=True)
    plain = (
        re.sub(r"rotfast::|\(anonymous namespace\)::|_GLOBAL__N__\w+::", "", n)
        for n in answer.stdout.split("\n")
    )
    casts = (re.sub(r"\((?:Interpolation|Padding|int)\)(?=\d)", "", name) for name in plain)
    return dict(zip(names, (re.sub(r"^void |\(.*\)$", "", name) for name in casts), strict=False))


def table(nvcc: str, sources: Sequence[Path]) -> Rows:
    """Resources of every kernel, by source, architecture and kernel."""
    rows: Rows = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reports = pool.map(partial(compiled, nvcc), sources)
    for source, report in zip(sources, reports, strict=True):
        found = resources(report)
        names = readable({mangled for mangled, _ in found})
        of_source = {f"{source}, sm_{sm}, {names[mangled]}": used for (mangled, sm), used in found.items()}
        assert len(of_source) == len(found), f"{source}: two kernels have one name"
        print(f"nvcc: {source}, {len(of_source)} kernels", flush=True)
        rows |= dict(sorted(of_source.items()))
    return rows


def differences(known: Rows, rows: Rows) -> list[str]:
    return [
        f"{row}: {known.get(row)} in the table, now {rows.get(row)}"
        for row in {**known, **rows}
        if known.get(row) != rows.get(row)
    ]


def main() -> int:
    """Compile, compare, report; 1 where a kernel spills or the table does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    write = parser.parse_args().write
    sources = sorted(path.relative_to(ROOT) for path in ROOT.glob("csrc/**/*.cu"))
    nvcc = compiler()
    if nvcc is None:
        print(f"nvcc: skipped {len(sources)} CUDA sources, no nvcc on this machine")
        return 0
    rows, release = table(nvcc, sources), version(nvcc)
    if write:
        lines = ",\n".join(f"{json.dumps(row)}: {json.dumps(used)}" for row, used in rows.items())
        TABLE.write_text(f'{{"nvcc": "{release}", "kernels": {{\n{lines}\n}}}}\n')
    known = json.loads(TABLE.read_text())
    spilled = [f"{row}: spills registers, {used}" for row, used in rows.items() if used["spilled"]]
    changed = differences(known["kernels"], rows) if known["nvcc"] == release else []
    print("\n".join([*spilled, *changed]), end="\n" if spilled or changed else "")
    if known["nvcc"] != release:
        print(f"The table is of nvcc {known['nvcc']}, this is {release}: they are not compared.")
    elif changed:
        print("Registers or shared memory changed. --write renews the table.")
    print(f"{len(rows)} CUDA kernels compiled for sm_80 and sm_90, {len(spilled)} of them spill")
    return 1 if spilled or changed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
