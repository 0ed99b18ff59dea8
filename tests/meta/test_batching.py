"""The two ways to run all tasks at once, which one is taken, and the losses of many tasks."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rotfast
from rotfast.meta import MetaLearner, batching, learner
from rotfast.meta.losses import per_task
from rotfast.models import DedicatedCircuits, SingleCircuit

CIRCUITS = {
    "single": lambda: SingleCircuit(3, channels=2, image_size=6),
    "dedicated": lambda: DedicatedCircuits(2, 3, channels=2, image_size=6),
}


@pytest.fixture
def images():
    tasks, classes = 4, 3
    x_spt, x_qry = (torch.randn(tasks, n, 1, 6, 6, dtype=torch.float64) for n in (2, 5))
    y_spt, y_qry = (torch.randint(classes, (tasks, n)) for n in (2, 5))
    return x_spt, y_spt, x_qry, y_qry


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize("name", CIRCUITS)
def test_both_ways_agree(name, inner_steps, first_order, images, monkeypatch, meta_gradients, assert_same):
    learned = MetaLearner(
        CIRCUITS[name]().double(), F.cross_entropy, inner_steps=inner_steps, first_order=first_order
    )
    assert isinstance(batching.choose(learned.net, learned.loss_fn, images), batching.TaskDimension)
    losses = learned(*images)
    actual = meta_gradients(learned, losses)
    monkeypatch.setattr(learner, "choose", lambda net, loss_fn, inputs: batching.Vmapped(net, loss_fn))
    expected = learned(*images)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    assert_same(actual, meta_gradients(learned, expected))


def test_vmap_serves_the_rest(images):
    net = CIRCUITS["single"]()

    def chosen(net, x):
        return type(batching.choose(net, F.cross_entropy, (x,)))

    assert chosen(net, images[0]) is batching.TaskDimension
    assert chosen(net, (images[0],)) is batching.Vmapped
    assert chosen(nn.Sequential(net, nn.LayerNorm(3)), images[0]) is batching.Vmapped
    with torch.inference_mode():
        assert chosen(net, images[0]) is batching.Vmapped
    inside = []
    torch.func.vmap(lambda x: inside.append(chosen(net, x)) or x)(images[0])
    assert inside == [batching.Vmapped]


@pytest.mark.parametrize("task_chunk", [None, 1, 3, 4])
@pytest.mark.parametrize("kind", ["single", "vmapped"])
def test_backward_is_forward_and_backward(kind, task_chunk, images, meta_gradients, assert_same):
    net = CIRCUITS["single"]() if kind == "single" else nn.Sequential(CIRCUITS["single"](), nn.LayerNorm(3))
    whole = MetaLearner(net.double(), F.cross_entropy)
    expected = whole(*images)
    gradients = meta_gradients(whole, expected)
    whole.zero_grad()
    whole.task_chunk = task_chunk
    losses = whole.backward(*images)
    assert not losses.requires_grad
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-10, atol=0)
    assert_same({name: p.grad for name, p in whole.named_parameters() if p.grad is not None}, gradients)
    whole.backward(*images)
    assert_same(
        {name: p.grad for name, p in whole.named_parameters() if p.grad is not None},
        {name: 2 * gradient for name, gradient in gradients.items()},
    )


def test_backward_keeps_one_chunk_alive(monkeypatch):
    """Outputs of a chunk are gone when the next begins."""
    import weakref

    alive, most = [], 0

    class Watched(nn.Linear):
        def forward(self, x):
            nonlocal most
            y = super().forward(x)
            alive.append(weakref.ref(y))
            most = max(most, sum(each() is not None for each in alive))
            return y

    learned = MetaLearner(Watched(3, 2), F.mse_loss, inner_steps=0, task_chunk=1)
    learned.backward(*(torch.randn(6, 4, size) for size in (3, 2, 3, 2)))
    assert len(alive) == 6
    assert most == 1


LOSSES = {
    "mse": (F.mse_loss, (4, 3), None),
    "mse-images": (F.mse_loss, (4, 2, 3, 3), None),
    "mse-broadcast": (lambda o, y: F.mse_loss(o, y.expand_as(o)), (4, 3), None),
    "l1": (F.l1_loss, (4, 3), None),
    "cross-entropy": (F.cross_entropy, (4, 3), 3),
    "cross-entropy-images": (F.cross_entropy, (4, 3, 5), 3),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), (4, 3), 3),
}


def loss_case(name):
    loss_fn, shape, classes = LOSSES[name]
    outputs = torch.randn(5, *shape, dtype=torch.float64, requires_grad=True)
    if classes is None:
        y = torch.randn(5, *shape, dtype=torch.float64)
    else:
        y = torch.randint(classes, (5, shape[0], *shape[2:]))
    return loss_fn, outputs, y


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_every_task(name):
    loss_fn, outputs, y = loss_case(name)
    losses = per_task(loss_fn, outputs, y)
    expected = torch.stack([loss_fn(o, t) for o, t in zip(outputs, y, strict=True)])
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=0)
    weights = torch.randn(5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(losses @ weights, outputs)
    (wanted,) = torch.autograd.grad(expected @ weights, outputs)
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["mse", "cross-entropy"])
def test_second_derivatives_of_losses(name):
    loss_fn, outputs, y = loss_case(name)
    assert torch.autograd.gradgradcheck(lambda o: per_task(loss_fn, o, y), outputs)


def test_ignored_targets_do_not_count():
    outputs, y = torch.randn(2, 4, 3), torch.tensor([[0, -100, 2, 1], [-100, -100, 1, 0]])
    expected = torch.stack([F.cross_entropy(o, t) for o, t in zip(outputs, y, strict=True)])
    torch.testing.assert_close(per_task(F.cross_entropy, outputs, y), expected)


def test_autocast_keeps_its_rules():
    net = nn.Sequential(rotfast.ShareLinearFull(5, 3), nn.ReLU(), nn.Linear(3, 2))
    learned = MetaLearner(net, F.mse_loss)
    episode = [torch.randn(4, n, size) for n, size in ((1, 5), (1, 2), (3, 5), (3, 2))]
    with torch.autocast("cpu", torch.bfloat16):
        losses = learned(*episode)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, learned(*episode), rtol=0.1, atol=0.05)
