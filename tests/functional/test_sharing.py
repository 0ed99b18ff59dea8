"""Bad arguments of the public functions: the error names the argument, what was expected and what came."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rotfast import functional
from rotfast.functional import circuits, sharing

FUNCTIONS: dict[str, dict[str, tuple[int, ...]]] = {
    "expand_kronecker": {"weight": (3, 2, 4), "A": (5, 3), "B": (2, 2), "C": (3, 4)},
    "expand_dense": {"U": (7, 3), "v": (3,)},
    "share_conv2d": {
        "weight": (4, 2, 3, 2),
        "x": (2, 2, 5, 6),
        "A": (4, 4),
        "B": (2, 2),
        "C": (6, 6),
        "bias": (4,),
    },
    "share_conv2d_full": {"U": (48, 3), "x": (2, 2, 5, 6), "v": (3,), "bias": (4,)},
    "share_linear": {"U": (15, 3), "x": (2, 5), "v": (3,), "bias": (3,)},
    "conv_relu_linear": {
        "kernel": (4, 2, 3, 2),
        "x": (2, 2, 5, 6),
        "kernel_bias": (4,),
        "weight": (7, 60),
        "bias": (7,),
    },
    "conv_relu_share_linear": {
        "kernel": (4, 2, 3, 2),
        "x": (2, 2, 5, 6),
        "kernel_bias": (4,),
        "U": (420, 3),
        "v": (3,),
        "bias": (7,),
    },
}
OPTIONS: dict[str, dict[str, Any]] = {"share_conv2d_full": {"weight_shape": (4, 2, 3, 2)}}
CONVOLUTIONS = ["share_conv2d", "share_conv2d_full", "conv_relu_linear", "conv_relu_share_linear"]
ARGUMENTS = [(function, argument) for function, shapes in FUNCTIONS.items() for argument in shapes]
# The first argument of each function is the one whose dtype and device the others must have.
FOLLOWERS = [(function, argument) for function, shapes in FUNCTIONS.items() for argument in list(shapes)[1:]]


def arguments(function: str, **shapes: tuple[int, ...]) -> dict[str, Any]:
    tensors = {name: torch.randn(shape) for name, shape in (FUNCTIONS[function] | shapes).items()}
    return tensors | OPTIONS.get(function, {})


def run(function: str, **changes: Any) -> Tensor:
    call: Callable[..., Tensor] = getattr(functional, function)
    return call(**(arguments(function) | changes))


def run_shapes(function: str, **shapes: tuple[int, ...]) -> Tensor:
    return run(function, **{name: torch.randn(shape) for name, shape in shapes.items()})


def test_every_public_function_is_here() -> None:
    assert sorted(FUNCTIONS) == sorted([*sharing.__all__, *circuits.__all__])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_arguments_are_right_before_they_are_changed(function: str) -> None:
    assert run(function).isfinite().all()


@pytest.mark.parametrize(("function", "argument"), ARGUMENTS)
def test_no_tensor(function: str, argument: str) -> None:
    with pytest.raises(TypeError, match=f"^{argument} must be a Tensor, got list$"):
        run(function, **{argument: [1.0]})


@pytest.mark.parametrize(("function", "argument"), ARGUMENTS)
def test_integers(function: str, argument: str) -> None:
    integers = torch.ones(FUNCTIONS[function][argument], dtype=torch.int64)
    with pytest.raises(TypeError, match=rf"^{argument} must have a floating-point dtype, got torch\.int64$"):
        run(function, **{argument: integers})


@pytest.mark.parametrize(("function", "argument"), FOLLOWERS)
def test_another_dtype(function: str, argument: str) -> None:
    anchor = next(iter(FUNCTIONS[function]))
    double = torch.randn(FUNCTIONS[function][argument], dtype=torch.float64)
    message = rf"^{argument} must have the dtype of {anchor} \(torch\.float32\), got torch\.float64$"
    with pytest.raises(TypeError, match=message):
        run(function, **{argument: double})


@pytest.mark.parametrize(("function", "argument"), FOLLOWERS)
def test_another_device(function: str, argument: str) -> None:
    anchor = next(iter(FUNCTIONS[function]))
    elsewhere = torch.empty(FUNCTIONS[function][argument], device="meta")
    message = rf"^{argument} must be on the device of {anchor} \(cpu\), got meta$"
    with pytest.raises(ValueError, match=message):
        run(function, **{argument: elsewhere})


@pytest.mark.parametrize(
    "function", [name for name in FUNCTIONS if not name.startswith("expand")], ids=lambda name: name
)
def test_autocast_casts_the_data_but_does_not_move_them(function: str) -> None:
    x = torch.randn(FUNCTIONS[function]["x"])
    anchor = next(iter(FUNCTIONS[function]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run(function, x=x.half()).dtype == torch.bfloat16
        with pytest.raises(ValueError, match=f"^x must be on the device of {anchor}"):
            run(function, x=x.to("meta"))
        with pytest.raises(TypeError, match=f"^x must have the dtype of {anchor}"):
            run(function, x=x.double())


@pytest.mark.parametrize(("function", "argument"), [pair for pair in ARGUMENTS if pair[0] != "share_linear"])
@pytest.mark.parametrize("extra", [-2, 2])
def test_rank(function: str, argument: str, extra: int) -> None:
    shape = FUNCTIONS[function][argument]
    wrong = (1, 1, *shape) if extra > 0 else shape[2:]
    with pytest.raises(ValueError, match=rf"^{argument} must be .*, got shape"):
        run_shapes(function, **{argument: wrong})


@pytest.mark.parametrize(
    ("argument", "shape"), [("U", (15,)), ("U", (1, 1, 15, 3)), ("v", ()), ("v", (1, 1, 3)), ("bias", ())]
)
def test_rank_for_share_linear(argument: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"^{argument} must be .*, got shape"):
        run_shapes("share_linear", **{argument: shape})


@pytest.mark.parametrize(
    ("function", "shapes", "message"),
    [
        ("expand_kronecker", {"A": (5, 4)}, r"A must have shape \(\*, 3\) to act on dimension P .* \(5, 4\)"),
        ("expand_kronecker", {"B": (2, 3)}, r"B must have shape \(\*, 2\) to act on dimension Q .* \(2, 3\)"),
        ("expand_kronecker", {"C": (4, 3)}, r"C must have shape \(\*, 4\) to act on dimension L .* \(4, 3\)"),
        ("share_conv2d", {"A": (5, 4)}, r"A must have shape \(4, 4\) to act on the output .* \(5, 4\)"),
        ("share_conv2d", {"B": (2, 3)}, r"B must have shape \(2, 2\) to act on the input .* \(2, 3\)"),
        ("share_conv2d", {"C": (3, 9, 9)}, r"C must have shape \(6, 6\) to act on the kernel .* \(9, 9\)"),
        ("expand_dense", {"v": (4,)}, "v must have the 3 columns of U, got 4"),
        ("share_conv2d_full", {"v": (2, 4)}, "v must have the 3 columns of U, got 4"),
        ("share_conv2d_full", {"U": (47, 3)}, r"U must have 48 rows for weight_shape .*, got 47"),
        ("share_linear", {"v": (1,)}, "v must have the 3 columns of U, got 1"),
        ("share_linear", {"x": (2, 4)}, "x must have a last dimension that divides the 15 rows of U, got 4"),
        ("share_linear", {"x": (2, 0)}, "x must have a last dimension that divides the 15 rows of U, got 0"),
        ("share_linear", {"x": ()}, r"x must be \(\*, I\), got a scalar"),
        ("share_linear", {"bias": (5,)}, r"bias must be \(3,\) or \(T, 3\), got shape \(5,\)"),
        ("share_conv2d", {"bias": (2, 5)}, r"bias must be \(4,\) or \(T, 4\), got shape \(2, 5\)"),
        ("share_conv2d_full", {"bias": (1,)}, r"bias must be \(4,\) or \(T, 4\), got shape \(1,\)"),
        ("conv_relu_linear", {"kernel_bias": (7,)}, r"kernel_bias must be \(4,\) or \(T, 4\), got shape"),
        ("conv_relu_linear", {"bias": (4,)}, r"bias must be \(7,\) or \(T, 7\), got shape \(4,\)"),
        ("conv_relu_linear", {"weight": (7, 59)}, "weight must have 60 columns for these images, got 59"),
        (
            "conv_relu_share_linear",
            {"U": (419, 3)},
            "U must have a multiple of 60 rows for these images, got 419",
        ),
        ("conv_relu_share_linear", {"bias": (4,)}, r"bias must be \(7,\) or \(T, 7\), got shape \(4,\)"),
        ("share_conv2d", {"x": (2, 3, 5, 6)}, r"x must have 2 channels \(weight has 2, groups=1\), got 3"),
        ("share_conv2d_full", {"x": (3, 5, 6)}, r"x must have 2 channels \(weight_shape has 2, groups=1\)"),
        (
            "conv_relu_linear",
            {"x": (2, 1, 5, 6)},
            r"x must have 2 channels \(kernel has 2, groups=1\), got 1",
        ),
    ],
)
def test_sizes(function: str, shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        run_shapes(function, **shapes)


@pytest.mark.parametrize(
    ("function", "first", "second"),
    [
        ("expand_kronecker", "weight", "A"),
        ("expand_kronecker", "B", "C"),
        ("expand_dense", "U", "v"),
        ("share_conv2d", "x", "weight"),
        ("share_conv2d", "A", "bias"),
        ("share_conv2d_full", "x", "U"),
        ("share_conv2d_full", "v", "bias"),
        ("share_linear", "U", "v"),
        ("share_linear", "v", "bias"),
        ("conv_relu_linear", "x", "weight"),
        ("conv_relu_linear", "kernel_bias", "bias"),
        ("conv_relu_share_linear", "x", "v"),
        ("conv_relu_share_linear", "U", "bias"),
    ],
)
def test_tasks(function: str, first: str, second: str) -> None:
    shapes = FUNCTIONS[function]
    with pytest.raises(ValueError, match=f"^{second} must have the 3 tasks of {first}, got 2$"):
        run_shapes(function, **{first: (3, *shapes[first]), second: (2, *shapes[second])})


@pytest.mark.parametrize("x", [(5,), (2, 5), (2, 3, 5)])
def test_share_linear_needs_data_for_every_task(x: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^x must have 3 tasks in its first dimension, got shape"):
        run_shapes("share_linear", x=x, v=(3, 3))


@pytest.mark.parametrize("function", CONVOLUTIONS)
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("stride", 0, "stride must be at least 1, got 0"),
        ("stride", (1, 0), r"stride must be at least 1, got \(1, 0\)"),
        ("stride", (1, 1, 1), r"stride must be an int or a pair of ints, got \(1, 1, 1\)"),
        ("stride", 1.5, r"stride must be an int or a pair of ints, got 1\.5"),
        ("dilation", [2, 0], r"dilation must be at least 1, got \[2, 0\]"),
        ("dilation", (1.0, 1), r"dilation must be an int or a pair of ints, got \(1\.0, 1\)"),
        ("padding", -1, "padding must be at least 0, got -1"),
        ("padding", None, "padding must be an int or a pair of ints, got None"),
        ("padding", "full", "padding must be an int, a pair, 'same' or 'valid', got 'full'"),
    ],
)
def test_steps(function: str, option: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        run(function, **{option: value})


@pytest.mark.parametrize("function", CONVOLUTIONS)
def test_same_padding_has_no_stride(function: str) -> None:
    with pytest.raises(ValueError, match=r"^padding='same' needs stride 1, got \(2, 1\)$"):
        run(function, padding="same", stride=(2, 1))


@pytest.mark.parametrize("function", CONVOLUTIONS[:2])
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("padding_mode", "mirror", "padding_mode must be one of zeros, reflect, .*, got 'mirror'"),
        ("groups", 0, "groups must be a positive int, got 0"),
        ("groups", 2.0, r"groups must be a positive int, got 2\.0"),
        ("groups", 3, "groups must divide the 4 output channels of weight.*, got 3"),
        ("groups", 2, r"x must have 4 channels \(weight.* has 2, groups=2\), got 2"),
    ],
)
def test_options(function: str, option: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        run(function, **{option: value})


@pytest.mark.parametrize("function", CONVOLUTIONS)
def test_images_smaller_than_the_kernel(function: str) -> None:
    with pytest.raises(ValueError, match=r"^x must have a padded height of at least 3, the kernel's, got 2$"):
        run_shapes(function, x=(2, 2, 2, 6))
    with pytest.raises(ValueError, match=r"^x must have a padded width of at least 8, the kernel's, got 7$"):
        run(function, dilation=(1, 7), padding=(0, 1), x=torch.randn(2, 2, 5, 5))


@pytest.mark.parametrize("shape", [(4, 2, 3), (4, 2, 3, 0), (4.0, 2, 3, 2), 48, "4232"])
def test_weight_shape(shape: Any) -> None:
    with pytest.raises(ValueError, match=r"^weight_shape must be four positive ints \(O, I, kh, kw\), got "):
        run("share_conv2d_full", weight_shape=shape)


@pytest.mark.parametrize("function", CONVOLUTIONS)
def test_any_sequence_serves_as_a_pair(function: str) -> None:
    tensors = arguments(function)
    tensors["x"] = torch.randn(2, 2, 4, 5)
    steps = {"stride": torch.Size([1, 1]), "padding": range(2), "dilation": [1, 1]}
    shapes = {key: list(value) for key, value in OPTIONS.get(function, {}).items()}
    if function == "conv_relu_linear":
        tensors["weight"] = torch.randn(7, 4 * 2 * 6)
    if function == "conv_relu_share_linear":
        tensors["U"] = torch.randn(7 * 4 * 2 * 6, 3)
    call = getattr(functional, function)
    same = call(**tensors, stride=1, padding=(0, 1), dilation=1)
    assert torch.equal(call(**(tensors | shapes), **steps), same)
