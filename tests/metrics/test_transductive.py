import pytest
import torch

from rotfast.metrics import transductive_weights

balanced_or_not = pytest.mark.parametrize("balanced", [True, False], ids=["sinkhorn", "soft k-means"])


def problem(episodes: int = 3, classes: int = 4, shots: int = 2, queries: int = 12):
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(episodes, classes, shots, 5, generator=generator, dtype=torch.float64)
    return support, torch.randn(episodes, queries, 5, generator=generator, dtype=torch.float64)


@balanced_or_not
def test_shares_of_a_query_add_up_to_one(balanced):
    weights = transductive_weights(*problem(), balanced=balanced)
    assert weights.shape == (3, 12, 4)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 12, dtype=torch.float64))


def test_balanced_shares_add_up_to_the_same_for_every_class():
    weights = transductive_weights(*problem(), balanced=True)
    torch.testing.assert_close(weights.sum(1), torch.full((3, 4), 3.0, dtype=torch.float64), rtol=0, atol=0.2)
    weights = transductive_weights(*problem(), balanced=False)
    assert (weights.sum(1) - 3).abs().max() > 0.5


def test_without_iterations_the_support_decides():
    support, query = problem()
    weights = transductive_weights(support, query, balanced=False, iterations=0)
    nearest = torch.cdist(query, support.mean(2)).argmin(-1)
    assert torch.equal(weights.argmax(-1), nearest)


@balanced_or_not
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_scale_of_the_codes_does_not_matter(balanced, factor):
    support, query = problem()
    weights = transductive_weights(support, query, balanced=balanced)
    scaled = transductive_weights(factor * support, factor * query, balanced=balanced)
    torch.testing.assert_close(scaled, weights)


def test_prototypes_move_to_their_queries():
    """The support of the second class lies beside its cluster, nearer to the first one."""
    cluster = torch.linspace(-0.2, 0.2, 10, dtype=torch.float64)
    query = torch.cat([cluster, 3 + cluster]).view(1, 20, 1)
    support = torch.tensor([-1.3, 1.2], dtype=torch.float64).view(1, 2, 1, 1)
    truth = torch.tensor([0] * 10 + [1] * 10)
    before = transductive_weights(support, query, balanced=False, iterations=0).argmax(-1)
    assert not torch.equal(before[0], truth)
    for balanced in (True, False):
        assert torch.equal(transductive_weights(support, query, balanced=balanced).argmax(-1)[0], truth)


@balanced_or_not
def test_equal_queries_are_shared_out_without_nan(balanced):
    weights = transductive_weights(torch.zeros(1, 2, 1, 3), torch.zeros(1, 4, 3), balanced=balanced)
    torch.testing.assert_close(weights, torch.full((1, 4, 2), 0.5))
