"""Tile sizes: the default without tuning, the quickest once with it, kept on disk for later processes."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rotfast import backend

tuning = pytest.importorskip("rotfast.ops.triton.tuning")
DEFAULT, QUICK, SLOW = TILES = [tuning.Tiles(16, 16, depth, 2, 3) for depth in (16, 32, 64)]


@pytest.fixture
def launched() -> list[object]:
    return []


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Tuning is on and takes QUICK for the quickest; returns where winners are kept."""
    seconds = {DEFAULT: 3.0, QUICK: 1.0, SLOW: 2.0}
    measured = []

    def do_bench(launch: Callable[[], list[object]], **_: object) -> float:
        launch()
        measured.append(None)
        return seconds[TILES[(len(measured) - 1) % 3]]

    monkeypatch.setattr(tuning, "enabled", True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(tuning.triton.testing, "do_bench", do_bench)
    monkeypatch.setattr(tuning, "_file", lambda: tmp_path / "cache" / "tiles.json")
    tuning._chosen.cache_clear()
    yield tmp_path / "cache" / "tiles.json"
    tuning._chosen.cache_clear()


def test_the_default_is_the_first_without_tuning(launched: list[object]) -> None:
    tuning.run(lambda: "key", TILES, launched.append)
    assert launched == [DEFAULT]


def test_the_quickest_is_measured_once(tuned: Path, launched: list[object]) -> None:
    for _ in range(2):
        tuning.run(lambda: "key", TILES, launched.append)
    assert launched == [DEFAULT, QUICK, SLOW, QUICK, QUICK]


def test_a_later_process_measures_nothing(tuned: Path, launched: list[object]) -> None:
    tuning.run(lambda: "key", TILES, launched.append)
    tuning.run(lambda: "other", TILES, launched.append)
    tuning._chosen.cache_clear()
    launched.clear()
    tuning.run(lambda: "key", TILES, launched.append)
    tuning.run(lambda: "other", TILES, launched.append)
    assert launched == [QUICK, QUICK]
    assert [file.name for file in tuned.parent.iterdir()] == ["tiles.json"]


def test_winners_of_other_processes_stay(tuned: Path, launched: list[object]) -> None:
    tuning.run(lambda: "key", TILES, launched.append)
    tuning._chosen().clear()  # as for one that started earlier
    tuning.run(lambda: "other", TILES, launched.append)
    assert set(tuning._read(tuned)) == {"key", "other"}


def test_tiles_that_are_no_candidates_any_more_are_measured_anew(tuned: Path, launched: list[object]) -> None:
    tuned.parent.mkdir()
    tuned.write_text('{"key": [1, 2, 3, 4, 5]}')
    tuning.run(lambda: "key", TILES, launched.append)
    assert launched == [DEFAULT, QUICK, SLOW, QUICK]


@pytest.mark.parametrize("text", ["{", "[1]", '{"key": 1}', '{"key": [1]}'])
def test_a_broken_file_is_reported_and_replaced(
    text: str, tuned: Path, launched: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    tuned.parent.mkdir()
    tuned.write_text(text)
    with caplog.at_level(logging.WARNING, backend.log.name):
        tuning.run(lambda: "key", TILES, launched.append)
    assert "tiles.json is not read, tiles are measured anew" in caplog.text
    assert tuning._read(tuned) == {"key": QUICK}


def test_nothing_is_measured_while_a_graph_is_captured(
    tuned: Path, launched: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    tuning.run(lambda: "key", TILES, launched.append)
    assert launched == [DEFAULT]


def test_sizes_share_a_choice_up_to_the_next_power_of_2() -> None:
    x = torch.empty(0)
    assert tuning.key("conv2d", (1, 20, 0), x, "ieee") == tuning.key("conv2d", (1, 32, 0), x, "ieee")
    assert tuning.key("conv2d", (1, 20, 0), x, "ieee") != tuning.key("conv2d", (1, 33, 0), x, "ieee")
    assert tuning.key("conv2d", (20,), x, "ieee") != tuning.key("conv2d", (20,), x.half(), "ieee")
