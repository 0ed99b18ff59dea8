"""The run folder: metrics, configuration check, and a checkpoint that no crash can lose."""

import os
import shutil
import signal
import threading

import pytest
import safetensors.torch
import torch

from rotfast.recipes import run as run_module
from rotfast.recipes.run import RunError, RunFolder, catch_interrupt


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create({"steps": 10, "inner_lr": 0.1})
    return folder


def weights(value):
    return {"0.weight": torch.full((2, 3), float(value))}


def test_checkpoint_returns_what_was_saved(run):
    run.save_checkpoint(weights(1), {"step": 7, "rates": {"a": torch.tensor(0.5)}, "seconds": 1.5})
    assert torch.equal(run.load_weights()["0.weight"], torch.ones(2, 3))
    assert run.load_state() == {"step": 7, "rates": {"a": torch.tensor(0.5)}, "seconds": 1.5}


def test_checkpoint_leaves_no_other_folder(run):
    for step in range(3):
        run.save_checkpoint(weights(step), {"step": step})
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoint", "config.yaml"]
    assert sorted(path.name for path in run.checkpoint.iterdir()) == ["model.safetensors", "state.pt"]


class Crash(BaseException):
    """The process dies: nothing in the code under test may catch it."""


SYSTEM_CALLS = [
    (os, "mkdir"),
    (safetensors.torch, "save_file"),
    (torch, "save"),
    (os, "fsync"),
    (os, "rename"),
    (shutil, "rmtree"),
]


def crash_at(monkeypatch, count, after):
    """Die at the count-th system call of a checkpoint, before or after it did its work."""
    calls = []

    def dying(original):
        def call(*args, **kwargs):
            calls.append(original)
            if len(calls) == count and not after:
                raise Crash
            result = original(*args, **kwargs)
            if len(calls) == count:
                raise Crash
            return result

        return call

    for module, name in SYSTEM_CALLS:
        monkeypatch.setattr(module, name, dying(getattr(module, name)))


@pytest.mark.parametrize("after", [False, True], ids=["before-call", "after-call"])
def test_crash_at_any_call_leaves_a_whole_checkpoint(tmp_path, after):
    count = crashes = 0
    while True:
        count += 1
        run = RunFolder(tmp_path / str(count))
        run.create({})
        run.save_checkpoint(weights(1), {"step": 1})
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, count, after)
            try:
                run.save_checkpoint(weights(2), {"step": 2})
            except Crash:
                crashes += 1
            else:
                break
        step = run.load_state()["step"]
        assert step in (1, 2)
        assert torch.equal(run.load_weights()["0.weight"], torch.full((2, 3), float(step)))
        # The next run goes on as if nothing had happened.
        run.save_checkpoint(weights(3), {"step": 3})
        assert run.load_state()["step"] == 3
        assert sorted(path.name for path in run.path.iterdir()) == ["checkpoint", "config.yaml"]
    assert crashes >= 8


def test_crash_of_the_first_checkpoint_leaves_none(run, monkeypatch):
    with monkeypatch.context() as patch:
        crash_at(patch, 4, after=False)
        with pytest.raises(Crash):
            run.save_checkpoint(weights(1), {"step": 1})
    assert not run.has_checkpoint
    with pytest.raises(RunError, match="has no checkpoint"):
        run.load_state()


@pytest.mark.parametrize(
    ("name", "load"), [("model.safetensors", "load_weights"), ("state.pt", "load_state")]
)
def test_damaged_checkpoint_is_named(run, name, load):
    run.save_checkpoint(weights(1), {"step": 1})
    path = run.checkpoint / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(RunError, match=rf"{name} is damaged"):
        getattr(run, load)()


def test_state_that_is_code_is_refused(run):
    run.save_checkpoint(weights(1), {"step": 1})
    torch.save({"step": print}, run.checkpoint / "state.pt")
    with pytest.raises(RunError, match="damaged"):
        run.load_state()


def test_another_configuration_is_refused_by_field_and_values(run):
    run.check_config({"steps": 10, "inner_lr": 0.1})
    run.check_config({"steps": 20, "inner_lr": 0.1}, free=frozenset({"steps"}))
    with pytest.raises(RunError, match=r"inner_lr is 0\.1 in its config\.yaml, got 0\.2"):
        run.check_config({"steps": 10, "inner_lr": 0.2})
    with pytest.raises(RunError, match=r"inner_lr is 0\.1 in its config\.yaml, got nothing"):
        run.check_config({"steps": 10})


def test_folder_that_is_not_empty_is_refused(run):
    with pytest.raises(RunError, match="is not empty"):
        run.create({"steps": 10})


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"run folder .*file/run cannot be written"):
        RunFolder(tmp_path / "file" / "run").create({})


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "\x00"])
def test_damaged_configuration_is_named(run, text):
    (run.path / "config.yaml").write_text(text)
    with pytest.raises(RunError, match=r"config\.yaml"):
        run.read_config()


def test_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(RunError, match="is no run folder"):
        RunFolder(tmp_path).read_config()


def test_metrics_forget_what_came_after_the_checkpoint(run):
    for step in range(1, 6):
        run.append_metrics({"step": step, "loss": 0.5})
    run.truncate_metrics(3)
    assert [record["step"] for record in run.read_metrics()] == [1, 2, 3]


def test_metrics_leave_out_a_line_cut_short(run):
    run.append_metrics({"step": 1})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert run.read_metrics() == [{"step": 1}]


def test_damaged_line_of_metrics_is_named(run):
    (run.path / "metrics.jsonl").write_text('{"step"\n{"step": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 1"):
        run.read_metrics()


def test_text_is_written_whole_or_not_at_all(run, monkeypatch):
    run.write_json("summary.json", {"a": 1})

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(run_module.os, "fsync", fail)
    with pytest.raises(RunError, match="cannot be written: disk full"), run.writing():
        run.write_json("summary.json", {"a": 2})
    assert run.read_json("summary.json") == {"a": 1}


@pytest.fixture
def interruptible():
    """Python's own handler: a process started in the background may ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_second_interrupt_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with catch_interrupt() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupt_is_left_alone_outside_the_main_thread():
    seen = []

    def work():
        with catch_interrupt() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
