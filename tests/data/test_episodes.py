from dataclasses import fields

import pytest
import torch

import rotfast
from rotfast.data import AngleEpisodes, Episode

ANGLES = [0.0, 9.0, 18.0, 27.0, 90.0]


def source(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Images recognisable at any angle: the centre of image i has the value i; its label is i."""
    images = torch.zeros(count, 7, 7, dtype=torch.uint8)
    images[:, 3, 3] = torch.arange(count)
    images[:, 3, 6] = 255
    return images, torch.arange(count)


def episodes(seed: int = 0, k_spt: int = 2, k_qry: int = 3, count: int = 60) -> AngleEpisodes:
    return AngleEpisodes(*source(count), ANGLES, k_spt, k_qry, torch.Generator().manual_seed(seed))


def equal(a: Episode, b: Episode) -> bool:
    return all(torch.equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(Episode))


def test_every_angle_once_by_default():
    episode = episodes().sample()
    assert episode.x_spt.shape == (5, 2, 1, 7, 7)
    assert episode.x_qry.shape == (5, 3, 1, 7, 7)
    assert episode.y_spt.shape == (5, 2)
    assert episode.y_qry.shape == (5, 3)
    assert episode.angle.tolist() == ANGLES
    assert episode.angle_index.tolist() == [0, 1, 2, 3, 4]
    assert episode.y_spt.dtype == episode.angle_index.dtype == torch.int64


def test_images_are_turned_by_the_angle_of_the_task():
    images, _ = source()
    episode = episodes().sample()
    for t in range(5):
        drawn, angle = images[episode.y_qry[t], None], episode.angle[t].expand(3)
        assert torch.equal(episode.x_qry[t], rotfast.rotate(drawn, angle, mean=0, std=1))
        torch.testing.assert_close(episode.x_qry[t], rotfast.rotate(drawn / 255, angle))
    assert episode.x_spt[4, :, 0, 0, 3].tolist() == [1.0, 1.0]  # 90 degrees: from the right edge to the top


def test_no_image_twice_in_a_task():
    sampler = episodes(k_spt=4, k_qry=6, count=10)
    for _ in range(3):
        episode = sampler.sample()
        drawn = torch.cat([episode.y_spt, episode.y_qry], 1).sort(1).values
        assert torch.equal(drawn, torch.arange(10).expand(5, -1))


def test_fresh_every_call_and_reproducible():
    sampler = episodes(seed=1)
    first, second = sampler.sample(), sampler.sample()
    assert not torch.equal(first.y_qry, second.y_qry)
    assert equal(episodes(seed=1).sample(), first)
    assert not torch.equal(episodes(seed=2).sample().y_qry, first.y_qry)


def test_generator_state_is_all_a_resume_needs():
    sampler = episodes()
    sampler.sample(7)
    state = sampler.generator.get_state()
    expected = [sampler.sample(7), sampler.sample()]
    resumed = episodes(seed=99)
    resumed.generator.set_state(state)
    assert all(equal(resumed.sample(n), episode) for n, episode in zip([7, None], expected, strict=True))


@pytest.mark.parametrize("num_tasks", [1, 4, 5, 13])
def test_angles_are_balanced(num_tasks):
    episode = episodes().sample(num_tasks)
    assert episode.angle.shape == (num_tasks,)
    assert torch.equal(episode.angle, torch.tensor(ANGLES)[episode.angle_index])
    counts = episode.angle_index.bincount(minlength=5)
    assert counts.max() - counts.min() <= 1


def test_global_generator():
    sampler = AngleEpisodes(*source(), ANGLES, 1, 2)
    torch.manual_seed(5)
    first = sampler.sample()
    torch.manual_seed(5)
    assert equal(sampler.sample(), first)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"angles": []}, ValueError, "angles must be a non-empty list"),
        ({"angles": [float("inf")]}, ValueError, "angles must be finite"),
        ({"k_qry": 60}, ValueError, r"k_spt \+ k_qry must be at most the 60 images, got 1 \+ 60"),
        ({"k_spt": 0}, ValueError, "k_spt must be at least 1, got 0"),
        ({"k_spt": 1.0}, TypeError, "k_spt must be an int, got float"),
        ({"labels": torch.arange(3)}, ValueError, r"labels must be \(60,\)"),
    ],
)
def test_bad_input(change, error, message):
    images, labels = source()
    good = {"images": images, "labels": labels, "angles": ANGLES, "k_spt": 1, "k_qry": 3}
    with pytest.raises(error, match=message):
        AngleEpisodes(**(good | change))


def test_bad_number_of_tasks():
    with pytest.raises(ValueError, match="num_tasks must be at least 1, got -1"):
        episodes().sample(-1)
