"""MetaLearner against a plain loop over tasks, and its behaviour at the edges."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from rotfast.meta import MetaLearner

KINDS = ["shared", "shared-norm", "mlp", "conv", "tied", "frozen"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inner_optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_equals_plain_loop_for_every_net(
    kind, inner_optimizer, inner_steps, make_net, make_episode, plain_losses, meta_gradients, assert_same
):
    learner = MetaLearner(
        make_net(kind), mse_loss, inner_lr=0.05, inner_optimizer=inner_optimizer, inner_steps=inner_steps
    )
    episode = make_episode(kind=kind)
    losses, expected = learner(*episode), plain_losses(learner, *episode)
    assert losses.shape == (5,)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    assert_same(meta_gradients(learner, losses), meta_gradients(learner, expected))


@pytest.mark.parametrize(
    ("inner_optimizer", "inner_steps", "lr_mode", "first_order", "task_chunk"),
    [
        *itertools.product(
            ["sgd", "adam"], [1, 3], ["per_layer", "per_param", "fixed"], [False, True], [None, 2]
        )
    ],
)
def test_equals_plain_loop_for_every_option(
    inner_optimizer,
    inner_steps,
    lr_mode,
    first_order,
    task_chunk,
    make_net,
    make_episode,
    plain_losses,
    meta_gradients,
    assert_same,
):
    learner = MetaLearner(
        make_net("shared-norm"),
        mse_loss,
        inner_lr=0.05,
        lr_mode=lr_mode,
        inner_optimizer=inner_optimizer,
        inner_steps=inner_steps,
        first_order=first_order,
        task_chunk=task_chunk,
    )
    episode = make_episode()
    actual = meta_gradients(learner, learner(*episode))
    assert_same(actual, meta_gradients(learner, plain_losses(learner, *episode)))
    learned_rates = sum(name.startswith("inner_lrs") for name in actual)
    assert learned_rates == (0 if lr_mode == "fixed" else 6)


def test_first_order_differs_from_second(make_net, make_episode, meta_gradients):
    net, episode = make_net("shared"), make_episode()
    second, first = (
        meta_gradients(learner, learner(*episode))["net.warp"]
        for learner in (MetaLearner(net, mse_loss, first_order=order) for order in (False, True))
    )
    assert (second - first).abs().max() > 1e-3 * second.abs().max()


@pytest.mark.parametrize("task_chunk", [None, 2])
def test_tuple_inputs(task_chunk, gated_net, make_episode, plain_losses, meta_gradients, assert_same):
    x_spt, y_spt, x_qry, y_qry = make_episode()
    episode = (x_spt, torch.randint(4, (5, 2))), y_spt, (x_qry, torch.randint(4, (5, 4))), y_qry
    learner = MetaLearner(gated_net, mse_loss, task_chunk=task_chunk)
    actual = meta_gradients(learner, learner(*episode))
    assert_same(actual, meta_gradients(learner, plain_losses(learner, *episode)))


def test_tuple_targets_reach_the_loss_as_a_tuple(make_net, make_episode):
    x_spt, y_spt, x_qry, y_qry = make_episode()
    net = make_net("mlp")

    def weighted(output, target):
        return (target[1] * (output - target[0]) ** 2).mean()

    losses = MetaLearner(net, weighted)(
        x_spt, (y_spt, torch.ones_like(y_spt)), x_qry, (y_qry, torch.ones_like(y_qry))
    )
    torch.testing.assert_close(losses, MetaLearner(net, mse_loss)(x_spt, y_spt, x_qry, y_qry))


@pytest.mark.parametrize("task_chunk", [None, 2])
def test_adapt_query_predict_agree(task_chunk, make_net, make_episode, plain_adapt):
    learner = MetaLearner(make_net("shared"), mse_loss, inner_steps=2, task_chunk=task_chunk)
    x_spt, y_spt, x_qry, y_qry = make_episode()
    adapted, expected = learner.adapt(x_spt, y_spt), plain_adapt(learner, x_spt, y_spt)
    assert {name: tuple(value.shape) for name, value in adapted.items()} == {"latent": (5, 2), "bias": (5, 3)}
    for task in range(5):
        for name in adapted:
            torch.testing.assert_close(adapted[name][task], expected[task][name], rtol=1e-10, atol=1e-14)

    losses, outputs = learner.query(x_spt, y_spt, x_qry, y_qry)
    assert outputs.shape == (5, 4, 3)
    torch.testing.assert_close(losses, learner(x_spt, y_spt, x_qry, y_qry))
    torch.testing.assert_close(outputs, learner.predict(x_spt, y_spt, x_qry))
    torch.testing.assert_close(losses, (outputs - y_qry).square().mean((1, 2)))


def test_adapted_parameters_are_differentiable(make_net, make_episode, plain_adapt):
    learner = MetaLearner(make_net("shared"), mse_loss)
    x_spt, y_spt, *_ = make_episode()
    (actual,) = torch.autograd.grad(learner.adapt(x_spt, y_spt)["latent"].sum(), learner.net.warp)
    total = sum(parameters["latent"].sum() for parameters in plain_adapt(learner, x_spt, y_spt))
    torch.testing.assert_close(
        actual, torch.autograd.grad(total, learner.net.warp)[0], rtol=1e-10, atol=1e-13
    )


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("task_chunk", [None, 2])
def test_evaluation_keeps_no_graph(guard, task_chunk, make_net, make_episode):
    learner = MetaLearner(make_net("shared"), mse_loss, inner_steps=2, task_chunk=task_chunk)
    episode = make_episode()
    expected = learner(*episode)
    with guard():
        losses = learner(*episode)
        adapted = learner.adapt(*episode[:2])
    assert not losses.requires_grad
    assert not adapted["latent"].requires_grad
    torch.testing.assert_close(losses, expected)


def test_no_inner_steps_is_no_adaptation(make_net, make_episode):
    net = make_net("mlp")
    learner = MetaLearner(net, mse_loss, inner_steps=0)
    x_spt, y_spt, x_qry, _ = make_episode()
    torch.testing.assert_close(learner.predict(x_spt, y_spt, x_qry), net(x_qry))
    assert learner.adapt(x_spt, y_spt)["0.weight"].shape == (5, 6, 5)


def test_classification_with_integer_targets():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 10))
    learner = MetaLearner(net, cross_entropy, task_chunk=2)
    x, y = torch.randn(3, 4, 1, 6, 6), torch.randint(10, (3, 4))
    learner(x, y, x, y).sum().backward()
    assert all(p.grad.isfinite().all() for p in learner.parameters())


def test_single_task_and_single_sample(make_net, make_episode, plain_losses):
    learner = MetaLearner(make_net("shared"), mse_loss)
    x_spt, y_spt, x_qry, y_qry = make_episode(1)
    episode = x_spt[:, :1], y_spt[:, :1], x_qry[:, :1], y_qry[:, :1]
    torch.testing.assert_close(learner(*episode), plain_losses(learner, *episode))


def test_non_contiguous_inputs(make_net, make_episode):
    learner = MetaLearner(make_net("shared"), mse_loss)
    episode = make_episode()
    strided = tuple(x.transpose(0, 1).contiguous().transpose(0, 1) for x in episode)
    torch.testing.assert_close(learner(*strided), learner(*episode))


def test_frozen_later_is_adapted_but_not_learned(make_net, make_episode):
    net = make_net("shared")
    learner = MetaLearner(net, mse_loss)
    net.latent.requires_grad_(False)
    episode = make_episode()
    learner(*episode).sum().backward()
    assert net.latent.grad is None
    assert net.warp.grad is not None
    assert not torch.equal(learner.adapt(*episode[:2])["latent"][0], net.latent)


def test_all_symmetry_parameters_is_an_error_unless_nothing_is_adapted():
    class Warp(nn.Module):
        symmetry_parameter_names = ("warp",)

        def __init__(self):
            super().__init__()
            self.warp = nn.Parameter(torch.eye(3))

        def forward(self, x):
            return x @ self.warp

    with pytest.raises(ValueError, match="net: expected at least one parameter to adapt"):
        MetaLearner(Warp(), mse_loss)
    x = torch.randn(2, 4, 3)
    assert MetaLearner(Warp(), mse_loss, inner_steps=0)(x, x, x, x).tolist() == [0, 0]


def test_meta_training_lowers_the_query_loss(make_net, make_episode):
    learner = MetaLearner(make_net("shared"), mse_loss, inner_lr=0.01)
    episode = make_episode()
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)
    history = []
    for _ in range(30):
        optimizer.zero_grad()
        losses = learner(*episode)
        losses.sum().backward()
        optimizer.step()
        history.append(losses.mean().item())
    assert history[-1] < 0.7 * history[0]


def test_copy_pickle_and_state_dict(make_net, make_episode):
    learner = MetaLearner(make_net("shared-norm"), mse_loss, inner_lr=0.05, lr_mode="per_param")
    episode = make_episode()
    expected = learner(*episode)
    for twin in (copy.deepcopy(learner), pickle.loads(pickle.dumps(learner))):
        assert torch.equal(twin(*episode), expected)
        twin(*episode).sum().backward()
        assert learner.net[0].warp.grad is None
    other = MetaLearner(make_net("shared-norm"), mse_loss, lr_mode="per_param")
    other.load_state_dict(learner.state_dict())
    assert torch.equal(other(*episode), expected)


def test_dropout_draws_anew_for_each_task():
    net = nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.5))
    x = torch.randn(1, 2, 5).expand(4, 2, 5)
    outputs = MetaLearner(net, mse_loss, inner_steps=0).predict(x, x, x)
    assert not torch.equal(outputs[0], outputs[1])


def test_batch_norm_with_running_statistics():
    net = nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.BatchNorm1d(4)))
    learner = MetaLearner(net, mse_loss)
    x, y = torch.randn(3, 6, 5), torch.randn(3, 6, 4)
    with pytest.raises(
        ValueError, match=r"1\.0: expected no BatchNorm1d .*GroupNorm, track_running_stats=False"
    ):
        learner(x, y, x, y)
    assert net[1][0].num_batches_tracked == 0
    learner.eval()
    learner(x, y, x, y).sum().backward()
    assert net[0].weight.grad.isfinite().all()


def test_batch_norm_without_running_statistics():
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False)).double()
    learner = MetaLearner(net, mse_loss)
    x, y = torch.randn(3, 6, 5).double(), torch.randn(3, 6, 4).double()
    each = torch.cat([learner(x[t : t + 1], y[t : t + 1], x[t : t + 1], y[t : t + 1]) for t in range(3)])
    torch.testing.assert_close(learner(x, y, x, y), each)


def test_autocast_equals_plain_loop_under_autocast(make_episode, plain_losses, meta_gradients, assert_same):
    net = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))
    learner = MetaLearner(net, mse_loss, inner_steps=2)
    episode = make_episode(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual, expected = learner(*episode), plain_losses(learner, *episode)
    assert_same(meta_gradients(learner, actual), meta_gradients(learner, expected), tolerance=0.05)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"inner_lr": -0.1}, ValueError, r"inner_lr: expected a finite number .*got -0\.1"),
        ({"inner_lr": float("nan")}, ValueError, r"inner_lr: expected a finite number .*got nan"),
        ({"inner_lr": float("inf")}, ValueError, r"inner_lr: expected a finite number .*got inf"),
        ({"inner_lr": "0.1"}, TypeError, "inner_lr: expected a number; got str"),
        ({"lr_mode": "layer"}, ValueError, r"lr_mode: expected one of per_layer.*got 'layer'"),
        (
            {"inner_optimizer": "rmsprop"},
            ValueError,
            "inner_optimizer: expected one of sgd, adam; got 'rmsprop'",
        ),
        ({"inner_steps": -1}, ValueError, "inner_steps: expected at least 0; got -1"),
        ({"inner_steps": 1.0}, TypeError, "inner_steps: expected an integer; got float"),
        ({"task_chunk": 0}, ValueError, "task_chunk: expected at least 1; got 0"),
        ({"task_chunk": True}, TypeError, "task_chunk: expected an integer; got bool"),
        ({"net": mse_loss}, TypeError, r"net: expected a torch\.nn\.Module; got function"),
        ({"loss_fn": "mse"}, TypeError, r"loss_fn: expected a callable .*got str"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        MetaLearner(**{"net": nn.Linear(2, 2), "loss_fn": mse_loss, **options})


def test_bad_arguments(make_net, make_episode):
    learner = MetaLearner(make_net("shared"), mse_loss)
    x_spt, y_spt, x_qry, y_qry = make_episode()
    with pytest.raises(ValueError, match=r"number of tasks: .*x_spt 5, y_spt 5, x_qry 4, y_qry 5"):
        learner(x_spt, y_spt, x_qry[:4], y_qry)
    with pytest.raises(ValueError, match=r"number of tasks: .*at least 1.*x_spt 0, y_spt 0"):
        learner.adapt(x_spt[:0], y_spt[:0])
    with pytest.raises(ValueError, match=r"number of tasks: .*x_spt\[0\] 5, x_spt\[1\] 3"):
        learner.predict((x_spt, x_spt[:3]), y_spt, x_qry)
    with pytest.raises(TypeError, match="y_spt: expected a tensor or a tuple of tensors; got list"):
        learner(x_spt, y_spt.tolist(), x_qry, y_qry)
    with pytest.raises(ValueError, match="x_qry: expected a tensor with the tasks as first dimension"):
        learner(x_spt, y_spt, torch.tensor(1.0), y_qry)


def test_loss_has_to_be_a_scalar_tensor(make_net, make_episode):
    def per_element(output, target):
        return (output - target) ** 2

    with pytest.raises(ValueError, match=r"loss_fn: expected it to return a scalar .*got shape \(2, 3\)"):
        MetaLearner(make_net("shared"), per_element)(*make_episode())
    with pytest.raises(ValueError, match=r"loss_fn: .*got shape \(4, 3\)"):
        MetaLearner(make_net("shared"), per_element, inner_steps=0)(*make_episode())
    with pytest.raises(TypeError, match="loss_fn: expected it to return a scalar tensor; got float"):
        MetaLearner(make_net("shared"), lambda output, target: 1.0)(*make_episode())
