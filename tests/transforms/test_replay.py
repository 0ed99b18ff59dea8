"""Applying: replay, inverse, images left alone, and what the operators are given."""

import pytest
import torch

import rotfast
from rotfast.transforms import Compose, RandomAffine, RandomPerspective, RandomRotation


def smooth(size, count=4):
    """Images without fine detail, which survive being resampled twice; 0 along the border."""
    y, x = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in size)
    window = (1 - y**2).square()[:, None] * (1 - x**2).square()
    phases = torch.arange(count)[:, None, None]
    return (window * (2 + torch.sin(3 * x + phases) * torch.cos(2 * y + phases)[..., 0, None])).unsqueeze(1)


def test_replay_is_exact(make_any, x):
    transform = make_any()
    params = transform.sample(x)
    y = transform(x, params=params)
    assert torch.equal(transform(x, params=params), y)
    assert not torch.equal(transform(x), y)


def test_a_call_samples_and_applies(make_any, x):
    first, second = (make_any(generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first(x), second(x, params=second.sample(x)))


def test_one_image_is_a_batch_of_one(make_any, x):
    transform = make_any()
    params = transform.sample(x[2])
    assert torch.equal(transform(x[2], params=params), transform(x[2:3], params=params)[0])
    assert torch.equal(transform.inverse(x[2], params), transform.inverse(x[2:3], params)[0])


def test_the_inverse_undoes_the_interior(make_any):
    images = smooth((60, 48))
    transform = make_any(generator=torch.Generator().manual_seed(0))
    params = transform.sample(images)
    moved = transform(images, params=params)
    restored = transform.inverse(moved, params)
    interior = (..., slice(20, 40), slice(16, 32))
    assert (restored - images)[interior].abs().max() < 0.05
    assert (moved - images)[interior].abs().max() > 0.2


def test_quarter_turns_come_back_bit_for_bit():
    x = torch.rand(5, 2, 9, 9)
    turn = RandomRotation((90, 90), "bicubic")
    params = turn.sample(x)
    y = turn(x, params=params)
    assert torch.equal(y, torch.rot90(x, 1, (-2, -1)))
    assert torch.equal(turn.inverse(y, params), x)


def test_the_inverse_takes_the_operators_options():
    x = torch.rand(2, 1, 8, 8)
    shift = RandomAffine(0, (0.5, 0.5), fill=7.0)
    params = shift.sample(x)._replace(translate=torch.tensor([[0.25, 0.0], [0.0, -0.5]]))
    y = shift(x, params=params)
    assert (y[0, 0, :, :2] == 7).all()
    assert (y[1, 0, 4:] == 7).all()
    back = shift.inverse(y, params)
    assert (back[0, 0, :, 6:] == 7).all()
    assert torch.equal(back[0, 0, :, :6], x[0, 0, :, :6])
    assert torch.equal(back[1, 0, 4:], x[1, 0, 4:])


def test_compose_inverts_backwards():
    x = torch.rand(3, 1, 11, 11)
    turn, shift = RandomRotation((90, 90)), RandomAffine(0, (0.3, 0.3))
    both = Compose([turn, shift])
    params = (turn.sample(x), shift.sample(x)._replace(translate=torch.full((3, 2), 2 / 11)))
    y = both(x, params=params)
    assert torch.equal(y[..., 2:, 2:], torch.rot90(x, 1, (-2, -1))[..., :-2, :-2])
    assert torch.equal(both.inverse(y, params)[..., :-2, 2:], x[..., :-2, 2:])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_not_drawn_come_back_bit_for_bit(make_any, dtype):
    x = (torch.rand(40, 3, 12, 17) * 255).to(dtype)
    transform = make_any(p=0.3, generator=torch.Generator().manual_seed(0))
    params = transform.sample(x)
    steps = params if isinstance(transform, Compose) else (params,)
    still = ~torch.stack([step.applied for step in steps]).any(0)
    assert 0 < still.sum() < len(x)
    y = transform(x, params=params)
    assert y.dtype == dtype
    assert torch.equal(y[still], x[still])
    assert (y != x).flatten(1).any(1)[~still].all()


def test_images_not_drawn_are_still_normalised(make):
    x = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    y = make(p=0.0, mean=mean, std=std)(x)
    expected = (x / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)


def test_the_inverse_of_a_normalising_transform_fills_with_the_mean():
    x = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    shift = RandomAffine(0, (0.5, 0.5), fill=51, mean=0.2, std=0.5)
    params = shift.sample(x)._replace(translate=torch.tensor([[0.5, 0.0]]))
    y = shift(x, params=params)
    assert y[0, 0, 0].tolist() == pytest.approx([0.0] * 4 + [1.6] * 4, abs=1e-6)
    assert shift.inverse(y, params)[0, 0, 0].tolist() == pytest.approx([1.6] * 4 + [0.0] * 4, abs=1e-6)


def test_rotation_is_rotate():
    x = torch.rand(5, 3, 9, 12)
    transform = RandomRotation(50, "bicubic", center=(2.0, 7.5), fill=(1, 2, 3), padding_mode="reflection")
    params = transform.sample(x)
    expected = rotfast.functional.rotate(
        x, params.angle, interpolation="bicubic", padding_mode="reflection", center=(2.0, 7.5), fill=(1, 2, 3)
    )
    assert torch.equal(transform(x, params=params), expected)


def test_affine_is_affine():
    x = torch.rand(5, 3, 9, 12, dtype=torch.float64)
    transform = RandomAffine(50, (0.2, 0.1), (0.5, 2), (-9, 9, -8, 8), "bilinear", 0.5, (3.0, 4.0))
    params = transform.sample(x)
    expected = rotfast.functional.affine(
        x,
        angle=params.angle,
        translate=params.translate.double() * torch.tensor([12, 9]),
        scale=params.scale,
        shear=params.shear,
        center=(3.0, 4.0),
        fill=0.5,
    )
    torch.testing.assert_close(transform(x, params=params), expected)


def test_an_angle_turns_the_same_way_in_both():
    x = torch.rand(3, 1, 9, 9)
    assert torch.equal(RandomAffine((90, 90))(x), RandomRotation((90, 90))(x))


def test_perspective_takes_the_corner_pixels_to_the_drawn_ones():
    x = torch.rand(20, 1, 9, 12)
    transform = RandomPerspective(0.6, p=1.0)
    params = transform.sample(x)
    corners = torch.tensor([[0.0, 0.0], [11.0, 0.0], [11.0, 8.0], [0.0, 8.0]])
    moved = transform(x, keypoints=corners.expand(20, 4, 2), params=params).keypoints
    signs = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    torch.testing.assert_close(moved, corners + signs * params.inward * torch.tensor([11, 8]))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_tiny_images(make, size):
    x = torch.rand(20, 1, *size)
    y = make()(x)
    assert y.shape == x.shape
    assert y.isfinite().all()


def test_expand_holds_the_corners_of_every_image():
    x = torch.rand(6, 1, 10, 21)
    transform = RandomRotation(90, expand=True)
    corners = torch.tensor([[0.0, 0.0], [20.0, 0.0], [20.0, 9.0], [0.0, 9.0]]).expand(6, 4, 2)
    y, _, boxes, keypoints = transform(
        x, boxes=torch.tensor([0.0, 0, 21, 10]).expand(6, 1, 4), keypoints=corners
    )
    height, width = y.shape[-2:]
    assert keypoints.min() > -0.5
    assert keypoints[..., 0].max() < width - 0.5
    assert keypoints[..., 1].max() < height - 0.5
    torch.testing.assert_close(
        keypoints.mean(1), torch.tensor([(width - 1) / 2, (height - 1) / 2]).expand(6, 2)
    )
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    torch.testing.assert_close(middle, torch.tensor([width / 2, height / 2]).expand(6, 1, 2))


def test_the_inverse_of_expand_keeps_the_canvas():
    x = torch.rand(1, 1, 5, 9)
    turn = RandomRotation((90, 90), expand=True)
    params = turn.sample(x)
    y = turn(x, params=params)
    assert torch.equal(y, torch.rot90(x, 1, (-2, -1)))
    assert torch.equal(turn.inverse(y, params)[0, 0, 2:7], x[0, 0, :, 2:7])


def test_gradients_reach_the_images(make_any, x):
    x.requires_grad_()
    make_any()(x).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.cuda
def test_parameters_follow_the_images_to_their_device(make_any, x):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    transform = make_any()
    params = transform.sample(x)
    y = transform(x.cuda(), params=params)
    torch.testing.assert_close(y.cpu(), transform(x, params=params), rtol=1e-4, atol=1e-4)
