"""Training on the digits end to end: files, exact continuation, seeds, and what goes wrong."""

import io
import json
import signal
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from rotfast.models import RotNet
from rotfast.recipes import rotnet
from rotfast.recipes.rotnet import preset_config, runs, stages
from rotfast.recipes.run import RunError, RunFolder, RunStopped
from rotfast.recipes.seeds import open_run

SMALL = {
    "unlabelled": 24,
    "pretext_epochs": 2,
    "pretext_batch": 8,
    "epochs": 2,
    "batch": 10,
    "labels_per_class": (2,),
    "test_images": 40,
    "width": 4,
    "checkpoint_every": 50,
}
PLAIN = replace(preset_config("digits"), **SMALL, turns=4, steps=4, augment=("none",))
DECK = replace(preset_config("digits", "as-in-deck"), **{**SMALL, "width": 2, "labels_per_class": (5,)})
CONFIGS = {
    "both-augmentations": replace(PLAIN, augment=("none", "fresh"), labels_per_class=(1, 3), draws=2),
    "pseudo-labels": replace(PLAIN, checkpoint_every=3, pseudo_labels=True, pseudo_steps=3),
    "free-angles": replace(PLAIN, turns=0, freeze="all"),
    "eighths": replace(PLAIN, turns=8, freeze="convs", perspective=0.2, shear=5.0),
    "as-in-deck": DECK,
    "mlpc": replace(DECK, model="mlpc"),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def train(config, folder, **more):
    return rotnet.train(config, folder, console=Console(file=io.StringIO()), **more)


def metrics(folder):
    return [{**record, "seconds": 0} for record in RunFolder(folder).read_metrics()]


def weights(folder):
    return load_file(folder / "checkpoint/model.safetensors")


def stop_at(monkeypatch, steps):
    """Press Ctrl-C in the given steps of the run, counted over all its continuations."""
    calls = []
    for kind in (stages.Pretext, stages.Labels):
        loss = kind.loss

        def pressed(stage, net, step, loss=loss):
            calls.append(1)
            if len(calls) in steps:
                signal.raise_signal(signal.SIGINT)
            return loss(stage, net, step)

        monkeypatch.setattr(kind, "loss", pressed)


@each_config
def test_stopped_and_resumed_run_ends_bit_for_bit_like_one_that_was_not(config, tmp_path, monkeypatch):
    whole = train(config, tmp_path / "whole")
    # In the midst of the first stage, at its end, and in the midst of a later one.
    stops = {2, 6, whole["steps"] - 1} if config.model == "rotnet" else {2, whole["steps"] - 1}
    stop_at(monkeypatch, stops)
    for count in range(len(stops)):
        with pytest.raises(RunStopped, match="go on with: rotfast train rotnet --resume"):
            train(config, tmp_path / "parts", resume=count > 0)
        torch.rand(5)
    summary = train(config, tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert {**summary, "seconds": 0} == {**whole, "seconds": 0}
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_finished_run_can_be_resumed_to_no_effect(tmp_path):
    summary = train(PLAIN, tmp_path)
    before = metrics(tmp_path)
    assert {**train(PLAIN, tmp_path, resume=True), "seconds": 0} == {**summary, "seconds": 0}
    assert metrics(tmp_path) == before


def test_run_without_a_checkpoint_resumes_from_the_start(tmp_path):
    whole = train(PLAIN, tmp_path / "whole")
    RunFolder(tmp_path / "run").create(rotnet.training.config_to_dict(PLAIN))
    assert train(PLAIN, tmp_path / "run", resume=True)["trials"] == whole["trials"]


def test_files_of_a_run(tmp_path):
    config = CONFIGS["both-augmentations"]
    summary = train(config, tmp_path, command="rotfast train rotnet")
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert open_run(type(config), tmp_path)[1] == config
    trials = [(trial["labels_per_class"], trial["augment"], trial["arm"]) for trial in summary["trials"]]
    assert trials == [
        (size, augment, arm)
        for size in (1, 3)
        for augment in ("none", "fresh")
        for arm in ("scratch", "pretext")
    ]
    assert all(len(trial["accuracy"]["values"]) == 2 for trial in summary["trials"])
    assert summary["pretext"].keys() == {"test"}
    records = [record for record in metrics(tmp_path) if record["stage"] == "labels"]
    assert len(records) == 16
    assert records[-1]["step"] == summary["steps"]
    confusion = torch.tensor(records[-1]["confusion"])
    assert confusion.sum() == 40
    assert confusion.trace() == round(40 * records[-1]["accuracy"])
    assert RotNet.from_run(tmp_path).head.out_features == 4


def test_as_in_deck_has_the_sizes_of_the_study_and_tells_of_its_split(tmp_path):
    config = replace(
        DECK, width=None, unlabelled=2, pretext_epochs=1, epochs=1, augment=("none",), test_images=2
    )
    summary = train(config, tmp_path / "rotnet")
    assert summary["parameters"] == {"pretext": 3_327_556, "labels": 3_333_706}
    assert summary["pretext"].keys() == {"test", "held-out copies"}
    for model, size in (("mlpc", 23_370), ("cnn", 6_443_370)):
        summary = train(replace(config, model=model), tmp_path / model)
        assert summary["parameters"] == {"labels": size}


def test_pretext_and_scratch_differ_by_their_start_alone(tmp_path):
    trials = stages.make_trials(PLAIN)
    images = rotnet.training.load_images(PLAIN, "train")
    pipeline = rotnet.training.Pipeline(PLAIN)
    more = (images, images, pipeline, torch.device("cpu"), lambda: stages.new_rotnet(PLAIN), torch.tensor)
    scratch, pretext = (stages.Labels(PLAIN, each, *more) for each in trials)
    assert (scratch.trial.arm, pretext.trial.arm) == ("scratch", "pretext")
    assert scratch.seed == pretext.seed
    assert torch.equal(scratch.labelled.x, pretext.labelled.x)


def test_pseudo_labels_are_trained_on_after_the_trial_that_they_come_from(tmp_path):
    summary = train(CONFIGS["pseudo-labels"], tmp_path)
    records = [record for record in metrics(tmp_path) if record["stage"] == "labels"]
    arms = ["scratch", "scratch+pseudo-labels", "pretext", "pretext+pseudo-labels"]
    assert [record["arm"] for record in records] == arms == [trial["arm"] for trial in summary["trials"]]
    content = json.loads((tmp_path / "pseudo-labels.json").read_text())
    assert "pretext" in content["after"]
    assert len(content["labels"]) == 24
    images = rotnet.training.load_images(PLAIN, "train")
    truth = stages.unlabelled_images(PLAIN, images).y
    right = (torch.tensor(content["labels"]) == truth).float().mean()
    assert records[2]["pseudo_label_accuracy"] == pytest.approx(right.item())
    assert "pseudo_label_accuracy" not in records[3]


def test_pretext_of_another_run_is_taken_over(tmp_path):
    first = train(PLAIN, tmp_path / "first")
    config = replace(PLAIN, pretext_from=str(tmp_path / "first"))
    second = train(config, tmp_path / "second")
    assert second["trials"] == first["trials"]
    assert "pretext" not in second


def test_pretext_of_another_architecture_is_refused(tmp_path):
    train(PLAIN, tmp_path / "first")
    config = replace(PLAIN, pretext_from=str(tmp_path / "first"), width=8)
    with pytest.raises(RunError, match="other must have width 8, got 4"):
        train(config, tmp_path / "second")
    assert not (tmp_path / "second").exists()
    with pytest.raises(RunError, match=r"pretext of .*nowhere cannot be used"):
        train(replace(config, pretext_from="nowhere"), tmp_path / "second")


def test_several_seeds(tmp_path):
    console = Console(file=io.StringIO())
    summary = runs.train_seeds(replace(PLAIN, draws=2), tmp_path / "run", [3, 4], console=console)
    alone = train(replace(PLAIN, draws=2, seed=4), tmp_path / "alone")
    values = summary["trials"][1]["accuracy"]["values"]
    assert values[2:] == alone["trials"][1]["accuracy"]["values"]
    assert summary["trials"][1]["accuracy"]["mean"] == pytest.approx(sum(values) / 4)
    assert summary["pretext"]["test"]["accuracy"]["values"][1] == alone["pretext"]["test"]["accuracy"]


def test_more_labels_than_images_of_a_class_are_a_message(tmp_path):
    with pytest.raises(RunError, match=r"labels_per_class 200: .*but class \d has 1\d\d images"):
        train(replace(PLAIN, labels_per_class=(200,)), tmp_path / "run")
    with pytest.raises(RunError, match="unlabelled must be at most the 1437 training images, got 5000"):
        train(replace(PLAIN, unlabelled=5000), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_diverging_run_is_a_message(tmp_path):
    with pytest.raises(
        RunError, match=r"the loss of pretext, step \d is not finite: lower its learning rate"
    ):
        train(replace(PLAIN, pretext_lr=1e38), tmp_path)
