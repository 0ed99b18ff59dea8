import pytest
import torch

import rotfast
from rotfast.models import ANGLE_PRIORS, SpatialVAE


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SpatialVAE(latent_size=3, image_size=14, candidates=5, hidden=32)


@pytest.fixture
def x():
    return torch.rand(6, 1, 14, 14, generator=torch.Generator().manual_seed(1))


def test_terms_are_one_number_an_image_and_not_negative(model, x):
    terms = model(x)
    for term in terms:
        assert term.shape == (6,)
        assert (term >= 0).all()


def test_terms_are_those_of_a_loop_over_candidates(x, monkeypatch):
    model = SpatialVAE(latent_size=2, image_size=14, candidates=3, hidden=16).double()
    x = x.double()
    monkeypatch.setattr(torch, "rand", lambda *shape, device: torch.full(shape, 0.7))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    terms = model(x)
    angles = torch.tensor([-90.0, 0.0, 90.0]) + 90 * 0.2
    scores, reconstructions, kls = [], [], []
    for angle in angles:
        upright = rotfast.rotate(x, -float(angle)).clamp(0, 1)
        score, mu, logvar = model.encoder(upright).split([1, 2, 2], dim=1)
        image = torch.sigmoid(model.decoder(mu))
        cross = -(upright * image.log() + (1 - upright) * (1 - image).log())
        scores.append(score[:, 0])
        reconstructions.append(cross.flatten(1).sum(1))
        kls.append(0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1))
    q = torch.stack(scores, 1).softmax(1)
    torch.testing.assert_close(terms.reconstruction, (q * torch.stack(reconstructions, 1)).sum(1))
    torch.testing.assert_close(terms.kl, (q * torch.stack(kls, 1)).sum(1))
    expected = (q * (q.log() - model.log_prior(angles))).sum(1)
    torch.testing.assert_close(terms.angle_kl, expected)


@pytest.mark.parametrize("prior", ANGLE_PRIORS)
def test_prior_sums_to_one_and_is_symmetric(prior):
    model = SpatialVAE(image_size=4, hidden=4, prior=prior)
    log_prior = model.log_prior(torch.linspace(-90, 90, 13))
    torch.testing.assert_close(log_prior.exp().sum(), torch.tensor(1.0))
    torch.testing.assert_close(log_prior, log_prior.flip(0))


def test_priors_mean_what_their_names_say():
    angle = torch.linspace(-90, 90, 13)
    p = {name: SpatialVAE(image_size=4, hidden=4, prior=name).log_prior(angle).exp() for name in ANGLE_PRIORS}
    torch.testing.assert_close(p["flat"], torch.full((13,), 1 / 13))
    torch.testing.assert_close(p["half"][6], torch.tensor(0.5 + 0.5 / 13))
    torch.testing.assert_close(p["half"][:6], torch.full((6,), 0.5 / 13))
    assert (p["upright"][:6].diff() > 0).all()


def test_decode_turns_the_upright_image(model):
    z = torch.randn(2, 3)
    upright = model.decode(z)
    turned = model.decode(z, torch.tensor([90.0, -90.0]))
    torch.testing.assert_close(
        turned, torch.stack([upright[0].rot90(1, (1, 2)), upright[1].rot90(-1, (1, 2))])
    )
    assert model.decode(z, torch.zeros(2, 4)).shape == (2, 4, 1, 14, 14)


def test_decode_shifts_before_it_turns(model):
    z = torch.randn(1, 3)
    shifted = model.decode(z, 90.0, torch.tensor([[2.0, 0.0]]))
    inside = model.decode(z).rot90(1, (2, 3))[..., 2:, :]
    torch.testing.assert_close(shifted[..., :-2, :], inside)


def test_decode_is_differentiable_in_code_angle_and_shift(model):
    model = model.double()
    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    angle = torch.tensor([12.3, -40.1], dtype=torch.float64, requires_grad=True)
    shift = torch.tensor([[0.3, -0.2], [1.4, 0.1]], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(model.decode, (z, angle, shift))


def test_encode_reads_the_angle_of_a_certain_posterior(model, x):
    """With a score that knows the top row alone, images with a bright mark are found however turned."""
    mark = torch.zeros(1, 1, 14, 14)
    mark[..., 1:4, 6:8] = 1
    with torch.no_grad():
        for layer in model.encoder:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.zero_()
                layer.bias.zero_()
        model.encoder[1].weight[0] = mark.flatten()
        model.encoder[3].weight[0, 0] = 1
        model.encoder[5].weight[0, 0] = 10
    true = torch.tensor([-75.0, -20.0, 0.0, 33.0, 88.0])
    code = model.encode(rotfast.rotate(mark.expand(5, -1, -1, -1), true))
    torch.testing.assert_close(code.angle, true, atol=4.0, rtol=0)
    assert code.mu.shape == code.logvar.shape == (5, 3)
    assert code.shift.shape == (5, 2)


def test_shift_is_a_third_part_of_the_code(x):
    torch.manual_seed(0)
    model = SpatialVAE(latent_size=3, image_size=14, candidates=5, hidden=32, shift_std=2.0)
    code = model.encode(x)
    assert code.mu.shape == (6, 3)
    assert code.shift.abs().max() > 0
    assert model.decode(code.mu, code.angle, code.shift).shape == x.shape
    assert all(torch.isfinite(term).all() for term in model(x))


def test_gradients_reach_every_parameter(model, x):
    terms = model(x)
    (terms.reconstruction + terms.kl + terms.angle_kl).mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"latent_size": 0}, "latent_size must be an int of at least 1, got 0"),
        ({"candidates": 1}, "candidates must be an int of at least 2, got 1"),
        ({"span": 0.0}, r"span must be in \(0, 180\] degrees, got 0.0"),
        ({"prior": "up"}, "prior must be one of upright, half, flat, got 'up'"),
        ({"shift_std": -1.0}, "shift_std must be finite and not negative, got -1.0"),
    ],
)
def test_wrong_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        SpatialVAE(**arguments)
