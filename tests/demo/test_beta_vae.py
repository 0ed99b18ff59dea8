"""Runs of the β-VAE recipe: names and ranges of the code, the way there and back, the command."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace

import pytest
import torch

pytest.importorskip("uvicorn", reason="needs rotfast[demo]")

from rotfast import cli
from rotfast.demo.beta_vae import BetaVaeExplorer, open_run
from rotfast.demo.server import bind
from rotfast.models import SpatialVAE, article_vae, own_vae
from rotfast.recipes.beta_vae import preset_config
from rotfast.recipes.beta_vae.runs import train, train_seeds
from rotfast.recipes.run import RunError

SMALL = {
    "epochs": 1,
    "images": 64,
    "hidden": 8,
    "candidates": 3,
    "latent_size": 2,
    "image_size": 16,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "spatial"
    train(replace(preset_config("spatial"), **SMALL), folder)
    return folder


@pytest.mark.parametrize(("make", "size"), [(article_vae, 64), (article_vae, 16), (own_vae, 32)])
def test_a_gaussian_code(make, size):
    net = make(latent_size=4, image_size=size)
    explorer = BetaVaeExplorer(net, size, 4)
    assert [dimension.name for dimension in explorer.dimensions] == ["z1", "z2", "z3", "z4"]
    images = torch.rand(3, 1, size, size)
    codes = explorer.encode(images)
    torch.testing.assert_close(codes, net.encode(images)[0])
    torch.testing.assert_close(explorer.decode(codes), net.decode(codes))


def test_batch_normalisation_rests():
    explorer = BetaVaeExplorer(own_vae(latent_size=2, image_size=16), 16, 2)
    images = torch.rand(5, 1, 16, 16)
    torch.testing.assert_close(explorer.encode(images)[:1], explorer.encode(images[:1]))


@pytest.mark.parametrize("shift_std", [0.0, 1.5])
def test_a_spatial_code(shift_std):
    net = SpatialVAE(latent_size=3, image_size=16, hidden=8, span=60.0, shift_std=shift_std)
    explorer = BetaVaeExplorer(net, 16, 3)
    names = ["angle", "z1", "z2", "z3"] + (["shift right", "shift down"] if shift_std else [])
    assert [dimension.name for dimension in explorer.dimensions] == names
    angle = explorer.dimensions[0]
    assert (angle.low, angle.high, angle.unit) == (-60, 60, "°")
    assert explorer.dimensions[-1].high == (4.5 if shift_std else 3)
    images = torch.rand(5, 1, 16, 16)
    codes, code = explorer.encode(images), net.encode(images)
    assert codes.shape == (5, len(names))
    torch.testing.assert_close(codes[:, 0], code.angle)
    torch.testing.assert_close(explorer.decode(codes), net.decode(code.mu, code.angle, code.shift))


def test_the_angle_turns_the_decoded_image():
    explorer = BetaVaeExplorer(SpatialVAE(latent_size=2, image_size=16, hidden=8), 16, 2)
    upright, turned = explorer.decode(torch.tensor([[0.0, 1.0, -1.0], [90.0, 1.0, -1.0]]))
    torch.testing.assert_close(turned, torch.rot90(upright, dims=(1, 2)))


def test_a_run(run):
    shown = open_run(run)
    assert shown.title == f"spatial, digits, β = 1, seed 0: {run}"
    images, labels = shown.examples
    assert images.shape == (360, 28, 28)
    assert images.dtype == torch.uint8
    assert labels.unique().tolist() == list(range(10))
    assert len(shown.explorer.dimensions) == 3
    assert shown.explorer.encode(torch.rand(1, 1, 16, 16)).shape == (1, 3)


def test_of_several_seeds_and_betas_the_first(tmp_path):
    config = replace(preset_config("article"), **SMALL, betas=(2.0, 8.0))
    train_seeds(config, tmp_path / "run", [5, 6])
    title = open_run(tmp_path / "run").title
    assert title == f"article, digits, β = 2, seed 5: {tmp_path / 'run' / 'seed-5' / 'beta-2'}"


def test_a_machine_that_lost_mnist_still_has_examples(run, monkeypatch):
    def lost(config, split):
        raise RunError("data mnist: no such file")

    monkeypatch.setattr("rotfast.demo.beta_vae.load_images", lost)
    assert open_run(run).examples[0].shape == (360, 28, 28)


def test_a_run_without_checkpoint(run, tmp_path):
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    with pytest.raises(RunError, match="has no checkpoint"):
        open_run(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_the_command_serves_until_interrupted(run):
    program = "import sys; from rotfast.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "demo", "beta-vae", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
            with urllib.request.urlopen(url + "api/model", timeout=20) as answer:
                model = json.load(answer)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert [dimension["name"] for dimension in model["dimensions"]] == ["angle", "z1", "z2"]
    assert model["digits"] == list(range(10))
    assert (process.returncode, errors) == (0, "")


def test_a_port_that_is_taken(run, capsys):
    with bind("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
        assert cli.main(["demo", "beta-vae", str(run), "--port", port]) == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err
