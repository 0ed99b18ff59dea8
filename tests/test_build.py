"""What the build decides: what the backend asks for, when CUDA is compiled, what is rebuilt."""

import ast
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import pytest
import torch

from rotfast import backend as choice

ROOT = Path(__file__).resolve().parent.parent
compiled = pytest.mark.skipif(not choice.kernels_loaded, reason=f"no extension: {choice.extension_error}")


def load(path):
    spec = importlib.util.spec_from_file_location(f"build_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # setuptools' own
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def backend():
    pytest.importorskip("setuptools", minversion="77.0.3")
    return load(ROOT / "build_backend" / "backend.py")


@pytest.fixture
def recipe():
    pytest.importorskip("setuptools", minversion="77.0.3")
    return load(ROOT / "setup.py")


@pytest.mark.parametrize(
    ("version", "requirements"),
    [
        pytest.param(None, ["torch>=2.11"], id="absent"),
        pytest.param("2.9.1+cu128", ["torch>=2.11"], id="too-old"),
        pytest.param("2.11.0", [], id="oldest"),
        pytest.param("2.15.0+cu132", [], id="newer"),
        pytest.param("3.0.0a0+git1234567", [], id="from-source"),
    ],
)
def test_torch_is_asked_for_only_when_the_target_lacks_it(backend, monkeypatch, version, requirements):
    monkeypatch.setattr(backend, "_target", lambda: (version, ["/target/site-packages"]))
    assert backend.get_requires_for_build_editable() == requirements
    assert backend.get_requires_for_build_wheel() == requirements


@pytest.mark.parametrize("version", [None, "2.13.0"], ids=["absent", "present"])
def test_the_targets_import_path_comes_last(backend, monkeypatch, version):
    monkeypatch.setattr(backend, "_target", lambda: (version, ["/target/site-packages", sys.path[-1]]))
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = list(sys.path)
    backend._show_target()
    assert sys.path == before + ([] if version is None else ["/target/site-packages"])


def test_the_probe_sees_the_interpreter_and_not_the_isolated_environment(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    version, path = backend._target()
    assert version == importlib.metadata.version("torch")  # which may leave out what stands behind a plus
    assert str(tmp_path) not in path


NVCC = "#!/bin/sh\necho 'Cuda compilation tools, release {}, V{}.48'\n"


def toolkit(folder, version):
    nvcc = folder / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(NVCC.format(version, version))
    nvcc.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("torch_cuda", "release", "sources", "reason"),
    [
        pytest.param("13.0", "13.2", ["x.cu"], None, id="possible"),
        pytest.param(None, "13.0", ["x.cu"], "this torch was built without CUDA", id="cpu-torch"),
        pytest.param("13.0", None, ["x.cu"], "no CUDA toolkit was found (set CUDA_HOME)", id="no-toolkit"),
        pytest.param("12.8", "13.0", ["x.cu"], "torch was built with CUDA 12.8, but", id="other-major"),
        pytest.param("13.0", "13.0", [], "there are no CUDA sources", id="no-sources"),
    ],
)
def test_why_cuda_is_left_out(recipe, tmp_path, torch_cuda, release, sources, reason):
    home = None if release is None else toolkit(tmp_path / "cuda", release)
    answer = recipe.why_no_cuda(sources, torch_cuda, home)
    assert answer == reason if reason is None else answer.startswith(reason)


def test_cuda_can_be_declined(recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("ROTFAST_CUDA", "0")
    assert recipe.why_no_cuda(["x.cu"], "13.0", toolkit(tmp_path, "13.0")) == "ROTFAST_CUDA=0"


def test_a_wrong_cuda_home_is_named(recipe, tmp_path):
    assert (
        recipe.why_no_cuda(["x.cu"], "13.0", tmp_path)
        == f"{tmp_path} holds no bin/nvcc (is CUDA_HOME right?)"
    )


def test_the_toolkit_behind_a_wrapper_script_is_found(recipe, monkeypatch, tmp_path):
    real = tmp_path / "toolkit"
    real.mkdir()
    wrapper = tmp_path / "bin" / "nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text(f"#!/bin/sh\necho '#$ TOP={real}/bin/..' >&2\n")
    wrapper.chmod(0o755)
    (real / "bin").mkdir()
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setenv("PATH", str(wrapper.parent), prepend=":")
    assert recipe.toolkit() == real


@compiled
def test_build_information_is_what_the_stub_declares():
    from rotfast import _C

    stub = ast.parse((ROOT / "rotfast" / "_C.pyi").read_text())
    declared = next(node for node in stub.body if isinstance(node, ast.ClassDef))
    assert list(_C.build_info()) == [field.target.id for field in declared.body]
    assert (_C.build_info()["cuda"] is None) == (_C.build_info()["no_cuda_reason"] is not None)


@compiled
def test_an_object_is_rebuilt_for_its_own_headers_only():
    tag = f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}-torch{torch.__version__}"
    folder = ROOT / "build" / f"temp.{tag}"
    ninja = shutil.which("ninja") or pytest.importorskip("ninja").BIN_DIR + "/ninja"
    if not (folder / "build.ninja").exists():
        pytest.skip("the extension was not built in this checkout")
    listing = subprocess.run([ninja, "-C", folder, "-t", "deps"], capture_output=True, text=True, check=True)
    needed = {}
    for block in listing.stdout.split("\n\n"):
        head, *lines = block.strip().splitlines() or [""]
        needed[head.partition(":")[0]] = {line.strip() for line in lines}
    kronecker = needed[str(folder / "csrc" / "expand_kronecker" / "cpu.o")]
    dense = needed[str(folder / "csrc" / "expand_dense" / "cpu.o")]
    header = str(ROOT / "csrc" / "expand_kronecker" / "expand_kronecker.h")
    assert header in kronecker
    assert header not in dense
