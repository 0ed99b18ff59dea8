"""Measurements in processes of their own, and the tables and curves made of them."""

import ctypes
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import end_to_end, profiles, test_meta_step, test_single_circuit
from benchmarks.interleaved import spread
from benchmarks.ledger import Ledger, Profile
from benchmarks.memory import peak
from benchmarks.plots import curves
from benchmarks.report import BEGIN, END, render
from rotfast.recipes.msr.config import preset_config

MB = 1_000_000
linux = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")


def curve(way: str, factor: float) -> list[Profile]:
    return [
        Profile("by tasks", tasks, f"{tasks} tasks", way, spread([factor * tasks]), tasks * MB)
        for tasks in (2, 8)
    ]


@linux
def test_the_peak_is_what_a_call_held_at_once() -> None:
    def call() -> list[torch.Tensor]:
        for _ in range(2):
            torch.ones(16 * MB)  # so large that glibc gives it back when it is freed
        return [torch.ones(2 * MB)]

    call()
    assert 63 * MB < peak(call) < 70 * MB
    assert peak(list) < MB


@linux
def test_a_row_is_measured_in_a_process_of_its_own() -> None:
    row = profiles.rows()[0]
    measured = row.measured(row.ways[0])
    assert (measured.shape, measured.way) == ("1 task", "all at once")
    assert 0 < measured.seconds.least <= measured.seconds.median
    assert measured.peak is not None
    assert measured.peak < 100 * MB


def test_chunks_compute_the_same() -> None:
    torch.manual_seed(0)
    whole, chunks = (call() for call in profiles.build_meta_step("rank1", 33).values())
    for expected, actual in zip(whole, chunks, strict=True):
        torch.testing.assert_close(actual, expected)


def test_rows_have_names_of_their_own() -> None:
    names = [str(row) for row in profiles.rows()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("allocator", ["default", "keep"])
def test_contestants_of_the_training_step_are_those_of_its_memory(allocator: str) -> None:
    row = next(row for row in profiles.rows() if row.shape.endswith(f"allocator {allocator}"))
    assert (row.allocator, row.ways) == (allocator, test_single_circuit.CASES[0].names)


def test_profiles_are_kept_and_shown(tmp_path: Path) -> None:
    measured = [*curve("all at once", 0.5), *curve("chunks", 0.75)]
    Ledger({"cpu": "Model T"}, profiles=measured).write(tmp_path / "t.json")
    ledger = Ledger.read(tmp_path / "t.json")
    assert ledger.profiles == measured
    page = render(f"{BEGIN}{END}", {"t": ledger})
    assert "| 8 tasks | 4 s, 8 MB | 6 s (1.50), 8 MB (1.00) |" in page
    assert "(figures/performance/t-by-tasks.png)" in page


def test_curves_are_drawn() -> None:
    figure = curves("by tasks", [*curve("all at once", 0.5), *curve("chunks", 0.75)])
    times, peaks = figure.axes
    assert [line.get_label() for line in times.lines] == ["in proportion", "all at once", "chunks"]
    assert [list(line.get_ydata()) for line in peaks.lines] == [[2, 8], [2, 8]]


@pytest.mark.peers
@pytest.mark.parametrize("library", ["higher", "jax"])
@pytest.mark.parametrize(
    "case", [case for case in test_meta_step.cases(("higher", "jax")) if case.smoke], ids=str
)
def test_other_libraries_take_the_same_meta_step(case, library: str) -> None:
    pytest.importorskip(library)
    case.check(["plain", library])
    assert {
        result.dtype for result in map(torch.as_tensor, case.calls(torch.float32, [library])[library]())
    } == {torch.float32}


@pytest.mark.peers
@pytest.mark.slow
def test_end_to_end() -> None:
    pytest.importorskip("higher")
    config = replace(preset_config("rotated-digits", "as-in-deck"), steps=2)
    whole, loop, original = end_to_end.measure(config, timed=2)
    assert whole.seconds.median > loop.seconds.median > 0
    assert original.way == "higher, scaled up from 2 steps"
    assert original.seconds.least > 0
