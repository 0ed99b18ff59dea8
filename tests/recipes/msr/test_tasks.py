"""Task sources: what they draw, that tests are the same for all, and that a state continues them exactly."""

from dataclasses import replace

import pytest
import torch

from rotfast.recipes.msr import tasks as task_module
from rotfast.recipes.msr.config import preset_config
from rotfast.recipes.msr.tasks import make_source
from rotfast.recipes.run import RunError

SMALL = {"tasks": 3, "test_tasks": 4, "k_qry": 5}
CONFIGS = {
    "rank1-fixed": replace(preset_config("rank1", "as-in-deck"), **SMALL),
    "rank2-fresh": replace(preset_config("rank2"), **SMALL),
    "rot8": replace(preset_config("rot8"), **SMALL),
    "mixed": replace(preset_config("rotated-digits", "as-in-deck"), **SMALL),
    "by-angle": replace(preset_config("rotated-digits"), **SMALL),
    "routed": replace(preset_config("rotated-digits"), **SMALL, model="dedicated", routed=True),
    "characters": replace(preset_config("omniglot"), **SMALL, ways=3, model="prototypes"),
}


def flat(tasks):
    inputs = [tasks.x_spt, tasks.x_qry]
    tensors = [part for x in inputs for part in (x if isinstance(x, tuple) else (x,))]
    return [*tensors, tasks.y_spt, tasks.y_qry]


def same(a, b):
    return all(torch.equal(one, other) for one, other in zip(flat(a), flat(b), strict=True))


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request):
    return request.param


def test_training_tasks_follow_the_seed(config):
    assert same(make_source(config).train(), make_source(config).train())
    assert not same(make_source(config).train(), make_source(replace(config, seed=1)).train())


def test_training_tasks_are_new_unless_the_study_repeats_them(config):
    source = make_source(config)
    repeats = config.rotated and not config.fresh
    assert same(source.train(), source.train()) == repeats


def test_state_continues_exactly(config):
    source = make_source(config)
    source.train()
    state = source.state_dict()
    expected = source.train()
    other = make_source(config)
    other.load_state_dict(state)
    assert same(other.train(), expected)


