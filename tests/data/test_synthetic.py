import pytest
import torch
from torch.nn import functional as F

from rotfast.data import PROBLEMS, synthetic_problem

SHAPES = {
    "rank1": ((1, 70), (1, 68), (68, 70), 3),
    "rank2": ((1, 70), (1, 68), (68, 70), 6),
    "rank5": ((1, 70), (1, 68), (68, 70), 15),
    "rot8": ((1, 32, 32), (24, 30, 30), (24, 1, 3, 3), 18),
    "rot8-flip": ((1, 32, 32), (48, 30, 30), (48, 1, 3, 3), 18),
}
each_problem = pytest.mark.parametrize("name", PROBLEMS)
finite_or_not = pytest.mark.parametrize("finite", [True, False], ids=["finite", "infinite"])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(a, b) -> bool:
    return all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


@each_problem
@finite_or_not
@pytest.mark.parametrize("split", ["train", "test"])
def test_shapes(name, finite, split):
    problem = synthetic_problem(name, seed=0, finite=finite)
    inputs, outputs, weight, latent = SHAPES[name]
    x_spt, y_spt, x_qry, y_qry = problem.sample(3, split, k_spt=2, k_qry=5, generator=seeded())
    assert x_spt.shape == (3, 2, *inputs)
    assert y_spt.shape == (3, 2, *outputs)
    assert x_qry.shape == (3, 5, *inputs)
    assert y_qry.shape == (3, 5, *outputs)
    assert (problem.input_shape, problem.output_shape, problem.weight_shape) == (inputs, outputs, weight)
    assert problem.latent_size == latent
    assert {t.dtype for t in (x_spt, y_spt, x_qry, y_qry)} == {torch.float32}


@each_problem
def test_targets_are_the_true_weights_of_a_fixed_task(name):
    """Found back by its targets, a sampled task is one of the split, with its true weights."""
    problem = synthetic_problem(name, seed=3)
    problem.num_tasks = 10
    x, y = problem.sample(8, "train", k_spt=1, k_qry=4, generator=seeded())[2:]
    weights = problem.true_weights(torch.arange(8))
    found = []
    for t in range(8):
        for number, weight in enumerate(weights):
            expected = x[t] @ weight.T if weight.dim() == 2 else F.conv2d(x[t], weight)
            if torch.allclose(y[t], expected, atol=1e-4):
                found.append(number)
    assert sorted(found) == list(range(8))


@each_problem
def test_true_warp(name):
    problem = synthetic_problem(name, seed=1)
    latent = torch.randn(2, problem.latent_size)
    expected = (latent @ problem.true_warp.T).view(2, *problem.weight_shape)
    torch.testing.assert_close(problem.weights(latent), expected)


def test_rank1_is_a_correlation():
    problem = synthetic_problem("rank1", seed=0)
    x, latent = torch.randn(2, 4, 1, 70), torch.randn(2, 3)
    for t in range(2):
        expected = F.conv1d(x[t], latent[t].view(1, 1, 3))
        torch.testing.assert_close(problem.respond(x, latent)[t], expected)


@pytest.mark.parametrize("rank", [2, 5])
def test_low_rank_filters_mix_the_basis_by_position(rank):
    problem = synthetic_problem(f"rank{rank}", seed=0)
    assert problem.connectivity.shape == (68, rank)
    torch.testing.assert_close(problem.connectivity.sum(1), torch.ones(68))
    x, latent = torch.randn(1, 1, 1, 70), torch.randn(1, 3 * rank)
    basis = latent.view(rank, 3)
    y = problem.respond(x, latent)[0, 0, 0]
    for p in (0, 31, 67):
        filt = problem.connectivity[p] @ basis
        assert y[p].item() == pytest.approx((filt * x[0, 0, 0, p : p + 3]).sum().item(), abs=1e-5)


@pytest.mark.parametrize(("name", "variance"), [("rank1", 3.0), ("rot8", 5 / 8), ("rot8-flip", 9 / 16)])
def test_output_variance(name, variance):
    problem = synthetic_problem(name, seed=0)
    expected = problem.true_warp.square().sum().item() / problem.weight_shape[0]
    assert expected == pytest.approx(variance, rel=1e-5)
    y = problem.sample(200 if name == "rank1" else 40, k_qry=4, generator=seeded())[3]
    assert y.var().item() == pytest.approx(variance, rel=0.15)


