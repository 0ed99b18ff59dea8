"""The entry for a machine with a GPU, as far as it goes without one."""

import json
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks.case import COMPILED, Call, Case
from benchmarks.gpu import __main__ as entry
from benchmarks.gpu import cases, stages, timing
from benchmarks.gpu.measure import measure
from benchmarks.gpu.record import Record
from benchmarks.interleaved import Ratio, Spread, by_clock
from benchmarks.ledger import Comparison, Ledger, Stage
from benchmarks.report import tables, unmeasured
from benchmarks.work import Work, counted

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SMALL = (3, 3, 9, 7)


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has a device and nvcc, as far as anybody asks; returns where its ledger comes to lie."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Model T 1GB")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").touch()
    monkeypatch.setattr(entry, "LOGS", tmp_path / "logs")
    return tmp_path / "model-t-1gb.json"


def says(code: str) -> stages.Plan:
    """A stage that runs a line of Python."""
    command = stages.Command(stages.python("-c", code))
    return stages.Plan(lambda results, options: [command], lambda: None)


def test_a_torch_without_cuda_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert entry.main([]) == entry.MISSING
    assert "nothing was run, this machine lacks a torch with CUDA (torch" in capsys.readouterr().err


def test_a_missing_device_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert entry.main(["--stages", "tests"]) == entry.MISSING
    assert "lacks a CUDA device (torch" in capsys.readouterr().err


