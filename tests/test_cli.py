"""The command line: defaults from presets, messages instead of tracebacks, exit codes."""

import json
import os
import subprocess
import sys

import pytest

from rotfast import cli
from rotfast.recipes.msr import MsrConfig
from rotfast.recipes.seeds import open_run

SMALL = ["--steps", "2", "--tasks", "2", "--test-tasks", "2", "--k-qry", "3", "--device", "cpu"]


def train(*options):
    return cli.main(["train", "msr", *SMALL, *map(str, options)])


def test_train_evaluate_plot(tmp_path, capsys):
    run = tmp_path / "run"
    assert (
        train("--problem", "rotated-digits", "--model", "single", "--preset", "as-in-deck", "--run", run) == 0
    )
    output = capsys.readouterr().out
    assert "step 2/2  test loss" in output
    assert f"{run}" in output
    summary = json.loads((run / "summary.json").read_text())
    assert summary["command"].startswith("rotfast train msr --steps 2")
    assert cli.main(["evaluate", str(run), "--tasks", "3"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert cli.main(["plot", str(run)]) == 0
    assert "losses.png" in capsys.readouterr().out
    assert (run / "figures/losses.png").exists()


def test_flags_override_the_preset(tmp_path):
    run = tmp_path / "run"
    assert train("--problem=rank1", "--preset=as-in-deck", "--inner-lr", "0.05", "--run", run) == 0
    config = open_run(MsrConfig, run)[1]
    assert (config.inner_lr, config.outer_lr, config.fresh, config.model) == (0.05, 1e-3, False, "share")


def test_help_shows_the_defaults_of_the_preset(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "msr", "--problem", "rotated-mnist", "--preset", "as-in-deck", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "0.0001" in text
    assert "--seeds" in text


def test_run_folder_is_made_up_when_not_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("--problem", "rank1") == 0
    assert train("--problem", "rank1") == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["msr-rank1-share-recommended", "msr-rank1-share-recommended-2"]


def test_seeds_and_resume(tmp_path, capsys):
    run = tmp_path / "run"
    assert train("--problem", "rank1", "--seeds", "0", "1", "--run", run) == 0
    assert json.loads((run / "summary.json").read_text())["seeds"] == [0, 1]
    assert cli.main(["train", "msr", "--resume", str(run)]) == 0
    assert cli.main(["evaluate", str(run), "--tasks", "2"]) == 0
    assert "mean of 2 seeds" in capsys.readouterr().out


def fails(capsys, *options):
    try:
        code = train(*options)
    except SystemExit as stopped:  # of the option parser
        code = stopped.code
    captured = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in captured.err
    return " ".join(captured.err.split())


def test_resume_with_another_configuration(tmp_path, capsys):
    run = tmp_path / "run"
    train("--problem", "rank1", "--run", run)
    error = fails(capsys, "--resume", run, "--inner-lr", "0.3")
    assert "inner_lr is 0.1 in its config.yaml, got 0.3" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--problem", "rank9"], "problem must be one of rank1"),
        (["--preset", "best"], "preset must be one of as-in-deck, recommended"),
        (["--problem"], "expected one argument"),
        (
            ["--problem", "rank1", "--model", "single"],
            "model must be one of share, conv, fc, lc for problem rank1",
        ),
        (["--problem", "rot8", "--model", "fc"], "model must be one of share, conv for problem rot8"),
        (["--outer-lr", "-1"], "outer_lr must be finite and not negative"),
        (["--resume", "nowhere"], "nowhere is no run folder"),
        (["--run", "a", "--resume", "b"], "b is no run folder"),
        (["--problem", "rank1", "--seeds", "1", "1", "--run", "never"], "seeds must differ"),
        (["--problem", "rank1", "--seeds", "0", "-1", "--run", "never"], "seed must be at least 0, got -1"),
        (["--task-chunk", "0"], "task_chunk must be at least 1"),
        (["--k-qry", "5000", "--run", "never"], "k_spt + k_qry must be at most"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_wrong_options(options, message, capsys):
    assert message in fails(capsys, *options)


def test_run_and_resume_exclude_each_other(tmp_path, capsys):
    train("--problem", "rank1", "--run", tmp_path / "a")
    assert "not both" in fails(capsys, "--resume", tmp_path / "a", "--run", tmp_path / "b")


def test_folder_in_use(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not empty" in fails(capsys, "--problem", "rank1", "--run", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in fails(capsys, "--problem", "rank1", "--run", tmp_path / "file" / "run")


def test_unknown_command(capsys):
    assert cli.main(["fly"]) == 2
    assert "unknown command: fly" in capsys.readouterr().err
    assert cli.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_evaluate_needs_a_run(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    assert "is no run folder" in capsys.readouterr().err
    assert cli.main(["evaluate", "--tasks", "1"]) == 2
    assert "which run folder?" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("recipe: msr")
    assert cli.main(["evaluate", str(tmp_path), "--tasks", "0"]) == 2
    assert "tasks must be at least 1" in capsys.readouterr().err


def test_unknown_recipe(tmp_path, capsys):
    assert cli.main(["train", "bird"]) == 2
    assert "recipe to train must be one of beta-vae, msr" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("recipe: bird")
    assert cli.main(["plot", str(tmp_path)]) == 2
    assert "recipe must be one of beta-vae, msr" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("steps: 3")
    assert cli.main(["plot", str(tmp_path)]) == 2
    assert "does not say which recipe" in capsys.readouterr().err


def test_doctor(capsys):
    assert cli.main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out


def test_recipes_that_are_not_installed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    monkeypatch.delitem(sys.modules, "rotfast.recipes.commands", raising=False)
    assert cli.main(["plot", "run"]) == 2
    assert "pip install 'rotfast[recipes]'" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_saves_and_exits_with_130(tmp_path):
    script = "import sys; from rotfast.cli import main; sys.exit(main())"
    options = ["--problem", "rank1", "--steps", "100000", "--tasks", "2", "--test-tasks", "2", "--run", "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, "train", "msr", *options],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "step 1/100000" in process.stdout.readline()
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "checkpoint saved; go on with: rotfast train msr --resume run" in errors
    assert (tmp_path / "run/checkpoint/state.pt").exists()
