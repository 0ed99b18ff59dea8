"""Training end to end: files, exact continuation, several seeds, evaluation, and what goes wrong."""

import io
import json
import signal
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from rotfast.metrics import episodes as metric_episodes
from rotfast.recipes.one_shot import preset_config, runs, score, training
from rotfast.recipes.one_shot.images import Pipeline, load_split
from rotfast.recipes.run import RunError, RunFolder, RunStopped

SMALL = {"steps": 6, "test_every": 3, "log_every": 2, "checkpoint_every": 4, "episodes": 20, "draws": 3}
EMBEDDER = replace(preset_config("digits"), **SMALL, batch=32, width=4, views=1)
CONFIGS = {
    "embedder": EMBEDDER,
    "all extras": replace(EMBEDDER, loss="batch-hard", mirror_classes=True, rotation_weight=0.5, flip=True),
    "siamese": replace(preset_config("digits", "as-in-deck", "siamese"), **SMALL, batch=16),
    "cnn": replace(preset_config("digits", "as-in-deck", "cnn"), **SMALL, batch=16),
    "dense": replace(
        preset_config("digits", "as-in-deck", "dense"), **SMALL, batch=16, rotation_classes=True
    ),
}


def train(config, folder, **more):
    return training.train(config, folder, console=Console(file=io.StringIO()), **more)


def metrics(folder):
    return [{**record, "seconds": 0} for record in RunFolder(folder).read_metrics()]


