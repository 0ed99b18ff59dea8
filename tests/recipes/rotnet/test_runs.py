"""What runs are good for: evaluation, figures, predictions; and the message when they are not finished."""

import io
import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from rotfast import cli
from rotfast.data import load_digits
from rotfast.recipes import rotnet
from rotfast.recipes.rotnet import preset_config, runs, stages
from rotfast.recipes.rotnet.plots import plot_run
from rotfast.recipes.rotnet.predict import predict, predict_turn
from rotfast.recipes.run import RunError, RunFolder, RunStopped

TINY = replace(
    preset_config("digits"),
    width=2,
    unlabelled=20,
    pretext_epochs=1,
    steps=2,
    labels_per_class=(1,),
    test_images=40,
)
DIGITS, CLASSES = load_digits("test")


def train(config, folder, **more):
    return rotnet.train(config, folder, console=Console(file=io.StringIO()), **more)


def image_file(path, index, turn=0, size=28, mode="L"):
    Image.fromarray(DIGITS[index].numpy()).rotate(turn).resize((size, size)).convert(mode).save(path)
    return path


def test_pretext_and_transfer_learn_the_digits(finished_run):
    summary = json.loads((finished_run / "summary.json").read_text())
    assert summary["pretext"]["test"]["accuracy"] > 0.6
    accuracies = {trial["labels_per_class"]: trial["accuracy"]["mean"] for trial in summary["trials"]}
    assert accuracies[10] > 0.7
    assert accuracies[10] > accuracies[2]


def test_evaluation_agrees_with_training(finished_run):
    result = runs.evaluate(finished_run)
    assert result == json.loads((finished_run / "evaluation.json").read_text())
    last = RunFolder(finished_run).read_metrics()[-1]
    assert result["accuracy"] == last["accuracy"]
    assert result["confusion"] == last["confusion"]
    assert result["images"] == 360
    confusion = np.array(last["confusion"])
    np.testing.assert_allclose(result["recall"], confusion.diagonal() / confusion.sum(1))


@pytest.mark.slow
def test_figures(finished_run):
    written = plot_run(finished_run)
    assert {path.stem for path in written} == {
        *("pretext", "budget", "confusion-scratch", "confusion-pretext"),
        *("filters", "features-pretext", "features-classifier"),
    }
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.slow
def test_several_seeds_and_a_network_without_pretext(tmp_path, capsys):
    config = replace(TINY, model="mlpc", binarise=True, precision="32-true")
    runs.train_seeds(config, tmp_path, [0, 1], console=Console(file=io.StringIO()))
    result = runs.evaluate(tmp_path)
    assert len(result["accuracy"]["values"]) == 2
    assert np.array(result["confusion"]).sum() == 80
    names = {path.relative_to(tmp_path).as_posix() for path in plot_run(tmp_path)}
    assert names == {
        *("figures/budget.png", "figures/confusion-scratch.png"),
        *(
            f"seed-{seed}/figures/{name}.png"
            for seed in (0, 1)
            for name in ("budget", "confusion-scratch", "features-classifier")
        ),
    }
    assert cli.main(["evaluate", str(tmp_path)]) == 0
    assert "mean of 2 seeds" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(RunError, match=r"is a run over several seeds: take one, .*seed-0"):
        predict(tmp_path, image_file(tmp_path / "digit.png", 0))
    with pytest.raises(RunError, match="has no pretext that could tell a turn"):
        predict_turn(tmp_path / "seed-0", tmp_path / "digit.png")


@pytest.mark.parametrize(("size", "mode"), [(28, "L"), (100, "RGB"), (20, "LA")])
def test_most_digits_of_image_files_are_known(size, mode, finished_run, tmp_path):
    right = 0
    for index in range(20):
        seen = predict(finished_run, image_file(tmp_path / "digit.png", index, size=size, mode=mode))
        assert seen.size == size
        assert 0 < seen.chance <= 1
        right += seen.label == CLASSES[index]
    assert right >= 12


def test_dark_digits_on_light_paper(finished_run, tmp_path):
    light = predict(finished_run, image_file(tmp_path / "light.png", 3))
    Image.fromarray(255 - DIGITS[3].numpy()).save(tmp_path / "dark.png")
    assert predict(finished_run, tmp_path / "dark.png", invert=True) == light


def test_turned_images_are_turned_back_exactly(finished_run, tmp_path):
    found = 0
    for index in range(8):
        for turn in (0, 90, 180, 270):
            turned = image_file(tmp_path / "turned.png", index, turn, mode="RGB")
            angle = predict_turn(finished_run, turned, tmp_path / "upright.png")
            assert angle in (0, 90, 180, 270)
            upright = np.array(Image.open(tmp_path / "upright.png"))
            assert np.array_equal(np.rot90(upright, angle // 90), np.array(Image.open(turned)))
            found += angle == turn
    assert found >= 16


def test_files_that_cannot_be_judged(finished_run, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    with pytest.raises(RunError, match=r"notes\.txt is no image that can be read"):
        predict(finished_run, text)
    with pytest.raises(RunError, match=r"nothing\.png cannot be read"):
        predict(finished_run, tmp_path / "nothing.png")
    Image.new("L", (28, 30)).save(tmp_path / "wide.png")
    with pytest.raises(RunError, match=r"wide\.png must be square, got 30 × 28 pixels"):
        predict_turn(finished_run, tmp_path / "wide.png")
    digit = image_file(tmp_path / "digit.png", 0)
    with pytest.raises(RunError, match=r"upright\.what cannot be written"):
        predict_turn(finished_run, digit, tmp_path / "upright.what")


def test_command_line(finished_run, tmp_path, capsys):
    digit = image_file(tmp_path / "digit.png", 0)
    upright = tmp_path / "upright.png"
    assert cli.main(["predict", str(finished_run), str(digit), "--upright", str(upright)]) == 0
    output = capsys.readouterr().out
    assert "turned by" in output
    assert "with probability" in output
    assert upright.exists()
    assert cli.main(["predict"]) == 2
    assert "which run folder?" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("recipe: msr\n")
    assert cli.main(["predict", str(tmp_path), str(digit)]) == 2
    assert "runs of msr do not judge image files" in capsys.readouterr().err


def test_runs_that_are_not_finished(tmp_path, monkeypatch, finished_run):
    loss, calls = stages.Labels.loss, []

    def pressed(*arguments):
        calls.append(1)
        signal.raise_signal(signal.SIGINT)
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stages.Labels, "loss", pressed)
        with pytest.raises(RunStopped):
            train(TINY, tmp_path / "run")
    with pytest.raises(RunError, match="is not finished: go on with rotfast train rotnet --resume"):
        runs.evaluate(tmp_path / "run")
    shutil.copytree(finished_run, tmp_path / "lost", ignore=shutil.ignore_patterns("rotnet.safetensors"))
    with pytest.raises(RunError, match="has no pretext that could tell a turn"):
        predict_turn(tmp_path / "lost", image_file(tmp_path / "digit.png", 0))
