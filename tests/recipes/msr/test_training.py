"""Training end to end: files, exact continuation, several seeds, evaluation, plots, and what goes wrong."""

import io
import json
import signal
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from rotfast.recipes import msr
from rotfast.recipes.config import config_to_dict
from rotfast.recipes.msr import MsrConfig, preset_config, runs, training
from rotfast.recipes.msr.plots import plot_run
from rotfast.recipes.run import RunError, RunFolder, RunStopped
from rotfast.recipes.seeds import open_run

SMALL = {"steps": 6, "test_every": 3, "log_every": 2, "checkpoint_every": 4}
RANK1 = replace(preset_config("rank1", "as-in-deck"), **SMALL, tasks=3, test_tasks=4)
DIGITS = replace(
    preset_config("rotated-digits"),
    **SMALL,
    tasks=2,
    test_tasks=2,
    k_qry=3,
    angles=(0.0, 9.0),
    schedule="cosine",
)
CHARACTERS = replace(
    preset_config("omniglot"), **SMALL, tasks=2, test_tasks=3, ways=3, k_qry=2, width=8, inner_steps=2
)
CONFIGS = {
    "characters": CHARACTERS,
    "prototypes": replace(CHARACTERS, model="prototypes"),
    "rank1": RANK1,
    "rank2-adam-per-param": replace(RANK1, problem="rank2", inner_optimizer="adam", lr_mode="per_param"),
    "single": DIGITS,
    "single-as-in-deck": replace(DIGITS, fresh=False),
    "routed": replace(DIGITS, model="dedicated", routed=True),
    "dedicated-as-in-deck": replace(DIGITS, model="dedicated", fresh=False),
}


def train(config, folder, **more):
    return msr.train(config, folder, console=Console(file=io.StringIO()), **more)


def metrics(folder):
    return [{**record, "seconds": 0} for record in RunFolder(folder).read_metrics()]