def test_a_missing_nvcc_is_named_where_something_is_built(
    on_a_gpu: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    assert entry.main([]) == entry.MISSING
    assert "lacks nvcc (there is no /nowhere/bin/nvcc; is CUDA_HOME right?)" in capsys.readouterr().err
    assert entry.missing(["tests", "benchmarks"]) is None


def test_an_unknown_stage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        entry.main(["--stages", "everything"])
    assert "invalid choice: 'everything'" in capsys.readouterr().err


def test_the_ledger_keeps_what_became_of_each_stage(on_a_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.setattr(stages.shutil, "which", lambda name: "nvcc" if name == "nvcc" else None)
    plans = {
        "build": says("print('built')"),
        "tests": says(
            "print('FAILED a.py::b'); print('== 1 failed, 3 passed in 2s =='); raise SystemExit(1)"
        ),
        "sanitizer": stages.STAGES["sanitizer"],
        "benchmarks": says("import time; print('half', flush=True); time.sleep(60)"),
    }
    for name, plan in plans.items():
        monkeypatch.setitem(entry.STAGES, name, plan)
    assert entry.main(["--results", str(on_a_gpu.parent), "--stages", "tests", "build"]) == 1
    assert entry.main(["--results", str(on_a_gpu.parent), "--stages", "sanitizer"]) == 0
    arguments = ["--results", str(on_a_gpu.parent), "--stages", "benchmarks", "--limit", "0.5"]
    assert entry.main(arguments) == 1
    written = json.loads(on_a_gpu.read_text())["stages"]
    assert {name: (stage["outcome"], stage["detail"]) for name, stage in written.items()} == {
        "build": ("passed", "built"),
        "tests": ("failed", "exit status 1; 1 failed, 3 passed in 2s; FAILED a.py::b"),
        "sanitizer": (
            "skipped",
            "this machine lacks compute-sanitizer (it is neither on PATH nor beside nvcc)",
        ),
        "benchmarks": ("stopped", "by its time limit, after: half"),
    }
    assert (on_a_gpu.parent / "logs" / "tests.log").read_text().startswith("FAILED a.py::b\n")


def test_nothing_runs_on_a_build_that_failed(on_a_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(entry.STAGES, "build", says("raise SystemExit('no compiler')"))
    monkeypatch.setitem(entry.STAGES, "tests", says("raise AssertionError"))
    assert entry.main(["--results", str(on_a_gpu.parent), "--stages", "build", "tests"]) == 1
    written = json.loads(on_a_gpu.read_text())["stages"]
    assert list(written) == ["build"]
    assert written["build"]["detail"] == "exit status 1; no compiler"


def test_a_refusal_of_the_sanitizer_is_no_failure() -> None:
    lines = ["========= Error: Device not supported. Please refer to the documentation"]
    assert stages.verdict(1, lines) == ("skipped", "compute-sanitizer: Device not supported")


def test_what_the_stages_run(on_a_gpu: Path, tmp_path: Path) -> None:
    def lines(name: str, *options: str) -> list[str]:
        return [" ".join(command.arguments) for command in stages.STAGES[name].commands(tmp_path, options)]

    assert "pip install --no-build-isolation --no-deps --editable ." in lines("build")[0]
    assert [line.split("--tool ")[1].split()[0] for line in lines("sanitizer")] == list(stages.TOOLS)
    assert (stages.ROOT / stages.SANITIZED).exists()
    assert lines("benchmarks", "--only", "rotate")[0].endswith(f"--results {tmp_path} --only rotate")


def test_files_that_need_an_absent_library_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "test_needs.py").write_text("import a_library_that_is_not_there\n")
    (tmp_path / "test_broken.py").write_text("import benchmarks.a_module_that_is_not_there\n")
    (tmp_path / "test_later.py").write_text("def test_later():\n    import another_library\n")
    command = [*stages.pytest(), "-rs", "-c", "/dev/null", str(tmp_path)]
    answer = subprocess.run(command, cwd=stages.ROOT, capture_output=True, text=True)
    assert "there is no a_library_that_is_not_there" in answer.stdout
    assert "No module named 'benchmarks.a_module_that_is_not_there'" in answer.stdout
    assert answer.stdout.splitlines()[-1].startswith("1 skipped, 1 error")
    command = [*stages.pytest(), "-rs", "-c", "/dev/null", str(tmp_path / "test_later.py")]
    answer = subprocess.run(command, cwd=stages.ROOT, capture_output=True, text=True)
    assert "there is no another_library" in answer.stdout
    assert answer.stdout.splitlines()[-1].startswith("1 skipped in")


def doubling(dtype: torch.dtype) -> dict[str, Call]:
    x = torch.rand(5, dtype=dtype)
    return {"rotfast": lambda: [x + x], "plain": lambda: [2 * x]}


def test_a_row_is_checked_timed_and_kept(tmp_path: Path) -> None:
    readings = iter(range(10**6))
    case = Case("double", "5", ("rotfast", "plain"), doubling, work=lambda: Work(40, 5))
    row = measure(cases.Row(case), "cpu", by_clock(lambda: next(readings)), seconds=0.0, min_rounds=2)
    record = Record(tmp_path / "gpu.json")
    record.set_machine({"gpu": "Model T"})
    record.set_stage("tests", Stage("passed", 1.0, "3 passed", "abc"))
    record.add(row)
    record.add(replace(row, shape="6"))
    record.add(replace(row, rounds=7))
    again = Ledger.read(tmp_path / "gpu.json")
    assert [(kept.shape, kept.rounds) for kept in again.comparisons] == [("5", 7), ("6", 2)]
    assert again.comparisons[1] == replace(row, shape="6")
    assert (again.machine, again.stages["tests"].detail) == ({"gpu": "Model T"}, "3 passed")


def test_contestants_that_differ_are_refused() -> None:
    def build(dtype: torch.dtype) -> dict[str, Call]:
        return {"rotfast": lambda: [torch.ones(1, dtype=dtype)], "plain": lambda: [torch.zeros(1) + 2]}

    case = Case("differ", "1", ("rotfast", "plain"), build)
    with pytest.raises(AssertionError, match="result 0 of rotfast is off"):
        measure(cases.Row(case), "cpu", by_clock(lambda: 0.0), seconds=0.0, min_rounds=2)


def test_the_share_of_the_copy_bandwidth() -> None:
    seconds = {"rotfast": Spread(2.0, 2.0, 2.0, 2.0), "plain": Spread(4.0, 4.0, 4.0, 4.0)}
    ratios = {"plain": Ratio(2.0, 2.0, 2.0, 2.0)}
    row = Comparison("double", "5", 2, seconds, ratios, {}, Work(10_000_000, 5_000))
    assert tables([row], copy_bandwidth=2e7)[-1][1] == ("5", "10 MB", "5 k", "25%")


def test_rows_that_were_not_measured_have_floors() -> None:
    lines = unmeasured([replace(cases.RESAMPLING[0], shape="small", work=lambda: Work(1_000, 20))])
    assert lines[-2] == "| small | 1 kB | 20 | not measured |"


def test_every_row_has_a_floor_and_a_place_of_its_own() -> None:
    rows = cases.rows()
    assert all(row.case.work is not None for row in rows)
    assert len({(row.case.suite, row.case.shape) for row in rows}) == len(rows)


def test_the_floor_of_a_rotation() -> None:
    """Angles; values read and written; eight operations a position, four products added up a value."""
    assert cases.RESAMPLING[0].work() == Work(2 * 4 * 16384 * 64**2 + 4 * 16384, 16384 * 64**2 * 15)


def test_products_are_counted() -> None:
    a, b = torch.rand(3, 4, requires_grad=True), torch.rand(4, 5)
    assert counted(lambda: torch.autograd.grad((a @ b).sum(), a)) == 2 * 2 * 3 * 4 * 5
    assert counted(lambda: b.T @ torch.rand(4)) == 2 * 4 * 5


@pytest.mark.parametrize("build", [cases.build_rotate, cases.build_affine, cases.build_uint8])
def test_contestants_agree(build) -> None:
    names = tuple(build(SMALL, torch.float64))
    case = Case("", "", names, partial(build, SMALL), tolerances=cases.UINT8_TOLERANCES)
    case.check([name for name in names if name not in COMPILED])


@pytest.mark.cuda
@needs_cuda
def test_events_time_the_device() -> None:
    x = torch.rand(1 << 24, device="cuda")
    once = timing.by_events(lambda: x.sin_(), 50)
    twice = timing.by_events(lambda: x.sin_().sin_(), 50)
    assert 0 < once < twice
    assert timing.copy_bandwidth() > 1e9


@pytest.mark.cuda
@needs_cuda
def test_a_captured_call_computes_anew() -> None:
    x = torch.rand(5, device="cuda")
    call = cases.captured(lambda: [2 * x])
    x.fill_(3)
    assert torch.equal(call()[0], torch.full_like(x, 6))
