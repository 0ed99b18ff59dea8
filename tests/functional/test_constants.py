"""Numbers of the caller on a device: copied, but written by kernels where a CUDA graph is made."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from rotfast.functional import _constants

VALUES = (1.5, -2.0, float("inf"), 0.1)


def test_both_ways_give_the_same() -> None:
    cpu = torch.device("cpu")
    expected = torch.tensor(VALUES, dtype=torch.float64)
    assert torch.equal(_constants.constants(VALUES, cpu), expected)
    assert torch.equal(_constants.written(VALUES, cpu), expected)


def test_nothing_is_copied_into_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(*values: object, **how: object) -> None:
        raise AssertionError("a copy from the host")

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(torch, "tensor", copied)
    with FakeTensorMode():
        result = _constants.constants(VALUES, torch.device("cuda"))
    assert (result.shape, result.device.type, result.dtype) == ((4,), "cuda", torch.float64)
