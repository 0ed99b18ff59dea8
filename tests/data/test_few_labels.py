"""Draws of labelled images: balanced, seeded, nested, disjoint from validation."""

import pytest
import torch

from rotfast.data import draw_few_labels

LABELS = torch.arange(10).repeat(30)[torch.randperm(300, generator=torch.Generator().manual_seed(1))]


def test_every_class_has_the_number_asked_for():
    draw = draw_few_labels(LABELS, 8, validation_per_class=2, seed=5)
    assert LABELS[draw.train].bincount().tolist() == [8] * 10
    assert LABELS[draw.validation].bincount().tolist() == [2] * 10
    assert not set(draw.train.tolist()) & set(draw.validation.tolist())
    assert len(draw_few_labels(LABELS, 8).validation) == 0


def test_the_seed_alone_decides():
    first = draw_few_labels(LABELS, 3, seed=7)
    torch.rand(3)
    assert torch.equal(draw_few_labels(LABELS, 3, seed=7).train, first.train)
    assert not torch.equal(draw_few_labels(LABELS, 3, seed=8).train, first.train)


def test_more_labels_keep_those_of_fewer():
    few, many = (set(draw_few_labels(LABELS, k, seed=2).train.tolist()) for k in (1, 20))
    assert few < many


def test_all_images_of_a_class_can_be_used():
    draw = draw_few_labels(LABELS, 20, validation_per_class=10)
    assert sorted(torch.cat(draw).tolist()) == list(range(300))


def test_wrong_arguments():
    labels = torch.tensor([0, 0, 0, 4, 4])
    with pytest.raises(ValueError, match=r"asked for 3, but class 4 has 2 images"):
        draw_few_labels(labels, 3)
    with pytest.raises(ValueError, match=r"asked for 2 and 1 for validation, but class 4 has 2 images"):
        draw_few_labels(labels, 2, validation_per_class=1)
    with pytest.raises(ValueError, match="per_class must be at least 1, got 0"):
        draw_few_labels(labels, 0)
    with pytest.raises(ValueError, match="validation_per_class must be at least 1, got -1"):
        draw_few_labels(labels, 1, validation_per_class=-1)
    with pytest.raises(TypeError, match="labels must be integers"):
        draw_few_labels(labels.float(), 1)
    with pytest.raises(ValueError, match=r"labels must be \(N,\)"):
        draw_few_labels(labels[None], 1)
