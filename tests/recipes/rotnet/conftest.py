"""A small finished run on the digits."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from rotfast.recipes import rotnet


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Learned well enough to tell quarter turns and digits more often than not."""
    path = tmp_path_factory.mktemp("rotnet") / "run"
    config = replace(
        rotnet.preset_config("digits"), turns=4, width=8, pretext_epochs=5, steps=70, labels_per_class=(2, 10)
    )
    rotnet.train(config, path, console=Console(file=io.StringIO()))
    return path
