"""Labels spread along neighbours."""

import torch

from rotfast.recipes.rotnet import preset_config
from rotfast.recipes.rotnet.images import Pipeline
from rotfast.recipes.rotnet.pseudo import joint_features, spread_labels
from rotfast.recipes.rotnet.stages import new_rotnet


def test_labels_follow_a_chain_and_not_the_shorter_way_across():
    """Two half moons: most points of each are nearer to the other's label than to their own."""
    angle = torch.linspace(0, torch.pi, 100)
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    ends = torch.stack([upper[0], lower[0]])
    labels = spread_labels(torch.cat([ends, upper[1:], lower[1:]]), torch.tensor([4, 9]))
    assert torch.equal(labels, torch.tensor([4] * 99 + [9] * 99))
    nearest = torch.cdist(upper, ends).argmin(1)
    assert nearest.float().mean() > 0.3


def test_what_no_chain_reaches_takes_the_nearest_label():
    left, right = torch.linspace(0, 1, 30), torch.linspace(100, 101, 30)
    features = torch.cat([left, right])[:, None] * torch.tensor([[1.0, 0.0]])
    assert torch.equal(spread_labels(features, torch.tensor([5])), torch.full((59,), 5))
    assert torch.equal(spread_labels(features, torch.tensor([5, 5, 6]))[-30:], torch.full((30,), 6))


def test_features_of_several_networks_side_by_side_of_length_one():
    config = preset_config("digits")
    nets = [new_rotnet(config), new_rotnet(config).new_head(10)]
    features = joint_features(nets, torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8), Pipeline(config))
    halves = features.chunk(2, dim=1)
    for net, half in zip(nets, halves, strict=True):
        assert not net.training
        torch.testing.assert_close(half.norm(dim=1), torch.ones(5))