def test_tests_are_the_same_at_every_call_and_do_not_touch_training(config):
    source = make_source(config)
    state = source.state_dict()
    first, second = list(source.test()), list(source.test())
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(source.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("name", ["mixed", "by-angle", "routed", "characters"])
def test_tests_are_the_same_for_every_seed(name):
    config = CONFIGS[name]
    tests = [list(make_source(replace(config, seed=seed)).test()) for seed in (0, 1)]
    assert all(same(a, b) for a, b in zip(*tests, strict=True))


def test_evaluation_judges_other_tasks_than_the_tests(config):
    source = make_source(config)
    assert not same(next(iter(source.test())), next(source.evaluation(4)))


@pytest.mark.parametrize(
    ("name", "asked", "given"), [("rank1-fixed", 7, 7), ("by-angle", 7, 10), ("mixed", 99, 60)]
)
def test_number_of_evaluation_tasks(name, asked, given):
    chunks = make_source(CONFIGS[name]).evaluation(asked)
    assert sum(len(tasks.y_qry) for tasks in chunks) == given


def test_large_tests_come_in_chunks():
    config = replace(preset_config("rot8"), test_tasks=100)
    chunks = make_source(config).test()
    first = next(chunks)
    assert 1 <= len(first.y_qry) < 100
    assert first.y_qry.numel() <= 2**24


def test_angles_of_the_query_images():
    tasks = make_source(CONFIGS["by-angle"]).train()
    assert tasks.angle.shape == tasks.y_qry.shape
    assert all(len(set(row)) == 1 for row in tasks.angle.tolist())
    mixed = make_source(CONFIGS["mixed"]).train()
    assert set(mixed.angle.flatten().tolist()) <= set(CONFIGS["mixed"].angles)
    assert any(len(set(row)) > 1 for row in mixed.angle.tolist())


def test_circuit_is_the_place_of_the_angle():
    angles = torch.tensor(CONFIGS["routed"].angles)
    tasks = make_source(CONFIGS["routed"]).train()
    assert torch.equal(angles[tasks.x_qry[1]], tasks.angle[:, 0])
    mixed = make_source(replace(CONFIGS["routed"], fresh=False)).train()
    assert torch.equal(angles[mixed.x_qry[1]], mixed.angle)
    assert mixed.x_spt[1].shape == mixed.y_spt.shape


def test_too_few_images_are_named():
    with pytest.raises(RunError, match="k_spt \\+ k_qry must be at most"):
        make_source(replace(CONFIGS["by-angle"], k_qry=5000))


def numbered(root, split):
    """Characters that are all of one grey: that of drawing d of class c is 10 c + d."""
    grey = 10 * torch.arange(6).unsqueeze(1) + torch.arange(8)
    return (
        grey.flatten()[:, None, None].expand(-1, 28, 28).to(torch.uint8),
        torch.arange(6).repeat_interleave(8),
        (),
    )


def test_a_task_is_different_drawings_of_its_characters(monkeypatch):
    monkeypatch.setattr(task_module, "load_omniglot", numbered)
    config = replace(CONFIGS["characters"], degrees=0.0, scale=(1.0, 1.0), k_spt=2, tasks=20, model="conv")
    tasks = make_source(config).train()
    assert tasks.x_spt.shape == (20, 6, 1, 28, 28)
    assert tasks.x_qry.shape == (20, 15, 1, 28, 28)
    grey = (torch.cat([tasks.x_spt, tasks.x_qry], 1)[..., 0, 0, 0] * 255).round().long()
    label = torch.cat([tasks.y_spt, tasks.y_qry], 1)
    for greys, labels in zip(grey, label, strict=True):
        assert len(greys.unique()) == 21
        pairs = set(zip((greys // 10).tolist(), labels.tolist(), strict=True))
        assert sorted(place for _, place in pairs) == [0, 1, 2]
        assert len({character for character, _ in pairs}) == 3
    assert len((grey // 10).unique()) == 6


def test_only_queries_are_changed():
    changed = make_source(CONFIGS["characters"]).train()
    plain = make_source(replace(CONFIGS["characters"], degrees=0.0, scale=(1.0, 1.0), flip=False)).train()
    assert torch.equal(changed.x_spt, plain.x_spt)
    assert torch.equal(changed.y_qry, plain.y_qry)
    assert not torch.equal(changed.x_qry[0], plain.x_qry[0])
    assert plain.x_qry[0].unique().tolist() == [0.0, 1.0]


def test_queries_are_turned_by_any_angle_mirrored_and_resized(monkeypatch):
    """One white half on the right: where it comes to lie, and how much of it there is."""
    half = torch.zeros(60, 28, 28, dtype=torch.uint8)
    half[:, :, 14:] = 255
    monkeypatch.setattr(task_module, "load_omniglot", lambda *_: (half, torch.arange(3).repeat(20), ()))
    config = replace(CONFIGS["characters"], model="conv", tasks=20, k_qry=10)
    flips = make_source(replace(config, degrees=0.0, scale=(1.0, 1.0))).train().x_qry.flatten(0, 1)
    share_mirrored = (flips[:, 0, 14, 2] == 1).float().mean()
    assert 0.4 < share_mirrored < 0.6
    turned = make_source(replace(config, flip=False, scale=(1.0, 1.0))).train().x_qry.flatten(0, 1)
    corners = turned[:, 0, [5, 5, 22, 22], [5, 22, 5, 22]].mean(0)
    assert ((corners > 0.35) & (corners < 0.65)).all()
    sizes = make_source(replace(config, flip=False, degrees=0.0)).train().x_qry.flatten(0, 1).mean((1, 2, 3))
    assert sizes.min() < 0.36
    assert sizes.max() == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ways": 9}, "ways must be at most the 8 classes, got 9"),
        ({"k_qry": 8}, "at most the 8 images of a class, got 9"),
    ],
)
def test_too_few_characters_are_named(change, message):
    with pytest.raises(RunError, match=f"problem omniglot: .*{message}"):
        make_source(replace(CONFIGS["characters"], **change))
