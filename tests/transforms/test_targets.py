"""Masks, boxes and keypoints go where the pixels go."""

import pytest
import torch

from rotfast.transforms import Compose, RandomAffine, RandomPerspective, RandomRotation, Transformed

SPOTS = torch.tensor([[20.0, 16.0], [24.0, 30.0], [33.0, 22.0]])  # (x, y) in images of 44 rows, 52 columns


def blobs(count):
    """Images with one round blob per channel, on each of the spots."""
    y, x = torch.arange(44.0)[:, None], torch.arange(52.0)
    distances = [(x - column) ** 2 + (y - row) ** 2 for column, row in SPOTS.tolist()]
    return torch.exp(-torch.stack(distances) / 4.5).expand(count, 3, 44, 52)


def centroids(images):
    """Where the mass of every plane lies, (N, C, 2) as (x, y)."""
    mass = images / images.sum((-2, -1), keepdim=True)
    rows, columns = torch.arange(images.shape[-2]), torch.arange(images.shape[-1])
    return torch.stack([(mass.sum(-2) * columns).sum(-1), (mass.sum(-1) * rows).sum(-1)], -1)


def around(planes):
    """The boxes of what is not 0, (N, C, 4), last row and column excluded."""
    boxes = []
    for plane in planes.flatten(0, -3):
        rows, columns = plane.nonzero().unbind(1)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return torch.tensor(boxes, dtype=torch.float32).unflatten(0, planes.shape[:-2])


@pytest.fixture(params=["rotation", "expanded", "off-centre", "affine", "perspective"])
def gentle(request):
    """Transforms that keep the spots inside."""
    return {
        "rotation": RandomRotation(60, "bilinear"),
        "expanded": RandomRotation(180, "bilinear", expand=True),
        "off-centre": RandomRotation(30, "bilinear", center=(30.0, 20.0)),
        "affine": RandomAffine(40, (0.05, 0.05), (0.9, 1.2), (-9, 9, -9, 9), "bilinear"),
        "perspective": RandomPerspective(0.3, p=0.7),
    }[request.param]


def test_keypoints_follow_the_pixels(gentle):
    images = blobs(8)
    y, _, _, keypoints = gentle(images, keypoints=SPOTS.expand(8, 3, 2))
    assert (keypoints - SPOTS).abs().max() > 2
    torch.testing.assert_close(keypoints, centroids(y), rtol=0, atol=0.12)


def test_masks_follow_the_pixels(gentle):
    images = blobs(8)
    masks = (images > 0.3).long() * torch.tensor([7, 1000003, -4])[:, None, None]
    y, moved, _, keypoints = gentle(images, masks=masks, keypoints=SPOTS.expand(8, 3, 2))
    assert moved.dtype == torch.int64
    assert moved.shape[-2:] == y.shape[-2:]
    for channel, label in enumerate((7, 1000003, -4)):
        assert set(moved[:, channel].unique().tolist()) == {0, label}
    torch.testing.assert_close(centroids((moved != 0).float()), keypoints, rtol=0, atol=0.35)


def test_boxes_enclose_the_pixels(gentle):
    masks = (blobs(8) > 0.1).to(torch.uint8)
    boxes = around(masks)
    y, moved, enclosing, _ = gentle(blobs(8), masks=masks, boxes=boxes)
    tight = around(moved)
    assert (enclosing[..., :2] <= tight[..., :2] + 0.5).all()
    assert (enclosing[..., 2:] >= tight[..., 2:] - 0.5).all()
    assert (enclosing[..., :2] >= 0).all()
    assert (enclosing[..., 2] <= y.shape[-1]).all()
    size = (enclosing[..., 2:] - enclosing[..., :2]).amax()
    assert size < 2 * (boxes[..., 2:] - boxes[..., :2]).amax()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns):
    masks = torch.zeros(1, 2, 12, 12, dtype=torch.bool)
    masks[0, 0, 3, 5] = masks[0, 1, 2:5, 0:10] = True
    turn = RandomRotation((90 * turns, 90 * turns))
    points = torch.tensor([[[5.0, 3.0]]])
    _, moved, boxes, keypoints = turn(
        torch.rand(1, 1, 12, 12), masks=masks, boxes=around(masks), keypoints=points
    )
    assert torch.equal(moved, torch.rot90(masks, turns, (-2, -1)))
    assert torch.equal(boxes, around(moved))
    assert keypoints.tolist() == [[moved[0, 0].nonzero()[0].flip(0).tolist()]]


def test_the_box_of_the_image_stays_the_box_of_the_image():
    whole = torch.tensor([[[0.0, 0.0, 9.0, 9.0]]])
    assert torch.equal(RandomRotation((90, 90))(torch.rand(1, 1, 9, 9), boxes=whole).boxes, whole)
    assert torch.equal(RandomRotation(45)(torch.rand(1, 1, 9, 9), boxes=whole).boxes, whole)  # clipped


def test_what_leaves_the_image():
    shift = RandomAffine(0, (1, 1))
    x = torch.rand(1, 1, 10, 20)
    params = shift.sample(x)._replace(translate=torch.tensor([[0.5, 0.0]]))
    boxes = torch.tensor([[[2.0, 1, 6, 4], [8, 1, 13, 4], [12, 1, 15, 4]]])
    _, _, boxes, keypoints = shift(x, boxes=boxes, keypoints=torch.tensor([[[15.0, 3.0]]]), params=params)
    assert boxes.tolist() == [[[12, 1, 16, 4], [18, 1, 20, 4], [20, 1, 20, 4]]]
    assert keypoints.tolist() == [[[25, 3]]]


