"""Transforms of every kind, and a batch for them."""

import pytest
import torch

from rotfast.transforms import Compose, RandomAffine, RandomPerspective, RandomRotation

KINDS = {
    "rotation": lambda **options: RandomRotation(40, "bilinear", **options),
    "affine": lambda **options: RandomAffine(
        20, (0.1, 0.2), (0.8, 1.2), (-5, 5, -10, 10), "bilinear", **options
    ),
    "perspective": lambda **options: RandomPerspective(0.4, **({"p": 1.0} | options)),
}
COMPOSED = {
    "composed": lambda **options: Compose([KINDS["rotation"](**options), KINDS["perspective"](**options)])
}


@pytest.fixture(params=KINDS)
def make(request):
    """Builds a transform of each kind from keyword arguments."""
    return KINDS[request.param]


@pytest.fixture(params=KINDS | COMPOSED)
def make_any(request):
    """The same, and transforms one after the other."""
    return (KINDS | COMPOSED)[request.param]


@pytest.fixture
def x():
    """Images that are not square and differ from each other."""
    return torch.rand(6, 3, 12, 17, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def threads():
    """Sets the number of threads, for this test only."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
