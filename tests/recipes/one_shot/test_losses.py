import pytest
import torch
from torch.nn import functional as F

from rotfast.recipes.one_shot.losses import batch_hard_loss, contrastive_loss, supervised_contrastive_loss


def points(n: int = 8, d: int = 5) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LABEL = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])


def test_contrastive_is_the_formula():
    first, second = points(6), points(12)[6:]
    same = torch.tensor([True, False, True, False, False, True])
    expected = 0.0
    for a, b, y in zip(first, second, same.tolist(), strict=True):
        d = (a - b).norm().item()
        expected += (0.5 * d**2 if y else 0.5 * max(0, 2.5 - d) ** 2) / 6
    assert contrastive_loss(first, second, same, margin=2.5).item() == pytest.approx(expected)


def test_contrastive_of_equal_points_has_a_finite_gradient():
    first = torch.zeros(2, 3, requires_grad=True)
    loss = contrastive_loss(first, torch.zeros(2, 3), torch.tensor([True, False]), margin=1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.25)
    assert first.grad.isfinite().all()


def test_supervised_contrastive_is_the_formula():
    """Equation 2 of the paper, term by term; the last point has no other of its class."""
    z = F.normalize(points(), dim=1)
    terms = []
    for i in range(7):
        others = [a for a in range(8) if a != i]
        total = sum(torch.exp(z[i] @ z[a] / 0.3) for a in others)
        positives = [p for p in others if LABEL[p] == LABEL[i]]
        terms.append(
            -sum(torch.log(torch.exp(z[i] @ z[p] / 0.3) / total) for p in positives) / len(positives)
        )
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(supervised_contrastive_loss(7 * points(), LABEL, temperature=0.3), expected)


def test_batch_hard_is_the_formula():
    z = F.normalize(points(), dim=1)
    terms = []
    for i in range(8):
        far = max((z[i] - z[p]).norm().item() for p in range(8) if LABEL[p] == LABEL[i])
        near = min((z[i] - z[n]).norm().item() for n in range(8) if LABEL[n] != LABEL[i])
        terms.append(max(0.0, 0.4 + far - near))
    assert batch_hard_loss(7 * points(), LABEL, margin=0.4).item() == pytest.approx(sum(terms) / 8, abs=1e-7)


@pytest.mark.parametrize("loss", [supervised_contrastive_loss, batch_hard_loss])
def test_gradients(loss):
    x = points().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, LABEL, 0.5), x)