def test_the_inverse_takes_targets_back(gentle):
    images = blobs(8)
    params = gentle.sample(images)
    there = gentle(images, keypoints=SPOTS.expand(8, 3, 2), params=params)
    back = gentle.inverse(there.x, params, masks=there.x > 0.2, keypoints=there.keypoints)
    offset = torch.tensor([there.x.shape[-1] - 52, there.x.shape[-2] - 44]) / 2  # of an expanded canvas
    torch.testing.assert_close(back.keypoints, (SPOTS + offset).expand(8, 3, 2))
    torch.testing.assert_close(centroids(back.masks.float()), back.keypoints, rtol=0, atol=0.5)


def test_targets_of_images_not_drawn_stay_bit_for_bit(make, x):
    transform = make(p=0.4, generator=torch.Generator().manual_seed(0))
    params = transform.sample(x)
    assert 0 < params.applied.sum() < len(x)
    targets = {
        "masks": torch.randint(5, (6, 12, 17)),
        "boxes": torch.rand(6, 3, 4) * 40 - 20,  # even those that reach beyond the image
        "keypoints": torch.rand(6, 4, 2) * 17,
    }
    moved = transform(x, params=params, **targets)
    for name, target in targets.items():
        assert torch.equal(getattr(moved, name)[~params.applied], target[~params.applied])
        assert not torch.equal(getattr(moved, name)[params.applied], target[params.applied])


def test_one_image(make_any, x):
    transform = make_any()
    targets = {
        "masks": torch.rand(12, 17) > 0.5,
        "boxes": torch.rand(2, 4) * 9,
        "keypoints": torch.rand(5, 2) * 9,
    }
    params = transform.sample(x[0])
    one = transform(x[0], params=params, **targets)
    batch = transform(x[:1], params=params, **{name: target[None] for name, target in targets.items()})
    assert all(torch.equal(a, b[0]) for a, b in zip(one, batch, strict=True))


def test_composed_targets_go_through_every_step(x):
    first, second = RandomRotation(20), RandomAffine(0, (0.2, 0.2))
    both = Compose([first, second])
    params, points = both.sample(x), torch.rand(6, 3, 2) * 12
    step = second(*first(x, keypoints=points, params=params[0])[:1], keypoints=None, params=params[1])
    assert torch.equal(both(x, params=params), step)
    middle = first(x, keypoints=points, params=params[0]).keypoints
    expected = second(x, keypoints=middle, params=params[1]).keypoints
    assert torch.equal(both(x, keypoints=points, params=params).keypoints, expected)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int32, torch.int64, torch.float32]
)
def test_masks_keep_their_dtype_and_values(dtype):
    top = torch.iinfo(dtype).max if not dtype.is_floating_point and dtype != torch.bool else 1
    top = min(top, 2**53)
    masks = torch.tensor([[0, top], [0, 0]], dtype=dtype).expand(1, 2, 2)
    moved = RandomRotation((90, 90))(torch.rand(1, 1, 2, 2), masks=masks).masks
    assert moved.dtype == dtype
    assert torch.equal(moved, torch.tensor([[[top, 0], [0, 0]]], dtype=dtype))


def test_padding_of_the_image_is_that_of_the_mask():
    shift = RandomAffine(0, (1, 1), padding_mode="border")
    x = torch.ones(1, 1, 4, 4)
    params = shift.sample(x)._replace(translate=torch.tensor([[0.5, 0.0]]))
    assert shift(x, masks=torch.full((1, 4, 4), 3), params=params).masks.unique().tolist() == [3]
    empty = RandomAffine(0, (1, 1), fill=9.0)(x, masks=torch.full((1, 4, 4), 3), params=params)
    assert empty.masks[0, 0].tolist() == [0, 0, 3, 3]


def test_nan_rows_stay_nan(make, x):
    boxes, points = torch.rand(6, 2, 4), torch.rand(6, 2, 2)
    boxes[:, 1] = points[:, 1] = torch.nan
    moved = make()(x, boxes=boxes, keypoints=points)
    for target in (moved.boxes, moved.keypoints):
        assert target[:, 1].isnan().all()
        assert target[:, 0].isfinite().all()


def test_targets_without_entries(gentle):
    none = {
        "masks": torch.zeros(8, 0, 44, 52),
        "boxes": torch.zeros(8, 0, 4),
        "keypoints": torch.zeros(8, 0, 2),
    }
    moved = gentle(blobs(8), **none)
    assert moved.masks.shape == (8, 0, *moved.x.shape[-2:])
    assert moved.boxes.shape == (8, 0, 4)
    assert moved.keypoints.shape == (8, 0, 2)


def test_only_what_was_given_comes_back(make, x):
    assert isinstance(make()(x), torch.Tensor)
    moved = make()(x, keypoints=torch.zeros(6, 1, 2))
    assert isinstance(moved, Transformed)
    assert moved.masks is None
    assert moved.boxes is None


def test_keypoints_carry_gradients(make, x):
    points = torch.rand(6, 3, 2, requires_grad=True)
    make()(x, keypoints=points).keypoints.sum().backward()
    assert (points.grad != 0).all()