def stop_after(monkeypatch, step):
    """Press Ctrl-C while the given step runs."""
    query, calls = training.MetaLearner.query, []

    def pressed(learner, *tasks):
        if torch.is_grad_enabled():
            calls.append(1)
        if len(calls) == step:
            calls.append(1)
            signal.raise_signal(signal.SIGINT)
        return query(learner, *tasks)

    monkeypatch.setattr(training.MetaLearner, "query", pressed)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_stopped_and_resumed_run_ends_bit_for_bit_like_one_that_was_not(config, tmp_path, monkeypatch):
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(RunStopped, match="stopped after step 3 of 6"):
            train(config, tmp_path / "parts")
    torch.rand(5)
    summary = train(config, tmp_path / "parts", resume=True)
    assert summary["steps"] == 6
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    a, b = (load_file(tmp_path / name / "checkpoint/model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    rates = [RunFolder(tmp_path / name).load_state()["inner_lrs"] for name in ("whole", "parts")]
    assert all(torch.equal(rates[0][name], rates[1][name]) for name in rates[0])


def test_killed_run_resumes_from_its_last_checkpoint(tmp_path, monkeypatch):
    train(RANK1, tmp_path / "whole")

    def die(*arguments):
        raise SystemError("killed")

    # The second test is at step 3 and the third at step 6, after the checkpoint of step 4 and two more lines.
    calls = []
    measure = training.measure
    monkeypatch.setattr(
        training, "measure", lambda *a: die() if calls.append(1) or len(calls) == 3 else measure(*a)
    )
    with pytest.raises(SystemError):
        train(RANK1, tmp_path / "parts")
    assert metrics(tmp_path / "parts")[-1]["step"] == 6
    monkeypatch.undo()
    train(RANK1, tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_run_without_a_checkpoint_resumes_from_the_start(tmp_path):
    train(RANK1, tmp_path / "whole")
    RunFolder(tmp_path / "run").create(config_to_dict(RANK1))
    train(RANK1, tmp_path / "run", resume=True)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


def test_finished_run_can_be_resumed_to_no_effect(tmp_path):
    train(RANK1, tmp_path / "run")
    before = metrics(tmp_path / "run")
    train(RANK1, tmp_path / "run", resume=True)
    assert metrics(tmp_path / "run") == before


def test_files_of_a_run(tmp_path):
    summary = train(DIGITS, tmp_path, command="rotfast train msr")
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["command"] == "rotfast train msr"
    assert summary["parameters"] == 650_399
    assert summary["test"].keys() == {
        "step",
        "loss",
        "loss_ci95",
        "accuracy",
        "accuracy_ci95",
        "errors_per_angle",
        "images_per_angle",
    }
    records = metrics(tmp_path)
    assert [(record["step"], record["split"]) for record in records] == [
        (1, "train"),
        (1, "test"),
        (2, "train"),
        (3, "test"),
        (4, "train"),
        (6, "train"),
        (6, "test"),
    ]
    assert records[-1]["images_per_angle"] == {"0.0": 3, "9.0": 3}
    assert open_run(MsrConfig, tmp_path)[1] == DIGITS
    assert "0.A_warp" in load_file(tmp_path / "checkpoint/model.safetensors")


def test_every_problem_trains(tmp_path):
    for problem in ("rank5", "rot8", "rot8-flip"):
        config = replace(preset_config(problem), steps=1, tasks=2, test_tasks=2, k_qry=2)
        assert train(config, tmp_path / problem)["test"]["loss"] > 0


def test_learning_reduces_the_loss(tmp_path):
    config = replace(preset_config("rank1"), steps=60, tasks=16, test_tasks=50, outer_lr=0.03)
    train(config, tmp_path)
    losses = [record["loss"] for record in metrics(tmp_path) if record["split"] == "test"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("model", ["share", "conv", "prototypes"])
def test_unknown_characters_are_told_from_one_example(model, tmp_path):
    plain = replace(CHARACTERS, degrees=0.0, flip=False, inner_steps=1, test_tasks=50, test_every=100)
    config = replace(plain, model=model, steps=40, tasks=8, outer_lr=0.01)
    train(config, tmp_path)
    first, *_, last = (record for record in metrics(tmp_path) if record["split"] == "test")
    assert last["accuracy"] - last["accuracy_ci95"] > first["accuracy"] + first["accuracy_ci95"]
    assert last["accuracy"] > 0.7


def test_other_configuration_is_refused(tmp_path):
    train(RANK1, tmp_path)
    with pytest.raises(RunError, match=r"inner_lr is 0\.1 in its config\.yaml, got 0\.2"):
        train(replace(RANK1, inner_lr=0.2), tmp_path, resume=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_training_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(value, tmp_path, monkeypatch):
    query, calls = training.MetaLearner.query, []

    def diverge(learner, *tasks):
        losses, outputs = query(learner, *tasks)
        calls.append(torch.is_grad_enabled())
        return (losses * value if sum(calls) == 5 else losses), outputs

    monkeypatch.setattr(training.MetaLearner, "query", diverge)
    with pytest.raises(RunError, match=r"training loss of step 5 is not finite: lower --outer-lr"):
        train(RANK1, tmp_path)
    assert RunFolder(tmp_path).load_state()["step"] == 4
    assert all(weight.isfinite().all() for weight in RunFolder(tmp_path).load_weights().values())


def test_diverging_run_is_a_message(tmp_path):
    with pytest.raises(RunError, match=r"loss .*is not finite: lower --outer-lr or --inner-lr"):
        train(replace(RANK1, outer_lr=1e30), tmp_path)


def test_full_disk_is_a_message(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(RunFolder, "save_checkpoint", fail)
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        train(RANK1, tmp_path)


def test_data_that_cannot_be_read_is_a_message_and_leaves_no_folder(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    config = replace(preset_config("rotated-mnist"), data_dir=str(tmp_path))
    with pytest.raises(RunError, match=r"problem rotated-mnist: .*train-images-idx3-ubyte"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_many_query_images_are_a_message(tmp_path):
    with pytest.raises(RunError, match=r"k_spt \+ k_qry must be at most"):
        train(replace(DIGITS, k_qry=5000), tmp_path / "run")


def test_several_seeds(tmp_path):
    summary = runs.train_seeds(RANK1, tmp_path / "run", [3, 4], console=Console(file=io.StringIO()))
    alone = train(replace(RANK1, seed=4), tmp_path / "alone")
    losses = summary["test"]["loss"]
    assert losses["values"][1] == alone["test"]["loss"]
    assert losses["mean"] == pytest.approx(sum(losses["values"]) / 2)
    assert losses["ci95"] == pytest.approx(12.7062 * losses["std"] / 2**0.5)
    assert open_run(MsrConfig, tmp_path / "run")[2] == (3, 4)


def test_several_seeds_resume_where_they_stopped(tmp_path, monkeypatch):
    console = Console(file=io.StringIO())
    whole = runs.train_seeds(RANK1, tmp_path / "whole", [0, 1], console=console)
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(RunStopped, match="all seeds: --resume"):
            runs.train_seeds(RANK1, tmp_path / "parts", [0, 1], console=console)
    parts = runs.train_seeds(RANK1, tmp_path / "parts", [0, 1], resume=True, console=console)
    assert parts["test"] == whole["test"]
    with pytest.raises(RunError, match=r"seeds is \[0, 1\] in its config\.yaml, got \[0, 1, 2\]"):
        runs.train_seeds(RANK1, tmp_path / "parts", [0, 1, 2], resume=True, console=console)


def test_seed_given_twice_is_refused(tmp_path):
    with pytest.raises(RunError, match="seeds must differ from each other, got 1 1"):
        runs.train_seeds(RANK1, tmp_path / "run", [1, 1])


@pytest.mark.parametrize(
    "name", ["rank1", "single", "routed", "dedicated-as-in-deck", "characters", "prototypes"]
)
def test_evaluation_and_plots(name, tmp_path):
    train(CONFIGS[name], tmp_path)
    result = runs.evaluate(tmp_path, tasks=4)
    assert result == json.loads((tmp_path / "evaluation.json").read_text())
    assert (result["step"], result["tasks"]) == (6, 4)
    written = plot_run(tmp_path)
    assert all(path.stat().st_size > 1000 for path in written)
    names = {path.stem for path in written}
    assert ("warps" in names) == (name != "prototypes")
    if CONFIGS[name].problem == "omniglot":
        assert {"losses", "weights", "episode"} <= names
        assert "accuracy_ci95" in result
    if CONFIGS[name].rotated:
        assert {"images_per_angle", "errors_per_angle", "activations", "weights"} <= names


def test_plots_of_a_steered_bank_show_the_group_action(tmp_path):
    train(replace(preset_config("rot8-flip"), steps=1, tasks=1, test_tasks=1, k_qry=1), tmp_path)
    names = {path.stem for path in plot_run(tmp_path)}
    assert {"rotation_A_warp", "rotation_C_warp", "flip_A_warp", "flip_C_warp", "weights", "warps"} <= names


def test_evaluation_and_plots_of_several_seeds(tmp_path):
    runs.train_seeds(RANK1, tmp_path, [0, 1], console=Console(file=io.StringIO()))
    result = runs.evaluate(tmp_path, tasks=4)
    assert result["seeds"] == [0, 1]
    assert len(result["test"]["loss"]["values"]) == 2
    assert tmp_path / "figures/losses.png" in plot_run(tmp_path)


def test_evaluation_needs_a_checkpoint(tmp_path):
    RunFolder(tmp_path / "run").create(config_to_dict(RANK1))
    with pytest.raises(RunError, match="has no checkpoint"):
        runs.evaluate(tmp_path / "run")
    with pytest.raises(RunError, match="is no run folder"):
        runs.evaluate(tmp_path)
