import hashlib
import sys

import pytest
import torch
from sklearn import datasets

from rotfast.data import load_digits


def test_all_images():
    images, labels = load_digits()
    assert images.shape == (1797, 28, 28)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert labels[:10].tolist() == list(range(10))
    assert (images.min(), images.max()) == (0, 255)


def test_digit_fills_the_central_box():
    images, _ = load_digits()
    border = images.clone()
    border[:, 4:24, 4:24] = 0
    assert not border.any()


def test_enlargement_keeps_the_image():
    """Box means of the enlarged digit follow the source's pixels."""
    images, _ = load_digits()
    source = torch.from_numpy(datasets.load_digits().images).flatten(1)
    back = torch.nn.functional.adaptive_avg_pool2d(images[:, 4:24, 4:24].double(), 8).flatten(1)
    together = torch.stack([source.flatten(), back.flatten()])
    assert torch.corrcoef(together)[0, 1] > 0.95


def test_splits_are_disjoint_complete_and_fixed():
    (train, train_labels), (test, test_labels) = load_digits("train"), load_digits("test")
    assert len(train) == len(train_labels) == 1437
    assert len(test) == len(test_labels) == 360
    both = {hashlib.sha256(image.numpy()).digest() for image in train}
    assert both.isdisjoint(hashlib.sha256(image.numpy()).digest() for image in test)
    assert test_labels.bincount().tolist() == [27, 35, 36, 29, 30, 40, 44, 39, 39, 41]
    assert torch.equal(load_digits("train")[0], train)


def test_unknown_split():
    with pytest.raises(ValueError, match="split must be 'train', 'test' or None, got 'valid'"):
        load_digits("valid")


def test_needs_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"scikit-learn: pip install 'rotfast\[recipes\]'"):
        load_digits()
