"""Every CUDA and Triton kernel on small odd shapes, against the CPU's: what compute-sanitizer watches."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rotfast import backend, doctor
from rotfast.testing import assert_close

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(not backend.kernels_loaded, reason="needs the compiled extension"),
]
GEOMETRY = ([2, 1], [1, 2], [1, 2], 1)
TURN = torch.tensor([0.8, -0.7, 3.1, 0.6, 0.9, -1.2], dtype=torch.float64).reshape(1, 1, 2, 3)
# Arguments of each operator; a tuple stands for a tensor of float32.
CALLS: dict[str, tuple[Any, ...]] = {
    "expand_dense": ((521, 3), (5, 3)),
    "expand_dense_latent_grad": ((521, 3), (5, 521), True),
    "expand_dense_sharing_grad": ((5, 521), (5, 3), False),
    "expand_kronecker": ((7, 3, 9), (19, 7), (2, 3), (9, 9)),
    "expand_kronecker_backward": ((3, 19, 2, 9), (3, 7, 3, 9), (19, 7), (2, 3), (9, 9)),
    "conv2d": ((3, 2, 2, 9, 11), (5, 2, 3, 2), (5,), *GEOMETRY),
    "conv2d_input_grad": ((3, 5, 5, 13), (5, 2, 3, 2), [3, 2, 9, 11], *GEOMETRY),
    "conv2d_weight_grad": ((3, 2, 9, 11), (3, 5, 5, 13), [5, 2, 3, 2], *GEOMETRY),
    "conv_relu_linear": ((3, 2, 2, 9, 11), (5, 2, 3, 2), (3, 5), (7, 325), (7,), *GEOMETRY[:3]),
    "conv_relu_linear_backward": (
        *((3, 2, 7), (2, 2, 9, 11), (3, 5, 2, 3, 2), (5,), (3, 7, 325)),
        *(*GEOMETRY[:3], True, False, True),
    ),
    "contract": ((19, 1033), (5165, 3)),
    "contract_input_grad": ((19, 15), (5165, 3)),
    "contract_sharing_grad": ((19, 15), (19, 1033), 3),
    "linear": ((3, 19, 77), (3, 10, 77), (3, 10)),
    "linear_input_grad": ((3, 19, 10), (10, 77), True),
    "linear_weight_grad": ((19, 10), (19, 1033), False),
    "rotate90": ((3, 2, 37, 37), torch.tensor([[1, -2], [7, 0], [3, 2]])),
    "rotate90_all": ((2, 3, 5, 5),),
    "rotation_matrix": (torch.linspace(-200, 200, 7, dtype=torch.float64), 2.0, 3.0, 2.5, 3.5),
}
for kind in range(3):
    for padding in range(3):
        modes, matrix = (kind, padding, [0, 0]), TURN.expand(2, 3, 2, 3)
        channels = torch.tensor([0.2, 0.5, 0.7], dtype=torch.float64)
        CALLS |= {
            f"affine-{kind}{padding}": ((2, 3, 9, 7), matrix, channels, None, None, [8, 35], *modes),
            f"affine-normalised-{kind}{padding}": (
                *(torch.arange(2 * 3 * 9 * 7, dtype=torch.uint8).reshape(2, 3, 9, 7), matrix),
                *(channels, channels, channels + 1, [8, 35], *modes),
            ),
            f"affine_image_grad-{kind}{padding}": ((2, 3, 3, 8, 35), matrix, [9, 7], *modes),
            f"affine_matrix_grad-{kind}{padding}": ((2, 3, 3, 8, 35), (2, 3, 9, 7), matrix, channels, *modes),
        }


def run(name: str, arguments: list[Any]) -> list[Tensor]:
    result = getattr(torch.ops.rotfast, name.partition("-")[0])(*arguments)
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("name", CALLS)
def test_kernel(name: str) -> None:
    here = [torch.randn(a) if isinstance(a, tuple) else a for a in CALLS[name]]
    there = [a.cuda() if isinstance(a, Tensor) else a for a in here]
    actual = run(name, there)
    for a, again, expected in zip(actual, run(name, there), run(name, here), strict=True):
        assert torch.equal(a, again)
        if a.dtype == torch.float64 and "matrix_grad" in name:  # sums in float64 of products in float32
            torch.testing.assert_close(a.cpu(), expected, rtol=1e-4, atol=1e-3)
        else:
            assert_close(a.cpu(), expected)


def test_every_operator_with_a_kernel_is_called() -> None:
    with_kernel = {name for name in doctor.operators() if doctor.why_no_kernel(name, "CUDA") is None}
    assert with_kernel == {name.partition("-")[0] for name in CALLS}
