"""Builds rotfast._C: CPU kernels always, CUDA kernels where torch and the toolkit allow it.

Variables: ROTFAST_CUDA=0 leaves CUDA out, ROTFAST_CUDA=1 makes its absence an error; TORCH_CUDA_ARCH_LIST,
MAX_JOBS, CXX and CFLAGS mean what they mean to torch and setuptools (CFLAGS=-march=native compiles for this
machine only).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
# LibTorch stable ABI of torch 2.11: one binary for this and every later torch; ATen cannot be included.
STABLE_ABI = ["-DTORCH_TARGET_VERSION=0x020b000000000000"]
COMMON = ["-std=c++20", "-O3", *STABLE_ABI]
CXX_FLAGS = [
    *(*COMMON, "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"),
    # psabi: vectors are passed only between functions that are inlined into each other.
    *("-Wall", "-Wextra", "-Wno-psabi"),
    "-g0",  # Python's own flags ask for debug information: a third of the time, most of the file
]
NVCC_FLAGS = [*COMMON, "-DUSE_CUDA"]
# Where no GPU is visible there is nothing to ask: A100 and H100, and newer ones through PTX.
DEFAULT_ARCHITECTURES = "8.0;9.0+PTX"


def say(text: str) -> None:
    print(f"rotfast: {text}", file=sys.stderr, flush=True)


def toolkit() -> Path | None:
    """The CUDA toolkit's folder; nvcc is asked for it, as the one on PATH may be a wrapper script."""
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if named:
        return Path(named)
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None:
        return None
    dryrun = subprocess.run([nvcc, "--dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True)
    top = re.search(r"^#\$ TOP=(.+)$", dryrun.stderr, re.MULTILINE)
    return Path(top[1]).resolve() if top else None


def toolkit_version(home: Path) -> str:
    answer = subprocess.run([home / "bin" / "nvcc", "--version"], capture_output=True, text=True, check=True)
    release = re.search(r"release (\d+\.\d+)", answer.stdout)
    assert release is not None, answer.stdout
    return release[1]


def why_no_cuda(sources: list[str], torch_cuda: str | None, home: Path | None) -> str | None:
    """Why CUDA kernels cannot be compiled here, or None."""
    if os.environ.get("ROTFAST_CUDA") == "0":
        return "ROTFAST_CUDA=0"
    if torch_cuda is None:
        return "this torch was built without CUDA"
    if home is None:
        return "no CUDA toolkit was found (set CUDA_HOME)"
    if not (home / "bin" / "nvcc").exists():
        return f"{home} holds no bin/nvcc (is CUDA_HOME right?)"
    version = toolkit_version(home)
    if version.split(".")[0] != torch_cuda.split(".")[0]:
        return f"torch was built with CUDA {torch_cuda}, but the toolkit in {home} is {version}"
    if not sources:
        return "there are no CUDA sources"
    return None


def with_pybind11(torch_headers: list[str]) -> list[str]:
    """Torch's pybind11 if it has one: an isolated build's moves each time, and ninja would start over."""
    if any((Path(path) / "pybind11").is_dir() for path in torch_headers):
        return torch_headers
    import pybind11

    return [pybind11.get_include(), *torch_headers]


def extension() -> Extension:
    try:
        import torch
    except ImportError as error:
        raise SystemExit(
            f"rotfast: a build without isolation needs torch>=2.11 installed first ({error})"
        ) from None

    home = toolkit()
    cpu = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/**/*.cpp"))
    cuda = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/**/*.cu"))
    reason = why_no_cuda(cuda, torch.version.cuda, home)
    if reason is not None and os.environ.get("ROTFAST_CUDA") == "1":
        raise SystemExit(f"rotfast: ROTFAST_CUDA=1, but CUDA kernels cannot be compiled: {reason}")
    if reason is None:
        # torch guesses the toolkit while it is imported, and the architectures from the visible GPUs.
        os.environ["CUDA_HOME"] = str(home)
        if torch.cuda.device_count() == 0:
            os.environ.setdefault("TORCH_CUDA_ARCH_LIST", DEFAULT_ARCHITECTURES)

    from torch.utils import cpp_extension

    torch_headers = cpp_extension.include_paths()
    system = [f"-isystem{path}" for path in with_pybind11(torch_headers)]  # their warnings are not ours
    flags = {"cxx": [*CXX_FLAGS, *system], "nvcc": NVCC_FLAGS}
    own = [str(ROOT / "csrc")]
    say(f"torch {torch.__version__} at {Path(torch.__file__).parent}")
    say(f"CPU kernels: yes ({len(cpu)} files)")
    if reason is not None:
        say(f"CUDA kernels: no, {reason}")
        flags["cxx"].append(f'-DROTFAST_NO_CUDA_REASON="{reason}"')
        return cpp_extension.CppExtension(
            "rotfast._C", cpu, include_dirs=own, extra_compile_args={"cxx": flags["cxx"]}
        )
    architectures = " ".join(
        sorted({flag.rpartition("code=")[2] for flag in cpp_extension._get_cuda_arch_flags()})
    )
    say(f"CUDA kernels: yes ({len(cuda)} files), toolkit {home}, for {architectures}")
    flags["cxx"] += ["-DUSE_CUDA", f'-DROTFAST_CUDA_ARCHITECTURES="{architectures}"']
    return cpp_extension.CUDAExtension("rotfast._C", cpu + cuda, include_dirs=own, extra_compile_args=flags)


def build_extension() -> dict[str, object]:
    """What setup() needs to compile: the extension and torch's builder, which is only then imported."""
    ext = extension()
    import torch
    from torch.utils.cpp_extension import BuildExtension, get_cxx_compiler

    class Build(BuildExtension):
        def finalize_options(self) -> None:
            super().finalize_options()
            # An editable install hands over a throw-away folder; in a lasting one ninja compiles only what
            # changed.
            tag = f"{self.plat_name}-{sys.implementation.cache_tag}-torch{torch.__version__}"
            self.build_temp = str(ROOT / "build" / f"temp.{tag}")

        def build_extensions(self) -> None:
            compiler = get_cxx_compiler().split()[0]
            if shutil.which(compiler) is None:
                raise SystemExit(
                    f"rotfast: no C++ compiler: {compiler!r} is not on PATH (install g++, or set CXX)"
                )
            try:
                super().build_extensions()
            except RuntimeError as error:
                raise SystemExit(
                    f"rotfast: the extension did not compile, see the messages above ({error})"
                ) from None

    return {"ext_modules": [ext], "cmdclass": {"build_ext": Build}}


def put_ninja_on_path() -> None:
    """pip run by its path (.venv/bin/pip) leaves the scripts beside it off PATH."""
    try:
        import ninja
    except ImportError:
        return
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), ninja.BIN_DIR])


if __name__ == "__main__":
    if {"egg_info", "dist_info", "sdist"} & set(sys.argv):
        setup()  # nothing is compiled, so torch need not be there
    else:
        put_ninja_on_path()
        setup(**build_extension())
