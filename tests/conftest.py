"""Settings every test shares: one thread, one seed, and no silent zeros from a raw operator under torch.func."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