def stop_after(monkeypatch, step):
    """Press Ctrl-C while the given step runs."""
    loss, calls = training.step_loss, []

    def pressed(*arguments):
        calls.append(1)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return loss(*arguments)

    monkeypatch.setattr(training, "step_loss", pressed)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_stopped_and_resumed_run_ends_bit_for_bit_like_one_that_was_not(config, tmp_path, monkeypatch):
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(RunStopped, match=r"stopped after step 3 of 6.*rotfast train one-shot --resume"):
            train(config, tmp_path / "parts")
    torch.rand(5)
    parts = train(config, tmp_path / "parts", resume=True)
    assert parts["test"] == whole["test"]
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    a, b = (load_file(tmp_path / name / "checkpoint/model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_files_of_a_run(tmp_path):
    summary = train(EMBEDDER, tmp_path, command="rotfast train one-shot")
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert (summary["recipe"], summary["data"], summary["model"]) == ("one-shot", "digits", "embedder")
    assert [(record["step"], record["split"]) for record in metrics(tmp_path)] == [
        *((1, "train"), (2, "train"), (3, "unseen"), (4, "train"), (6, "train"), (6, "unseen")),
    ]
    test = summary["test"]
    assert test["references"]["trials"] == 3 * (summary["unseen_images"] - 5)
    assert test["references"]["classes"] == [5, 6, 7, 8, 9]
    assert sum(map(sum, test["references"]["confusion"])) == test["references"]["trials"]
    kinds = [(row["way"], row["shots"], row["method"], row["views"]) for row in test["episodes"]]
    assert len(set(kinds)) == len(kinds) == 22
    assert {row["method"] for row in test["episodes"] if row["transductive"]} == {"soft-k-means", "sinkhorn"}
    assert 0 <= test["rejection"]["auroc"] <= 1


def test_classifiers_tell_how_well_they_know_their_own_classes(tmp_path):
    config = replace(
        CONFIGS["dense"], steps=150, batch=64, lr=3e-3, embedding_size=16, rotation_classes=False
    )
    summary = train(config, tmp_path)
    assert summary["test"]["seen_accuracy"] > 0.8
    assert "seen_accuracy" not in train(EMBEDDER, tmp_path / "embedder")["test"]


def test_learning_brings_images_of_a_class_together(tmp_path):
    """Test images of the seen classes, in one-shot episodes; more shots are better."""
    config = replace(EMBEDDER, steps=60, width=8, batch=80)
    split, pipeline = load_split(config), Pipeline(config)
    net = training.make_net(config, 40)
    before = metric_episodes(score.embed(net, split.seen, pipeline), split.seen.y, metric="cosine")
    train(config, tmp_path)
    net, _ = training.load_net(RunFolder(tmp_path), config, split)
    points = score.embed(net, split.seen, pipeline)
    after = metric_episodes(points, split.seen.y, metric="cosine")
    assert after.accuracy > before.accuracy + 0.08
    assert metric_episodes(points, split.seen.y, k_shot=5, metric="cosine").accuracy > after.accuracy


def test_penalty_is_on_the_named_parameters_alone(tmp_path):
    """So strong a penalty shrinks what it is on, whatever the loss says."""
    config = replace(CONFIGS["dense"], steps=20, l2=1e3, l2_on=("body.dense2.weight",), lr=1e-2)
    plain = replace(config, l2=0.0)
    weights = []
    for name, each in (("penalised", config), ("plain", plain)):
        train(each, tmp_path / name)
        weights.append(RunFolder(tmp_path / name).load_weights())
    norms = [{name: weight.norm() for name, weight in each.items()} for each in weights]
    assert norms[0]["body.dense2.weight"] < 0.5 * norms[1]["body.dense2.weight"]
    assert norms[0]["body.dense1.weight"] > 0.5 * norms[1]["body.dense1.weight"]


def test_unknown_name_in_the_penalty_is_a_message(tmp_path):
    with pytest.raises(RunError, match=r"l2_on must name parameters .*body.conv1.weight.*, got conv1"):
        train(replace(CONFIGS["cnn"], l2_on=("conv1",)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_views_are_the_same_at_every_call_and_leave_the_random_state_alone():
    split, pipeline = load_split(EMBEDDER), Pipeline(EMBEDDER)
    net = training.make_net(EMBEDDER, 20)
    torch.manual_seed(3)
    first = score.embed(net, split.unseen, pipeline, views=2)
    drawn = torch.rand(1)
    assert torch.equal(score.embed(net, split.unseen, pipeline, views=2), first)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)
    assert not torch.equal(score.embed(net, split.unseen, pipeline), first)


def test_several_seeds_and_their_evaluation(tmp_path):
    console = Console(file=io.StringIO())
    summary = runs.train_seeds(EMBEDDER, tmp_path / "run", [3, 4], console=console)
    alone = train(replace(EMBEDDER, seed=4), tmp_path / "alone")
    references = summary["test"]["references"]["accuracy"]
    assert references["values"][1] == alone["test"]["references"]["accuracy"]
    assert len(summary["test"]["episodes"]) == len(alone["test"]["episodes"])
    result = runs.evaluate(tmp_path / "run", episodes=30)
    assert result["seeds"] == [3, 4]
    one = json.loads((tmp_path / "run/seed-4/evaluation.json").read_text())
    assert one["step"] == 6
    row = one["test"]["episodes"][0]
    assert row["trials"] == 30 * 5 * 15
    assert result["test"]["episodes"][0]["accuracy"]["values"][1] == row["accuracy"]


def test_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    loss, calls = training.step_loss, []

    def diverge(*arguments):
        calls.append(1)
        return loss(*arguments) * (torch.nan if len(calls) == 5 else 1)

    monkeypatch.setattr(training, "step_loss", diverge)
    with pytest.raises(RunError, match="training loss of step 5 is not finite: lower --lr"):
        train(EMBEDDER, tmp_path)
    assert RunFolder(tmp_path).load_state()["step"] == 4


def test_other_configuration_is_refused(tmp_path):
    train(EMBEDDER, tmp_path)
    with pytest.raises(RunError, match=r"held_out is \[5, 6, 7, 8, 9\] in its config\.yaml, got \[0, 1\]"):
        train(replace(EMBEDDER, held_out=(0, 1)), tmp_path, resume=True)


def test_convnet_trains_on_colour_images(tmp_path, monkeypatch):
    """On noise of CIFAR's shape, since its files may be missing."""
    generator = torch.Generator().manual_seed(0)

    def noise(*arguments):
        labels = torch.arange(60) % 10
        return (
            torch.randint(256, (60, 3, 32, 32), generator=generator, dtype=torch.uint8),
            labels,
            ("a",) * 10,
        )

    monkeypatch.setattr("rotfast.recipes.one_shot.images.load_cifar10", noise)
    config = replace(preset_config("cifar10", "as-in-deck"), steps=1, batch=2, episodes=2, draws=2)
    summary = train(config, tmp_path)
    assert summary["parameters"] == 16_717_906
    assert summary["test"]["episodes"][0]["way"] == 4
    assert summary["test"]["references"]["trials"] == 2 * 20