@each_problem
@finite_or_not
def test_generator_state_is_all_a_resume_needs(name, finite):
    problem, generator = synthetic_problem(name, 0, finite), seeded()
    problem.sample(2, generator=generator)
    state = generator.get_state()
    expected = problem.sample(2, generator=generator)
    resumed = synthetic_problem(name, 0, finite)
    assert same(resumed.sample(2, generator=seeded(7).set_state(state)), expected)
    assert not same(problem.sample(2, generator=generator), expected)


@each_problem
def test_tasks_come_from_seed_and_number(name):
    tasks = torch.tensor([5, 0, 1999])
    first = synthetic_problem(name, seed=4).true_weights(tasks)
    assert torch.equal(synthetic_problem(name, seed=4).true_weights(tasks.flip(0)).flip(0), first)
    assert not torch.equal(synthetic_problem(name, seed=5).true_weights(tasks), first)
    assert not torch.equal(first[0], first[1])


def test_fixed_examples_repeat_in_another_order():
    """The whole train split, drawn twice: the same tasks with the same 20 examples, shuffled."""
    problem = synthetic_problem("rank1", seed=0)
    problem.num_tasks = 5
    draws = []
    for seed in (0, 1):
        x_spt, _, x_qry, _ = problem.sample(4, generator=seeded(seed))
        draws.append(torch.cat([x_spt, x_qry], 1)[:, :, 0])
    assert not torch.equal(draws[0], draws[1])
    sorted_draws = [draw.flatten(0, 1)[draw.flatten(0, 1)[:, 0].argsort()] for draw in draws]
    assert torch.equal(*sorted_draws)


def test_splits_of_the_fixed_tasks_are_disjoint():
    problem = synthetic_problem("rank1", seed=0)
    problem.num_tasks = 10
    train = torch.cat(problem.sample(8, "train", generator=seeded())[::2], 1).flatten(1)
    test = torch.cat(problem.sample(2, "test", generator=seeded())[::2], 1).flatten(1)
    assert set(train.flatten().tolist()).isdisjoint(test.flatten().tolist())


@pytest.mark.parametrize(
    ("name", "train", "test"), [("rank5", 8000, 2000), ("rot8", 8000, 2000), ("rot8-flip", 1600, 400)]
)
def test_sizes_of_the_splits(name, train, test):
    problem = synthetic_problem(name, seed=0)
    for split, count in (("train", train), ("test", test)):
        with pytest.raises(ValueError, match=f"at most the {count} fixed {split} tasks, got {count + 1}"):
            problem.sample(count + 1, split)


@pytest.mark.parametrize(
    ("name", "symmetries"), [("rank1", set()), ("rot8", {"rotation"}), ("rot8-flip", {"rotation", "flip"})]
)
def test_group_action(name, symmetries):
    problem = synthetic_problem(name, seed=0)
    assert set(problem.group_action) == symmetries
    weight = problem.true_weights(torch.tensor([3]))[0].flatten(1).double()
    for action in problem.group_action.values():
        torch.testing.assert_close(weight @ action.taps.T, action.channels.T @ weight, rtol=0, atol=1e-6)


def test_global_generator():
    problem = synthetic_problem("rank2", seed=0, finite=False)
    torch.manual_seed(1)
    first = problem.sample(2)
    torch.manual_seed(1)
    assert same(problem.sample(2), first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "rank3", "seed": 0},
            "name must be one of rank1, rank2, rank5, rot8, rot8-flip, got 'rank3'",
        ),
        ({"name": "rank1", "seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_bad_problem(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthetic_problem(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "valid"}, ValueError, "split must be 'train' or 'test', got 'valid'"),
        ({"k_spt": 5, "k_qry": 16}, ValueError, r"k_spt \+ k_qry must be at most the 20 examples.*got 21"),
        ({"num_tasks": 0}, ValueError, "num_tasks must be at least 1, got 0"),
        ({"k_qry": -1}, ValueError, "k_qry must be at least 1, got -1"),
        ({"num_tasks": 2.5}, TypeError, "num_tasks must be an int, got float"),
    ],
)
def test_bad_sample(arguments, error, message):
    problem = synthetic_problem("rank1", seed=0)
    with pytest.raises(error, match=message):
        problem.sample(**({"num_tasks": 2} | arguments))
