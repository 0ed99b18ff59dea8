"""Characters made up for the tests: eight classes of eight drawings in each split."""

import pytest
import torch

from rotfast.recipes.msr import tasks


@pytest.fixture(autouse=True)
def characters(monkeypatch):
    """In place of Omniglot's files: a drawing is its class's pattern with a few other dots."""

    def load(root, split):
        generator = torch.Generator().manual_seed(len(split))
        pattern = torch.rand(8, 1, 7, 7, generator=generator) < 0.3
        dots = torch.rand(8, 8, 7, 7, generator=generator) < 0.05
        small = (pattern ^ dots).flatten(0, 1).to(torch.uint8) * 255
        images = small.repeat_interleave(4, 1).repeat_interleave(4, 2)
        return images, torch.arange(8).repeat_interleave(8), ("Alphabet",) * 8

    monkeypatch.setattr(tasks, "load_omniglot", load)
