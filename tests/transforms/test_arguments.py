"""Arguments: what is accepted, what is refused and in which words, what is shown and kept."""

import copy
import enum
import inspect
import pickle

import pytest
import torch

from rotfast.transforms import Compose, RandomAffine, RandomPerspective, RandomRotation


class Mode(enum.Enum):
    BICUBIC = "bicubic"
    NEAREST_EXACT = "nearest-exact"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (RandomRotation, ["degrees", "interpolation", "expand", "center", "fill"]),
        (RandomAffine, ["degrees", "translate", "scale", "shear", "interpolation", "fill", "center"]),
        (RandomPerspective, ["distortion_scale", "p", "interpolation", "fill"]),
    ],
)
def test_positional_arguments_are_those_of_torchvision(kind, names):
    parameters = inspect.signature(kind).parameters.values()
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == names


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: RandomRotation(-1),
            ValueError,
            r"degrees must be a number from 0 up or \(low, high\), got -1",
        ),
        (lambda: RandomRotation(float("nan")), ValueError, "degrees must be .*, got nan"),
        (lambda: RandomRotation((30, 10)), ValueError, r"degrees must be .*, got \(30, 10\)"),
        (lambda: RandomRotation((1, 2, 3)), ValueError, r"degrees must be .*, got \(1, 2, 3\)"),
        (lambda: RandomRotation((0, float("inf"))), ValueError, r"degrees must be .*, got \(0, inf\)"),
        (lambda: RandomRotation("30"), TypeError, "degrees must be .*, got '30'"),
        (lambda: RandomRotation(True), TypeError, "degrees must be .*, got True"),
        (
            lambda: RandomRotation(5, "linear"),
            ValueError,
            "interpolation must be one of nearest, bilinear, bicubic, got 'linear'",
        ),
        (lambda: RandomRotation(5, Mode.NEAREST_EXACT), ValueError, "interpolation must be .*, got <Mode"),
        (lambda: RandomRotation(5, expand=1), TypeError, "expand must be a bool, got 1"),
        (
            lambda: RandomRotation(5, center=(1,)),
            ValueError,
            r"center must be two numbers \(x, y\), got \(1,\)",
        ),
        (lambda: RandomRotation(5, center=3), TypeError, r"center must be two numbers \(x, y\), got 3"),
        (
            lambda: RandomRotation(5, expand=True, center=(1, 2)),
            ValueError,
            r"center must be None with expand=True, got \(1, 2\)",
        ),
        (lambda: RandomRotation(5, fill="0"), TypeError, "fill must be a number or one per channel, got '0'"),
        (lambda: RandomRotation(5, fill=()), ValueError, r"fill must be .*, got \(\)"),
        (
            lambda: RandomRotation(5, padding_mode="zeros"),
            ValueError,
            "padding_mode must be one of constant, border, reflection, got 'zeros'",
        ),
        (lambda: RandomRotation(5, p=1.5), ValueError, "p must be a number from 0 to 1, got 1.5"),
        (lambda: RandomRotation(5, p="x"), TypeError, "p must be a number from 0 to 1, got 'x'"),
        (lambda: RandomRotation(5, same_on_batch=None), TypeError, "same_on_batch must be a bool, got None"),
        (
            lambda: RandomRotation(5, generator=7),
            TypeError,
            "generator must be a torch.Generator or None, got int",
        ),
        (lambda: RandomRotation(5, mean="0"), TypeError, "mean must be a number or one per channel, got '0'"),
        (lambda: RandomRotation(5, std=(0.5, "1")), ValueError, r"std must be .*, got \(0.5, '1'\)"),
        (lambda: RandomAffine(5, 0.1), TypeError, "translate must be two numbers from 0 to 1, got 0.1"),
        (lambda: RandomAffine(5, (0.1, 1.1)), ValueError, r"translate must be .*, got \(0.1, 1.1\)"),
        (
            lambda: RandomAffine(5, scale=(0, 1)),
            ValueError,
            r"scale must be two positive numbers \(low, high\), got \(0, 1\)",
        ),
        (lambda: RandomAffine(5, scale=(2, 1)), ValueError, r"scale must be .*, got \(2, 1\)"),
        (
            lambda: RandomAffine(5, shear=(1, 2, 3)),
            ValueError,
            r"shear must be a number from 0 up, \(low, high\), or four numbers, got \(1, 2, 3\)",
        ),
        (
            lambda: RandomAffine(5, shear=(1, 2, 4, 3)),
            ValueError,
            r"shear must be four numbers \(low, high, low, high\), got \(1, 2, 4, 3\)",
        ),
        (
            lambda: RandomPerspective(1.5),
            ValueError,
            "distortion_scale must be a number from 0 to 1, got 1.5",
        ),
        (
            lambda: Compose([RandomRotation(5), torch.nn.Identity()]),
            TypeError,
            "transforms must be random transforms of rotfast, got Identity",
        ),
        (
            lambda: Compose(RandomRotation(5)),
            TypeError,
            "transforms must be a sequence, got RandomRotation",
        ),
    ],
)
def test_bad_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1]}, TypeError, "x must be a Tensor, got list"),
        ({"x": torch.rand(5, 5)}, ValueError, r"x must be \(C, H, W\) or \(N, C, H, W\), got shape \(5, 5\)"),
        ({"masks": 3}, TypeError, "masks must be a Tensor, got int"),
        (
            {"masks": torch.zeros(6, 12, 16)},
            ValueError,
            r"masks must be \(6, 12, 17\) or \(6, M, 12, 17\), got shape \(6, 12, 16\)",
        ),
        ({"masks": torch.zeros(5, 12, 17)}, ValueError, r"masks must be .*, got shape \(5, 12, 17\)"),
        ({"boxes": torch.zeros(6, 4)}, ValueError, r"boxes must be \(6, M, 4\), got shape \(6, 4\)"),
        (
            {"boxes": torch.zeros(6, 1, 4).int()},
            TypeError,
            "boxes must be a floating-point Tensor, got torch.int",
        ),
        ({"keypoints": [0]}, TypeError, "keypoints must be a floating-point Tensor, got list"),
        (
            {"keypoints": torch.zeros(6, 1, 3)},
            ValueError,
            r"keypoints must be \(6, M, 2\), got shape \(6, 1, 3\)",
        ),
        ({"keypoints": torch.zeros(5, 1, 2)}, ValueError, r"keypoints must be .*, got shape \(5, 1, 2\)"),
    ],
)
def test_bad_inputs(x, arguments, error, message):
    with pytest.raises(error, match=message):
        RandomRotation(5)(**({"x": x} | arguments))


