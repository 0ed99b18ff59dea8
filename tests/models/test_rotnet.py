"""RotNet and the baselines: sizes of the study, freezing, files, export."""

import pytest
import torch
from torch import nn

from rotfast.models import DigitCNN, ProfileMLP, RotNet


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def tiny(trunk="small", **options):
    return RotNet(trunk, **{"image_size": 8, "width": 4, **options})


def test_sizes_of_the_study():
    assert count(ProfileMLP()) == 23_370
    assert count(DigitCNN()) == 6_443_370
    assert count(RotNet()) == 3_327_556
    assert count(RotNet().new_head(10)) == 3_333_706


def test_layers_of_the_deck():
    trunk = [module for module in RotNet().trunk if not isinstance(module, nn.ReLU)]
    assert [getattr(module, "out_channels", "pool") for module in trunk] == [32] * 3 + ["pool"] + [64] * 3 + [
        "pool"
    ]
    assert RotNet().features(torch.rand(2, 1, 28, 28)).shape == (2, 1024)


@pytest.mark.parametrize("trunk", ["deck", "small", "nin"])
@pytest.mark.parametrize("size", [8, 9, 32])
def test_trunks_take_any_size_and_channels(trunk, size):
    net = RotNet(trunk, 7, in_channels=3, image_size=size, width=6)
    assert net(torch.rand(2, 3, size, size)).shape == (2, 7)
    assert net.features(torch.rand(2, 3, size, size)).shape == (2, net.head.in_features)


def step(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(torch.rand(4, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    return {
        name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])
    }


@pytest.mark.parametrize("trunk", ["deck", "small"])
def test_frozen_parts_do_not_change_in_training_batch_norms_included(trunk):
    hidden = {"hidden"} if trunk == "deck" else set()
    assert step(tiny(trunk)) == {"trunk", "head"} | hidden
    assert step(tiny(trunk).freeze("convs")) == {"head"} | hidden
    assert step(tiny(trunk).freeze("all")) == {"head"}
    assert step(tiny(trunk).freeze("all").freeze("none")) == {"trunk", "head"} | hidden


def test_new_head_keeps_the_features():
    net = tiny()
    x = torch.rand(2, 1, 8, 8)
    before = net.eval().features(x)
    assert torch.equal(net.new_head(10).features(x), before)
    assert net(x).shape == (2, 10)


def test_features_move_between_networks_with_different_heads():
    source, target = tiny(), tiny(num_classes=10)
    head = target.head.weight.clone()
    target.load_features(source)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(target.eval().features(x), source.eval().features(x))
    assert torch.equal(target.head.weight, head)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trunk": "deck"}, "other must have trunk 'deck', got 'small'"),
        ({"width": 8}, "other must have width 8, got 4"),
        ({"in_channels": 3}, "other must have in_channels 3, got 1"),
        ({"image_size": 12}, "other must have image_size 12, got 8"),
    ],
)
def test_features_of_another_architecture_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options).load_features(tiny())


def test_file_returns_what_was_saved(tmp_path):
    net = tiny(num_classes=6)
    net(torch.rand(4, 1, 8, 8))  # moves the statistics of the batch norms
    net.save(tmp_path / "rotnet.safetensors")
    loaded = RotNet.from_run(tmp_path)
    assert loaded.architecture == net.architecture
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(loaded.eval()(x), net.eval()(x))
    assert [path.name for path in tmp_path.iterdir()] == ["rotnet.safetensors"]


def test_files_that_hold_no_network(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no network in .*rotnet\.safetensors"):
        RotNet.from_run(tmp_path)
    path = tmp_path / "rotnet.safetensors"
    tiny().save(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="is damaged"):
        RotNet.from_run(tmp_path)
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="holds no RotNet"):
        RotNet.load(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RotNet("resnet"), "trunk must be one of deck, small, nin, got 'resnet'"),
        (lambda: RotNet(num_classes=0), "num_classes must be a positive int, got 0"),
        (lambda: RotNet(image_size=3), "image_size must be an int of at least 4, got 3"),
        (lambda: RotNet("small", image_size=7), "image_size must be an int of at least 8, got 7"),
        (lambda: RotNet(width=-1), "width must be a positive int, got -1"),
        (lambda: RotNet().freeze("head"), "part must be none, convs or all, got 'head'"),
        (lambda: RotNet().new_head(0), "num_classes must be a positive int"),
        (lambda: DigitCNN(image_size=1), "image_size must be an int of at least 2"),
        (lambda: ProfileMLP(features=0), "features must be a positive int"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("trunk", ["deck", "small", "nin"])
def test_exported_program_computes_the_same_after_a_round_trip(trunk, tmp_path):
    net = tiny(trunk, num_classes=10).eval()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(net, (torch.rand(3, 1, 8, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "net.pt2")
    x = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(torch.export.load(tmp_path / "net.pt2").module()(x), net(x))


def test_onnx_file_computes_the_same(tmp_path):
    pytest.importorskip("onnxscript", reason="export to ONNX needs onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="running ONNX needs onnxruntime")
    net, x = tiny(num_classes=10).eval(), torch.rand(2, 1, 8, 8)
    torch.onnx.export(net, (x,), tmp_path / "net.onnx", dynamo=True, external_data=False)
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), net(x), rtol=1e-4, atol=1e-5)
