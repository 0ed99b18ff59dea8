"""Transforms where they are used: collate functions, a Sequential, a training loop, compiled code."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from rotfast.transforms import Compose, RandomAffine, RandomPerspective, RandomRotation, RotNetBatch

# Noise, with more light in one half for each label.
LABELS = torch.arange(48) % 2
IMAGES = torch.randint(200, (48, 1, 14, 14), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
IMAGES[LABELS == 1, :, :7] += 55


def augmentation(generator=None):
    return Compose(
        [
            RandomRotation(30, "bilinear", generator=generator, mean=(0.5,), std=(0.25,)),
            RandomAffine(0, (0.1, 0.1), (0.9, 1.1), interpolation="bilinear", generator=generator),
        ]
    )


def train(augment, epochs=2):
    """Batches that a small training loop sees, and its losses."""
    torch.manual_seed(0)
    loader = DataLoader(
        TensorDataset(IMAGES, LABELS), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(1)
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 2))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    batches, losses = [], []
    for _ in range(epochs):
        for images, labels in loader:
            x = augment(images)
            loss = nn.functional.cross_entropy(model(x), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            batches.append(x)
            losses.append(loss.item())
    return torch.stack(batches), losses


def test_a_training_loop_sees_the_same_batches_on_any_number_of_threads(threads):
    runs = []
    for count in (1, 2):
        threads(count)
        runs.append(train(augmentation(torch.Generator().manual_seed(2))))
    (first, losses), (second, _) = runs
    assert torch.equal(first, second)
    assert len(first.flatten(1).unique(dim=0)) == 6
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_in_a_collate_function(workers):
    augment = augmentation(torch.Generator().manual_seed(3))

    def collate(items):
        images, labels = default_collate(items)
        return augment(images), labels

    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=16, collate_fn=collate, num_workers=workers)
    batches = torch.cat([images for images, _ in loader])
    again = augmentation(torch.Generator().manual_seed(3))
    assert torch.equal(batches, torch.cat([again(images) for images in IMAGES.split(16)]))


def test_parameters_collate_as_named_tuples():
    augment = RandomRotation(30)
    items = [(image, augment.sample(image)) for image in IMAGES[:5]]
    images, params = default_collate(items)
    assert type(params).__name__ == "RotationParams"
    assert params.angle.shape == (5, 1)
    flat = type(params)(*(values.flatten(0, 1) for values in params))
    assert torch.equal(augment(images, params=flat)[2], augment(items[2][0], params=items[2][1]))


def test_in_a_sequential():
    pipeline = nn.Sequential(
        RandomRotation(10, mean=0.5, std=0.5), nn.Conv2d(1, 2, 3), RandomPerspective(0.2)
    )
    assert pipeline(IMAGES).shape == (48, 2, 12, 12)


def test_rotnet_labels_every_quarter_turn():
    images, labels = RotNetBatch()(IMAGES)
    assert images.shape == (192, 1, 14, 14)
    assert labels.dtype == torch.int64
    for image, label, source in zip(images, labels.tolist(), IMAGES.repeat(4, 1, 1, 1), strict=True):
        assert torch.equal(image, torch.rot90(source, label, (-2, -1)))
    assert labels.bincount().tolist() == [48] * 4


@pytest.mark.slow
def test_compiles_into_one_graph(make_any, x):
    torch.compiler.reset()
    transform = make_any(p=0.5)
    params = transform.sample(x)
    points = torch.rand(6, 3, 2)
    compiled = torch.compile(transform, fullgraph=True, backend="aot_eager")
    expected = transform(x, keypoints=points, params=params)
    got = compiled(x, keypoints=points, params=params)
    torch.testing.assert_close(got.x, expected.x)
    torch.testing.assert_close(got.keypoints, expected.keypoints)
    drawn = compiled(x)
    assert drawn.shape == x.shape
    assert not torch.equal(compiled(x), drawn)


@pytest.mark.slow
def test_with_a_generator_the_draw_stays_outside_the_graph(x):
    torch.compiler.reset()
    eager, transform = (RandomRotation(30, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    compiled = torch.compile(transform, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, params=transform.sample(x)), eager(x))
    with pytest.raises(torch._dynamo.exc.Unsupported):
        compiled(x)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(transform, backend="aot_eager")(x), eager(x))


@pytest.mark.slow
def test_compiled_code_can_draw_what_eager_code_draws(x):
    torch.compiler.reset()
    transform = RandomRotation(30)
    torch.manual_seed(6)
    expected = transform(x)
    torch.manual_seed(6)
    compiled = torch.compile(transform, fullgraph=True, options={"fallback_random": True})
    torch.testing.assert_close(compiled(x), expected)