def test_bad_images_to_sample(make_any):
    with pytest.raises(TypeError, match="x must be a Tensor, got int"):
        make_any().sample(5)
    with pytest.raises(ValueError, match=r"x must be .*, got shape \(5, 5\)"):
        make_any().sample(torch.rand(5, 5))


def test_bad_parameters(make, x):
    other = (RandomAffine if isinstance(make(), RandomRotation) else RandomRotation)(5)
    name = type(make().sample(x)).__name__
    with pytest.raises(TypeError, match=f"params must be {name}, got {type(other.sample(x)).__name__}"):
        make()(x, params=other.sample(x))
    with pytest.raises(ValueError, match="params must be for 6 images, got 4"):
        make()(x, params=make().sample(x[:4]))
    with pytest.raises(TypeError, match=f"params must be {name}, got NoneType"):
        make().inverse(x, None)


def test_bad_composed_parameters(x):
    both = Compose([RandomRotation(5), RandomAffine(5)])
    with pytest.raises(ValueError, match="params must be 2, one for each transform, got 1"):
        both(x, params=both.sample(x)[:1])
    with pytest.raises(TypeError, match="params must be a tuple, got Tensor"):
        both(x, params=torch.zeros(2))
    with pytest.raises(TypeError, match="params must be RotationParams, got AffineParams"):
        both(x, params=both.sample(x)[::-1])


def test_fill_and_moments_must_fit_the_channels(x):
    with pytest.raises(ValueError, match="fill must be"):
        RandomRotation(5, fill=(1, 2))(x)
    with pytest.raises(ValueError, match="mean must be"):
        RandomRotation(5, mean=(0.5, 0.5), std=1)(x)


@pytest.mark.parametrize("mode", ["bicubic", Mode.BICUBIC])
def test_modes_are_strings_or_members_with_such_a_value(mode):
    assert RandomRotation(5, mode).interpolation == "bicubic"


@pytest.mark.parametrize("image", [torch.uint8, torch.int64])
def test_integer_images(x, image):
    images = (x * 255).to(image)
    if image == torch.uint8:
        assert RandomRotation(5)(images).dtype == torch.uint8
        assert RandomRotation(5, mean=0.5, std=0.5)(images).dtype == torch.float32
    else:
        with pytest.raises(TypeError, match="x must be"):
            RandomRotation(5)(images)


def test_repr_shows_what_is_not_the_default():
    assert repr(RandomRotation(30)) == "RandomRotation(degrees=(-30.0, 30.0))"
    assert repr(RandomRotation((0, 90), "bilinear", expand=True, fill=(1, 2), p=0.5)) == (
        "RandomRotation(degrees=(0.0, 90.0), interpolation='bilinear', expand=True, fill=(1.0, 2.0), p=0.5)"
    )
    assert repr(RandomAffine(0, (0.1, 0.2), shear=5, mean=0.5, std=0.25)) == (
        "RandomAffine(degrees=(-0.0, 0.0), translate=(0.1, 0.2), shear=(-5.0, 5.0), mean=0.5, std=0.25)"
    )
    assert repr(RandomPerspective()) == "RandomPerspective()"
    assert "(1): RandomPerspective(p=1.0)" in repr(Compose([RandomRotation(5), RandomPerspective(p=1)]))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies_draw_what_the_original_draws(make_any, clone, x):
    transform = make_any(generator=torch.Generator().manual_seed(9))
    transform(x)
    other = clone(transform)
    expected = transform(x)
    assert torch.equal(other(x), expected)
    params = transform.sample(x)
    assert torch.equal(other(x, params=clone(params)), transform(x, params=params))


def test_nothing_is_learned_or_saved(make_any):
    assert not list(make_any().parameters())
    assert not make_any().state_dict()
