"""What is drawn: distributions, p, same_on_batch, and where the randomness comes from."""

import math

import pytest
import torch

from rotfast.transforms import Compose, RandomAffine, RandomPerspective, RandomRotation

N = 20_000
MANY = torch.zeros(1, 1, 1, 1).expand(N, 1, 20, 10)


def assert_uniform(values, low, high):
    """Within the bounds, and the distribution function nowhere further off than at the 0.1 % level."""
    values = values.double().sort().values
    assert low <= values[0] <= values[-1] <= high
    steps = torch.arange(N, dtype=torch.float64) / N
    expected = (values - low) / (high - low)
    distance = torch.maximum(expected - steps, steps + 1 / N - expected).max()
    assert distance < 1.95 / math.sqrt(N)


@pytest.mark.parametrize(("degrees", "low", "high"), [(30, -30, 30), ((-10, 40.5), -10, 40.5)])
@pytest.mark.parametrize("kind", [RandomRotation, RandomAffine])
def test_angles_are_uniform(kind, degrees, low, high):
    assert_uniform(kind(degrees).sample(MANY).angle, low, high)


def test_a_range_of_one_angle_gives_that_angle():
    assert torch.equal(RandomRotation((90, 90)).sample(MANY).angle, torch.full((N,), 90.0))


def test_affine_parameters_are_uniform_and_independent():
    params = RandomAffine(10, (0.3, 0.1), (0.5, 1.5), (1, 5, -8, -2)).sample(MANY)
    columns = {
        (-10, 10): params.angle,
        (-0.3, 0.3): params.translate[:, 0],
        (-0.1, 0.1): params.translate[:, 1],
        (0.5, 1.5): params.scale,
        (1, 5): params.shear[:, 0],
        (-8, -2): params.shear[:, 1],
    }
    for (low, high), values in columns.items():
        assert_uniform(values, low, high)
    correlation = torch.corrcoef(torch.stack([*columns.values()]))
    assert (correlation - torch.eye(6)).abs().max() < 4 / math.sqrt(N)


@pytest.mark.parametrize(("shear", "low", "high"), [(20, -20, 20), ((5, 8), 5, 8)])
def test_shear_of_one_range_is_along_x(shear, low, high):
    params = RandomAffine(0, shear=shear).sample(MANY)
    assert_uniform(params.shear[:, 0], low, high)
    assert not params.shear[:, 1].any()


def test_affine_draws_nothing_by_default():
    params = RandomAffine(0).sample(MANY)
    assert not params.angle.any()
    assert not params.translate.any()
    assert not params.shear.any()
    assert (params.scale == 1).all()


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_corners_move_inwards_uniformly(scale):
    inward = RandomPerspective(scale, p=1.0).sample(MANY).inward
    for corner in range(4):
        for axis in range(2):
            assert_uniform(inward[:, corner, axis], 0, scale / 2)


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_a_share_p_of_the_images_is_transformed(make, p):
    applied = make(p=p).sample(MANY).applied
    spread = math.sqrt(p * (1 - p) / N)
    assert abs(applied.double().mean().item() - p) <= 4 * spread


def test_samples_not_drawn_change_nothing(make):
    params = make(p=0.5).sample(MANY)
    neutral = make(p=0.0).sample(MANY)
    for values, still in zip(params, neutral, strict=True):
        assert torch.equal(values[~params.applied], still[~params.applied])
        moved = values[params.applied] != still[params.applied]
        assert moved.flatten(1).any(1).all() if values.dim() > 1 else moved.all()


def test_one_draw_for_the_batch(make, x):
    transform = make(same_on_batch=True)
    params = transform.sample(x)
    assert all(torch.equal(values, values[:1].expand_as(values)) for values in params)
    same = transform(x[:1].expand_as(x), params=params)
    assert torch.equal(same, same[:1].expand_as(same))
    assert not torch.equal(transform.sample(x)[1], params[1])
    shares = [make(same_on_batch=True, p=0.5).sample(x).applied.double().mean().item() for _ in range(20)]
    assert set(shares) == {0.0, 1.0}


def test_images_of_a_batch_get_parameters_of_their_own(make, x):
    for values in make().sample(x)[1:]:
        assert len(values.unique(dim=0)) == len(x)


def test_one_image_draws_one_row(make, x):
    assert {len(values) for values in make().sample(x[0])} == {1}
    assert make()(x[0]).shape == x[0].shape


def test_an_empty_batch(make, x):
    params = make().sample(x[:0])
    assert {len(values) for values in params} == {0}
    assert make()(x[:0], params=params).shape == x[:0].shape


def test_a_seed_gives_the_same_batches_on_any_number_of_threads(make_any, threads):
    x = torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    batches = []
    for count in (1, 2):
        threads(count)
        transform = make_any(generator=torch.Generator().manual_seed(5))
        batches.append([transform(x), transform(x)])
    assert torch.equal(batches[0][0], batches[1][0])
    assert torch.equal(batches[0][1], batches[1][1])
    assert not torch.equal(batches[0][0], batches[0][1])


def test_without_a_generator_the_global_seed_counts(make_any, x):
    torch.manual_seed(3)
    first = make_any()(x)
    torch.manual_seed(3)
    assert torch.equal(make_any()(x), first)


def test_a_generator_leaves_the_global_one_alone(make_any, x):
    before = torch.get_rng_state()
    make_any(generator=torch.Generator())(x)
    assert torch.equal(torch.get_rng_state(), before)


def test_sampling_looks_at_the_shape_only(make, x):
    drawn = [make(generator=torch.Generator().manual_seed(2)).sample(image) for image in (x, x.byte() * 0)]
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))


def test_parameters_are_float32_whatever_the_default(make, x):
    torch.set_default_dtype(torch.float64)
    try:
        params = make().sample(x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {values.dtype for values in params} == {torch.bool, torch.float32}


def test_composed_parameters_are_a_tuple_of_each(x):
    params = Compose([RandomRotation(5), Compose([RandomAffine(5)])]).sample(x)
    assert [type(step).__name__ for step in params] == ["RotationParams", "tuple"]


@pytest.mark.cuda
def test_drawing_happens_on_the_generators_device(make):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    x = torch.rand(6, 3, 12, 17)
    on_host = make(generator=torch.Generator().manual_seed(5))
    on_device = make(generator=torch.Generator("cuda").manual_seed(5))
    expected = make(generator=torch.Generator().manual_seed(5)).sample(x)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(on_host.sample(x.cuda()), expected, strict=True))
    assert {values.device.type for values in on_device.sample(x)} == {"cpu"}
    assert on_device(x.cuda()).device.type == "cuda"
