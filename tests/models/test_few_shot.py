"""Networks for episodes: prototypes against the metric of that name, what the inner loop adapts, errors."""

import pytest
import torch
from torch.nn import functional as F

from rotfast.meta import MetaLearner
from rotfast.metrics import few_shot_predict
from rotfast.models import FewShotClassifier, FewShotPrototypes
from rotfast.nn import symmetry_parameters


def test_prototypes_answer_like_the_metric():
    torch.manual_seed(0)
    net = FewShotPrototypes(ways=3, width=8)
    x, x_spt, y_spt = torch.rand(20, 1, 28, 28), torch.rand(6, 1, 28, 28), torch.tensor([2, 0, 1, 1, 0, 2])
    support = net.trunk(x_spt)[y_spt.argsort(stable=True)].view(3, 2, -1)
    expected = few_shot_predict(support, net.trunk(x), "prototype", "euclidean")
    assert torch.equal(net(x, x_spt, y_spt).argmax(1), expected)
    assert len(expected.unique()) > 1
    distance = (net.trunk(x)[:, None] - support.mean(1)).norm(dim=2)
    torch.testing.assert_close(net(x, x_spt, y_spt), -distance.square())


@pytest.mark.parametrize("shared", [False, True])
def test_parameters(shared):
    net = FewShotClassifier(shared=shared)
    # Convolutions, norms, head; and of every convolution the warps of outputs, inputs and taps.
    plain = 320 + 3 * 9248 + 4 * 64 + (128 * 5 + 5)
    warps = (32**2 + 1 + 81) + 3 * (2 * 32**2 + 81) if shared else 0
    assert sum(parameter.numel() for parameter in net.parameters()) == plain + warps
    assert sum(parameter.numel() for parameter in symmetry_parameters(net).values()) == warps


def test_an_answer_does_not_depend_on_the_other_queries():
    net, x = FewShotClassifier(width=8), torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(net(x)[:1], net(x[:1]))


def test_only_the_outer_loop_moves_the_warps():
    torch.manual_seed(0)
    net = FewShotClassifier(ways=2, width=8, shared=True, image_size=8)
    learner = MetaLearner(net, F.cross_entropy)
    x, y = torch.rand(3, 2, 1, 8, 8), torch.tensor([0, 1]).expand(3, -1)
    assert not any("warp" in name for name in learner.adapt(x, y))
    learner(x, y, x, y).sum().backward()
    assert all(warp.grad.abs().sum() > 0 for warp in symmetry_parameters(net).values())


@pytest.mark.parametrize("kind", [FewShotClassifier, FewShotPrototypes])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ways": 0}, "ways must be a positive int, got 0"),
        ({"width": 10}, "width must be a multiple of 4, got 10"),
        ({"image_size": 2.5}, "image_size must be a positive int, got 2.5"),
        ({"in_channels": True}, "in_channels must be a positive int, got True"),
    ],
)
def test_bad_sizes_are_named(kind, change, message):
    with pytest.raises(ValueError, match=message):
        kind(**change)
