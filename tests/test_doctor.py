import re

import pytest
import torch

import rotfast
from rotfast import backend, doctor
from rotfast.ops import triton

compiled = pytest.mark.skipif(not backend.kernels_loaded, reason=f"no extension: {backend.extension_error}")


def test_report_names_versions_and_devices():
    text = doctor.report()
    for pattern in (
        rf"rotfast +{rotfast.__version__}\n",
        rf"torch +{re.escape(torch.__version__)} ",
        r"triton +\S+",
        r"CUDA toolkit +\S+",
        r"threads +\d+ of \d+ processors",
        r"devices +cpu",
    ):
        assert re.search(pattern, text), pattern


@compiled
def test_report_lists_every_registered_operator():
    assert "expand_kronecker" in doctor.operators()
    for name in doctor.operators():
        assert re.search(rf"^{name} +C\+\+ +(C\+\+|Triton|no)$", doctor.report(), re.MULTILINE)


@compiled
def test_report_says_why_there_are_no_cuda_kernels():
    if torch.version.cuda is not None:
        pytest.skip("this torch has CUDA")
    assert doctor.why_no_kernel("expand_kronecker", "CPU") is None
    assert (
        doctor.why_no_kernel("expand_kronecker", "CUDA") == "not compiled: this torch was built without CUDA"
    )
    assert "CUDA kernels absent (all): not compiled: this torch was built without CUDA" in doctor.report()


@compiled
def test_a_torch_with_cuda_and_no_triton_is_told_what_triton_is_for(monkeypatch):
    if torch.version.cuda is not None:
        pytest.skip("this torch may have kernels")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(triton, "absent", "Triton is not installed")
    reason = "Triton is not installed, and they are Triton kernels; such tensors take torch's own operators"
    assert {doctor.why_no_kernel(name, "CUDA") for name in triton.OPERATORS} == {reason}
    assert doctor.why_no_kernel("rotate90", "CUDA") == "not compiled: this torch was built without CUDA"


@compiled
def test_report_tells_triton_from_compiled_kernels(monkeypatch):
    monkeypatch.setattr(doctor, "why_no_kernel", lambda operator, device: None)
    assert re.search(r"^linear +C\+\+  Triton$", doctor.report(), re.MULTILINE)
    assert re.search(r"^rotate90 +C\+\+  C\+\+$", doctor.report(), re.MULTILINE)


@compiled
def test_report_groups_the_operators_that_lack_a_kernel(monkeypatch):
    def why(operator, device):
        return "none is written" if (operator, device) == ("expand_dense", "CUDA") else None

    monkeypatch.setattr(doctor, "why_no_kernel", why)
    assert "CUDA kernels absent (expand_dense): none is written" in doctor.report()


def test_report_without_the_extension(monkeypatch):
    monkeypatch.setattr(backend, "kernels_loaded", False)
    monkeypatch.setattr(backend, "reference_forced", False)
    monkeypatch.setattr(backend, "extension_error", "No module named 'rotfast._C'")
    monkeypatch.setattr(doctor, "operators", list)
    text = doctor.report()
    assert "PyTorch reference: the extension rotfast._C did not load: No module named 'rotfast._C'" in text
    assert "no compiled operators" in text


def test_report_with_the_reference_forced(monkeypatch):
    monkeypatch.setattr(backend, "reference_forced", True)
    assert "PyTorch reference: ROTFAST_BACKEND=reference" in doctor.report()


def test_report_on_a_toolkit_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    assert re.search(r"CUDA toolkit +absent \(CUDA_HOME=/nowhere\)", doctor.report())


@compiled
def test_unknown_device_and_operator_are_named():
    with pytest.raises(ValueError, match="device must be one of CPU, CUDA, got 'TPU'"):
        doctor.why_no_kernel("expand_kronecker", "TPU")
    with pytest.raises(ValueError, match="operator must be a compiled operator of rotfast, got 'conv9d'"):
        doctor.why_no_kernel("conv9d", "CPU")
