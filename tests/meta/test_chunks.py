"""task_chunk: the same numbers as without, in memory that does not grow with the number of tasks."""

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.functional import mse_loss
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rotfast.meta import MetaLearner


class PeakMemory(TorchDispatchMode):
    """Most bytes alive at once in storages that operators made inside the block, whoever holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                self._alive[reference.cdata] = (reference, storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result


def peak_bytes(learner: MetaLearner, episode: tuple[Tensor, ...]) -> int:
    learner.zero_grad()
    with PeakMemory() as memory:
        learner(*episode).sum().backward()
    return memory.peak


def test_peak_memory_does_not_grow_with_tasks():
    net = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3))
    small, large = (
        tuple(torch.randn(num_tasks, n, width) for n, width in ((2, 5), (2, 3), (4, 5), (4, 3)))
        for num_tasks in (8, 32)
    )
    whole = MetaLearner(net, mse_loss, inner_steps=2)
    chunked = MetaLearner(net, mse_loss, inner_steps=2, task_chunk=4)
    assert peak_bytes(whole, large) > 3 * peak_bytes(whole, small)
    assert peak_bytes(chunked, large) < 1.05 * peak_bytes(chunked, small)
    assert peak_bytes(chunked, large) < 0.3 * peak_bytes(whole, large)


@pytest.mark.parametrize("task_chunk", [1, 2, 4, 5, 9])
def test_same_losses_and_gradients_as_without(
    task_chunk, make_net, make_episode, meta_gradients, assert_same
):
    net, episode = make_net("conv"), make_episode(kind="conv")
    whole = MetaLearner(net, mse_loss, inner_steps=2)
    chunked = MetaLearner(net, mse_loss, inner_steps=2, task_chunk=task_chunk)
    losses, expected = chunked(*episode), whole(*episode)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=0)
    assert_same(meta_gradients(chunked, losses), meta_gradients(whole, expected), tolerance=1e-12)


def test_bit_for_bit_the_sum_over_separate_chunks(make_net, make_episode, meta_gradients):
    net, episode = make_net("shared"), make_episode(4)
    chunked = MetaLearner(net, mse_loss, task_chunk=2)
    actual = meta_gradients(chunked, chunked(*episode))
    chunked.zero_grad()
    for first in (2, 0):  # the order in which backward visits them
        chunked(*(x[first : first + 2] for x in episode)).sum().backward()
    assert all(torch.equal(actual[name], p.grad) for name, p in chunked.named_parameters())


def test_autograd_grad_works_and_a_second_derivative_is_refused(make_net, make_episode):
    learner = MetaLearner(make_net("shared"), mse_loss, task_chunk=2)
    whole = MetaLearner(learner.net, mse_loss)
    episode = make_episode()
    warp = learner.net.warp
    (gradient,) = torch.autograd.grad(learner(*episode).sum(), warp)
    (expected,) = torch.autograd.grad(whole(*episode).sum(), warp)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)
    with pytest.raises(RuntimeError, match=r"task_chunk: meta-gradients .* cannot be differentiated again"):
        torch.autograd.grad(learner(*episode).sum(), warp, create_graph=True)


def test_gradients_reach_inputs_and_loss_parameters(make_net, make_episode, meta_gradients, assert_same):
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, output, target):
            return (self.scale * (output - target) ** 2).mean()

    net, loss_fn = make_net("shared"), Weighted()
    x_spt, *rest = make_episode()
    encoder = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for task_chunk in (None, 2):
        encoder.grad = None
        learner = MetaLearner(net, loss_fn, task_chunk=task_chunk)
        gradients = meta_gradients(learner, learner(x_spt @ encoder, *rest))
        found.append(gradients | {"encoder": encoder.grad})
    assert "loss_fn.scale" in found[0]
    assert_same(found[1], found[0], tolerance=1e-12)


def test_dropout_repeats_its_draws_in_backward(make_episode, meta_gradients, assert_same):
    net = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.Linear(16, 3)).double()
    episode = make_episode(4)
    chunked, whole = MetaLearner(net, mse_loss, task_chunk=2), MetaLearner(net, mse_loss)

    torch.manual_seed(1)
    losses = chunked(*episode)
    state = torch.get_rng_state()
    actual = meta_gradients(chunked, losses)
    assert torch.equal(torch.get_rng_state(), state)

    torch.manual_seed(1)
    expected = torch.cat([whole(*(x[first : first + 2] for x in episode)) for first in (0, 2)])
    assert torch.equal(losses, expected)
    assert_same(actual, meta_gradients(whole, expected), tolerance=1e-12)


def test_autocast_is_restored_in_backward(make_episode, meta_gradients, assert_same):
    net = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))
    episode = make_episode(4, dtype=torch.float32)
    whole, chunked = MetaLearner(net, mse_loss), MetaLearner(net, mse_loss, task_chunk=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, expected = chunked(*episode), whole(*episode)
    assert_same(meta_gradients(chunked, losses), meta_gradients(whole, expected), tolerance=0.05)


def test_parameter_changed_before_backward_is_noticed(make_net, make_episode):
    learner = MetaLearner(make_net("shared"), mse_loss, task_chunk=2)
    losses = learner(*make_episode())
    with torch.no_grad():
        learner.net.warp.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        losses.sum().backward()


def test_nested_outputs_and_several_dtypes():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x):
            y = self.linear(x)
            return {"y": y, "best": y.argmax(-1)}

    def loss_fn(output, target):
        return mse_loss(output["y"], target)

    net, x, y = Two(), torch.randn(5, 4, 3), torch.randn(5, 4, 2)
    whole, chunked = (MetaLearner(net, loss_fn, task_chunk=c).query(x, y, x, y) for c in (None, 2))
    torch.testing.assert_close(chunked, whole)
    chunked[0].sum().backward()
    assert chunked[1]["best"].shape == (5, 4)
