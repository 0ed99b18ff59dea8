import math

import pytest
import torch

from rotfast.metrics import auroc, pair_score, rejection


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestAuroc:
    def test_equals_counting_all_pairs(self):
        positive = torch.randint(0, 6, (40,), generator=seeded())
        negative = torch.randint(0, 5, (30,), generator=seeded(1))
        above = (positive[:, None] > negative).double() + 0.5 * (positive[:, None] == negative)
        assert auroc(positive, negative) == pytest.approx(above.mean().item(), abs=1e-12)

    def test_extremes(self):
        low, high = torch.rand(5), 2 + torch.rand(7)
        assert auroc(high, low) == 1
        assert auroc(low, high) == 0
        assert auroc(torch.ones(3), torch.ones(4)) == 0.5

    @pytest.mark.parametrize("bad", [torch.rand(0), torch.rand(2, 2), torch.tensor(1.0)])
    def test_bad_input(self, bad):
        with pytest.raises(ValueError, match=r"negative must be \(N,\) with N of at least 1, got shape"):
            auroc(torch.rand(3), bad)


class TestPairs:
    def test_known_answer(self):
        """Classes at 0, .3 and 1, with no spread: pairs of the first two are nearer than the threshold."""
        labels = torch.arange(3).repeat(10)
        features = torch.tensor([0.0, 0.3, 1.0])[labels].unsqueeze(1)
        score = pair_score(features, labels, pairs=6000)
        assert score.accuracy == pytest.approx(1 - 1 / 6, abs=0.01)
        assert score.auroc == 1
        assert score.same.max() == 0
        torch.testing.assert_close(score.different.unique(), torch.tensor([0.3, 0.7, 1.0]).double())

    def test_a_row_is_never_paired_with_itself(self):
        features = torch.rand(40, 3, generator=seeded())
        assert pair_score(features, torch.arange(40) % 10, pairs=2000).same.min() > 0

    def test_all_pairs_come_up_alike_often(self):
        """Classes count alike however many rows they have; within them, all ordered pairs of rows."""
        labels = torch.tensor([0] * 2 + [1] * 3)
        features = 2.0 ** torch.arange(5).unsqueeze(1)
        score = pair_score(features, labels, pairs=60_000)
        values, counts = score.same.unique(return_counts=True)
        shares = dict(zip(values.tolist(), (counts / 60_000).tolist(), strict=True))
        assert shares == pytest.approx({1.0: 1 / 2, 4.0: 1 / 6, 8.0: 1 / 6, 12.0: 1 / 6}, abs=0.01)
        values, counts = score.different.unique(return_counts=True)
        assert values.tolist() == [2, 3, 6, 7, 14, 15]
        assert (counts / 60_000).tolist() == pytest.approx([1 / 6] * 6, abs=0.01)

    def test_cosine(self):
        labels = torch.arange(2).repeat(20)
        features = torch.eye(2)[labels] * (1 + torch.arange(40)).unsqueeze(1)
        assert pair_score(features, labels, metric="cosine").accuracy == 1
        assert pair_score(features, labels).accuracy < 0.6

    def test_seed(self):
        features, labels = torch.rand(40, 3, generator=seeded()), torch.arange(40) % 4
        first, same, other = (pair_score(features, labels, seed=seed) for seed in (1, 1, 2))
        assert torch.equal(first.same, same.same)
        assert not torch.equal(first.different, other.different)

    @pytest.mark.parametrize(
        ("labels", "pairs", "message"),
        [
            (torch.zeros(6).long(), 10, "labels must have at least 2 classes, got 1"),
            (torch.tensor([0, 0, 0, 0, 0, 1]), 10, "labels must have at least 2 of every class, got 1 of 1"),
            (torch.arange(6) % 2, 0, "pairs must be at least 1, got 0"),
        ],
    )
    def test_bad_input(self, labels, pairs, message):
        with pytest.raises(ValueError, match=message):
            pair_score(torch.rand(6, 2), labels, pairs=pairs)


class TestRejection:
    def test_known_answer(self):
        """Distances of known codes are uniform on 0..1, of unknown ones on 1/2..3/2."""
        references = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
        known = torch.rand(4000, 1, generator=seeded()) * torch.tensor([[1.0, 0.0]])
        known[::2, 0] += 100
        unknown = (0.5 + torch.rand(4000, 1, generator=seeded(1))) * torch.tensor([[0.0, 1.0]])
        result = rejection(references, known, unknown, accept=0.9)
        assert result.threshold == pytest.approx(0.9, abs=0.02)
        assert result.known_accepted == pytest.approx(0.9, abs=0.02)
        assert result.unknown_rejected == pytest.approx(0.6, abs=0.03)
        assert result.auroc == pytest.approx(1 - 1 / 8, abs=0.01)

    def test_threshold_is_chosen_on_a_half_and_judged_on_the_other(self):
        """With two known codes the one accepts the other or not, by the order of their distances."""
        known = torch.tensor([[1.0], [2.0]])
        seen = {rejection(torch.zeros(1, 1), known, known, seed=seed) for seed in range(20)}
        assert {(result.threshold, result.known_accepted) for result in seen} == {(1.0, 0.0), (2.0, 1.0)}

    def test_cosine_does_not_see_length(self):
        references, known = torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 0.0]]).repeat(4, 1)
        result = rejection(references, known, torch.tensor([[0.0, 5.0]]), metric="cosine")
        assert (result.threshold, result.unknown_rejected) == (0, 1)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"accept": 1.0}, r"accept must be between 0 and 1, got 1\.0"),
            ({"known": torch.rand(1, 2)}, r"known must be \(N, 2\) with N of at least 2, got \(1, 2\)"),
            ({"unknown": torch.rand(3, 4)}, r"unknown must be \(N, 2\) .* got \(3, 4\)"),
            ({"references": torch.full((1, 2), math.inf)}, "references must be finite, got 2 of 2"),
            ({"metric": "l1"}, "metric must be euclidean or cosine, got 'l1'"),
        ],
    )
    def test_bad_input(self, change, message):
        codes = {"references": torch.rand(2, 2), "known": torch.rand(4, 2), "unknown": torch.rand(4, 2)}
        with pytest.raises(ValueError, match=message):
            rejection(**(codes | change))
