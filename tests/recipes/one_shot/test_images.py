"""What a run sees: the split into seen and unseen classes, the batches, turned classes, augmentation."""

from dataclasses import replace

import pytest
import torch

from rotfast.recipes.one_shot import OneShotConfig, preset_config
from rotfast.recipes.one_shot.images import Batches, Images, Pipeline, load_split, mirror
from rotfast.recipes.run import RunError

LABELS = torch.tensor([3, 1, 1, 3, 8, 8, 3, 1, 8])
# Place of each label among the classes 1, 3, 8.
PLACE = torch.tensor([1, 0, 0, 1, 2, 2, 1, 0, 2])
BASE = OneShotConfig(batch=12, images_per_class=3)


def original(batch, classes=3):
    """The seen class and the kind that each label stands for."""
    return batch.label % classes, batch.label // classes


def test_no_unseen_class_is_in_training():
    split = load_split(replace(preset_config("digits"), held_out=(0, 7, 2)))
    assert split.train.y.unique().tolist() == split.seen.y.unique().tolist() == [1, 3, 4, 5, 6, 8, 9]
    assert split.unseen.y.unique().tolist() == [0, 2, 7]
    assert split.train.x.shape[1:] == (1, 28, 28)
    assert split.unseen.names[7] == "7"


def test_images_per_class_of_a_test():
    split = load_split(replace(preset_config("digits"), test_images=9))
    assert split.unseen.y.bincount().tolist() == [0] * 5 + [9] * 5
    assert split.seen.y.bincount().tolist() == [9] * 5


def test_first_images_of_every_class_in_their_order():
    images = Images(torch.arange(9).view(9, 1, 1, 1), LABELS, ())
    assert images.at_most(2).x.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert images.of([1, 8]).y.tolist() == [1, 1, 8, 8, 1, 8]


def test_missing_data_is_a_message(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "rotfast.data._files.fetch", lambda name, *more: (_ for _ in ()).throw(OSError("down"))
    )
    for data in ("mnist", "omniglot", "cifar10"):
        with pytest.raises(RunError, match=f"data {data}: .*--data-dir or ROTFAST_DATA"):
            load_split(replace(preset_config(data), data_dir=str(tmp_path)))


def test_cross_entropy_batches():
    batches = Batches(replace(BASE, model="cnn", loss="cross-entropy", mirror_classes=True), LABELS)
    assert batches.classes == 24
    drawn = [batches.draw() for _ in range(100)]
    for batch in drawn:
        place, kind = original(batch)
        assert torch.equal(place, PLACE[batch.index])
        assert torch.equal(kind, batch.turn + 4 * batch.mirrored)
    counts = torch.cat([batch.label for batch in drawn]).bincount(minlength=24)
    assert counts.min() > 20  # 50 expected


@pytest.mark.parametrize("size", [12, 7])
def test_pairs_are_balanced(size):
    batches = Batches(
        replace(BASE, model="siamese", loss="contrastive", rotation_classes=False, batch=size), LABELS
    )
    for _ in range(20):
        batch = batches.draw()
        assert len(batch.label) == 2 * size
        assert torch.equal(batch.label, PLACE[batch.index])
        first, second = batch.label.chunk(2)
        half = (size + 1) // 2
        assert (first == second).tolist() == [True] * half + [False] * (size - half)


@pytest.mark.parametrize("loss", ["supervised-contrastive", "batch-hard"])
def test_batches_of_several_images_a_class(loss):
    batches = Batches(replace(BASE, loss=loss), LABELS)
    for _ in range(20):
        batch = batches.draw()
        assert batch.label.unique(return_counts=True)[1].tolist() == [3] * 4
        place, kind = original(batch)
        assert torch.equal(place, PLACE[batch.index])
        assert torch.equal(kind, batch.turn)
        for label in batch.label.unique():
            assert len(batch.index[batch.label == label].unique()) == 3


def test_class_of_fewer_images_than_wanted():
    batch = Batches(replace(BASE, images_per_class=5), LABELS).draw()
    for label in batch.label.unique():
        assert len(batch.index[batch.label == label].unique()) == 3


def test_fewer_classes_than_wanted():
    config = replace(BASE, rotation_classes=False, batch=64)
    assert Batches(config, LABELS).draw().label.unique().tolist() == [0, 1, 2]


def test_images_are_turned_and_mirrored():
    x = torch.randint(256, (9, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = Batches(replace(BASE, mirror_classes=True), LABELS).draw()
    for image, index, turn, mirrored in zip(
        batch.images(x), batch.index, batch.turn, batch.mirrored, strict=True
    ):
        expected = x[index].rot90(int(turn), (-2, -1))
        assert torch.equal(image, expected.flip(-1) if mirrored else expected)
    assert batch.mirrored.any()
    assert not batch.mirrored.all()


def test_state_is_all_that_the_next_batch_needs():
    batches = Batches(BASE, LABELS)
    batches.draw()
    state = batches.state_dict()
    expected = batches.draw()
    torch.rand(3)
    again = Batches(replace(BASE, seed=5), LABELS)
    again.load_state_dict(state)
    assert torch.equal(again.draw().index, expected.index)


def test_mirror():
    x = torch.arange(6).view(2, 1, 1, 3)
    assert mirror(x, torch.tensor([True, False])).flatten().tolist() == [2, 1, 0, 3, 4, 5]


class TestPipeline:
    def test_plain_images_are_normalised(self):
        x = torch.randint(256, (2, 3, 5, 5), dtype=torch.uint8)
        mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
        expected = (x / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        torch.testing.assert_close(Pipeline(preset_config("cifar10")).plain(x), expected)

    def test_without_ranges_augmentation_changes_nothing(self):
        pipeline = Pipeline(preset_config("mnist", "as-in-deck", "cnn"))
        x = torch.randint(256, (3, 1, 6, 6), dtype=torch.uint8)
        assert torch.equal(pipeline.augmented(x), pipeline.plain(x))

    def test_border_is_repeated(self):
        """Of an image of one colour nothing else can come in from outside, unlike with black around it."""
        x = torch.full((8, 3, 9, 9), 200, dtype=torch.uint8)
        deck = preset_config("cifar10", "as-in-deck")
        shown = Pipeline(deck).augmented(x)
        torch.testing.assert_close(shown, Pipeline(deck).plain(x))
        black = Pipeline(replace(deck, padding_mode="constant")).augmented(x)
        assert (black - shown).abs().max() > 1

    def test_half_of_the_images_are_mirrored(self):
        config = replace(preset_config("mnist", "as-in-deck", "cnn"), flip=True)
        x = torch.arange(3, dtype=torch.uint8).view(1, 1, 1, 3).repeat(400, 1, 1, 1)
        left = Pipeline(config).augmented(x)[:, 0, 0, 0]
        assert 150 < (left > left.min()).sum() < 250

    def test_views_are_changed_half_as_much(self):
        config = replace(preset_config("digits"), degrees=0.0, shear=0.0, translate=0.0, scale=(1.0, 3.0))
        pipeline = Pipeline(config)
        assert (pipeline._augment.scale, pipeline._view.scale) == ((1, 3), (1, 2))
