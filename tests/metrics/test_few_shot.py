import math

import pytest
import torch
from torch.nn import functional as F

from rotfast.metrics import episodes, few_shot_predict, shared_references

METHODS = ["nearest", "prototype", "soft-k-means", "sinkhorn"]
TRANSDUCTIVE = METHODS[2:]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(
    classes: int, rows: int, spread: float, dimensions: int = 8
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian clusters around orthogonal unit vectors, shuffled, with labels 10, 11, ..."""
    labels = torch.arange(classes).repeat(rows)[torch.randperm(classes * rows, generator=seeded())]
    noise = spread * torch.randn(len(labels), dimensions, generator=seeded(1))
    return F.one_hot(labels, dimensions) + noise, labels + 10


class TestPredict:
    SUPPORT = torch.tensor([[[0.0, 0.0], [10.0, 0.0]], [[4.0, 0.0], [6.0, 8.0]]])
    QUERY = torch.tensor([[9.0, 0.0], [5.0, 3.0], [4.0, 1.0]])

    def test_nearest_and_prototype(self):
        """The prototypes are (5, 0) and (5, 4); the third query is nearest to (4, 0)."""
        assert few_shot_predict(self.SUPPORT, self.QUERY, "nearest").tolist() == [0, 1, 1]
        assert few_shot_predict(self.SUPPORT, self.QUERY, "prototype").tolist() == [0, 1, 0]

    @pytest.mark.parametrize("method", METHODS)
    def test_cosine_does_not_see_length(self, method):
        support = torch.tensor([[[1.0, 0.0]], [[0.0, 100.0]]])
        query = torch.tensor([[30.0, 10.0], [1.0, 3.0]])
        assert few_shot_predict(support, query, method, "cosine").tolist() == [0, 1]
        assert few_shot_predict(support, query, "nearest", "euclidean").tolist() == [0, 0]

    def test_cosine_prototypes_are_scaled_too(self):
        """Of opposite directions little is left in the mean: unscaled it would be near to everything."""
        support = torch.tensor([[[1.0, 0.1], [-1.0, 0.1]], [[1.0, 0.0], [1.0, 0.0]]])
        assert few_shot_predict(support, torch.tensor([[1.0, 0.9]]), "prototype", "cosine").tolist() == [1]

    @pytest.mark.parametrize("method", METHODS)
    def test_batches_of_episodes(self, method):
        support = torch.randn(2, 3, 4, 2, 5, generator=seeded())
        query = torch.randn(2, 3, 6, 5, generator=seeded(1))
        together = few_shot_predict(support, query, method)
        assert together.shape == (2, 3, 6)
        for i in range(2):
            for j in range(3):
                assert torch.equal(together[i, j], few_shot_predict(support[i, j], query[i, j], method))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((SUPPORT, QUERY, "mean"), "method must be one of nearest, .*, got 'mean'"),
            ((SUPPORT, QUERY, "nearest", "l1"), "metric must be euclidean or cosine, got 'l1'"),
            ((SUPPORT[0], QUERY), r"support must be \(..., C, K, D\).* got \(2, 2\) and \(3, 2\)"),
            ((SUPPORT, QUERY[:, :1]), r"support must be .* got \(2, 2, 2\) and \(3, 1\)"),
        ],
    )
    def test_bad_input(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            few_shot_predict(*arguments)


class TestSharedReferences:
    def test_trials_of_the_cifar_protocol(self):
        features, labels = clusters(4, 700, 0.3)
        score = shared_references(features, labels, draws=100)
        assert score.trials == 279_600
        assert score.confusion.sum(1).tolist() == [69_900] * 4

    def test_known_answer(self):
        """On a line at 0, 1 and 2, 4: a reference 0 or 1 and one 2 or 4 leave one of each class to judge."""
        features, labels = torch.tensor([[0.0], [1.0], [2.0], [4.0]]), torch.tensor([7, 7, 9, 9])
        score = shared_references(features, labels, draws=2000)
        # (0, 2): 1 is a tie and goes to the first class, 4 is right. (0, 4): 1 right, 2 a tie, wrong.
        # (1, 2): 0 and 4 right. (1, 4): 0 right, 2 wrong. So 6 of 8.
        assert score.accuracy == pytest.approx(6 / 8, abs=0.02)
        assert score.recall.tolist() == pytest.approx([1, 0.5], abs=0.04)
        assert score.precision.tolist() == pytest.approx([2 / 3, 1], abs=0.03)
        assert score.classes == (7, 9)
        # Each draw is 1 or 1/2, so their standard deviation is 1/4.
        assert score.ci95 == pytest.approx(1.96 * 0.25 / math.sqrt(2000), rel=0.05)

    def test_references_are_not_judged(self):
        """Random codes would be recognised among the references at distance 0."""
        features = torch.randn(3, 4, generator=seeded()).repeat(2, 1)
        labels = torch.tensor([0, 1, 2, 1, 2, 0])
        score = shared_references(features, labels, draws=50)
        assert score.trials == 150
        assert score.confusion.diagonal().sum() < 150

    @pytest.mark.parametrize("method", METHODS)
    def test_separated_clusters(self, method):
        features, labels = clusters(4, 12, 0.01)
        score = shared_references(features, labels, draws=5, k_shot=2, method=method)
        assert score.accuracy == 1
        assert torch.equal(score.confusion, torch.eye(4, dtype=torch.int64) * 50)

    def test_class_without_queries(self):
        with pytest.raises(ValueError, match="labels must have at least 3 of every class, got 2 of 5"):
            shared_references(torch.rand(5, 2), torch.tensor([5, 5, 6, 6, 6]), k_shot=2)


class TestEpisodes:
    def test_shape_of_the_score(self):
        features, labels = clusters(6, 20, 0.4)
        score = episodes(features, labels, n_way=3, k_shot=2, queries=4, count=50)
        assert (score.draws, score.trials, score.classes) == (50, 600, (10, 11, 12, 13, 14, 15))
        assert score.accuracy == score.confusion.diagonal().sum().item() / 600
        assert (score.confusion.sum(1) % 4 == 0).all()

    @pytest.mark.parametrize("method", METHODS)
    def test_random_features_are_at_chance(self, method):
        score = episodes(
            torch.randn(500, 6, generator=seeded()), torch.arange(500) % 10, count=300, method=method
        )
        assert score.accuracy == pytest.approx(0.2, abs=0.02)
        assert 0 < score.ci95 < 0.02

    def test_more_shots_help_prototypes(self):
        features, labels = clusters(5, 40, 0.6)
        one, five = (episodes(features, labels, k_shot=k, count=300) for k in (1, 5))
        assert five.accuracy > one.accuracy + one.ci95 + five.ci95

    @pytest.mark.parametrize("method", TRANSDUCTIVE)
    def test_looking_at_all_queries_helps(self, method):
        features, labels = clusters(5, 40, 0.35)
        alone, together = (episodes(features, labels, count=300, method=m) for m in ("prototype", method))
        assert together.accuracy > alone.accuracy + alone.ci95 + together.ci95

    def test_interval_covers_the_mean_of_many_episodes(self):
        features, labels = clusters(6, 30, 0.6)
        long = episodes(features, labels, count=4000, seed=99)
        short = [episodes(features, labels, count=100, seed=seed) for seed in range(40)]
        inside = sum(abs(score.accuracy - long.accuracy) < score.ci95 for score in short)
        assert inside >= 34  # 38 expected; 33 or fewer of 40 has probability .003

    def test_support_is_not_queried(self):
        """Two rows a class, each the other's opposite: never right if no row meets itself."""
        features = torch.eye(4).repeat_interleave(2, 0) * torch.tensor([1.0, -1.0]).repeat(4).unsqueeze(1)
        labels = torch.arange(4).repeat_interleave(2)
        assert episodes(features, labels, n_way=4, queries=1, count=20).accuracy == 0

    @pytest.mark.parametrize("change", [{"dtype": torch.float16}, {"dtype": torch.float64}])
    def test_dtypes(self, change):
        features, labels = clusters(5, 20, 0.01)
        assert episodes(features.to(**change), labels.int(), count=10).accuracy == 1

    def test_seed(self):
        features, labels = clusters(6, 20, 0.6)
        torch.manual_seed(1)
        first = episodes(features, labels, count=20, seed=3)
        torch.manual_seed(2)
        assert torch.equal(episodes(features, labels, count=20, seed=3).confusion, first.confusion)
        assert not torch.equal(episodes(features, labels, count=20, seed=4).confusion, first.confusion)

    def test_memory_bound_changes_nothing(self, monkeypatch):
        features, labels = clusters(6, 20, 0.6)
        whole = episodes(features, labels, count=20)
        monkeypatch.setattr("rotfast.metrics.few_shot._VALUES_AT_ONCE", 2000)
        parts = episodes(features, labels, count=20)
        assert (parts.accuracy, parts.ci95) == pytest.approx((whole.accuracy, whole.ci95))
        assert torch.equal(parts.confusion, whole.confusion)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"n_way": 7}, ValueError, "labels must have at least 7 classes, got 6"),
            ({"queries": 20}, ValueError, "labels must have at least 21 of every class, got 20 of 10"),
            ({"count": 0}, ValueError, "count must be a positive int, got 0"),
            ({"k_shot": 1.0}, ValueError, r"k_shot must be a positive int, got 1\.0"),
            ({"labels": torch.zeros(3, dtype=torch.int64)}, ValueError, r"labels must be \(120,\).*\(3,\)"),
            (
                {"labels": torch.zeros(120)},
                TypeError,
                "labels must be a tensor of integers, got torch.float32",
            ),
            ({"features": torch.zeros(120)}, ValueError, r"features must be \(N, D\).*\(120,\)"),
            ({"features": torch.zeros(120, 2).int()}, TypeError, "features must be a floating-point tensor"),
            (
                {"features": torch.full((120, 2), math.nan)},
                ValueError,
                "features must be finite, got 240 of 240",
            ),
        ],
    )
    def test_bad_input(self, change, error, message):
        features, labels = clusters(6, 20, 0.1)
        with pytest.raises(error, match=message):
            episodes(**({"features": features, "labels": labels} | change))


def test_single_draw_has_no_interval():
    features, labels = clusters(3, 5, 0.1)
    assert math.isnan(shared_references(features, labels, draws=1).ci95)
