"""Where the Triton kernels run: on a GPU, or interpreted on the CPU in a process of its own."""

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    triton = pytest.importorskip("triton", reason="needs Triton")
    if triton.knobs.runtime.interpret:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1 in a process of its own")
    return torch.device("cuda")
