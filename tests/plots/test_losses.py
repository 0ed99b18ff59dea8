import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from rotfast.plots import plot_losses
from rotfast.plots.losses import student_t_975


def records(offset=0.0, steps=range(0, 50, 10), split="test", **extra):
    return [{"step": step, "split": split, "loss": 2.0 - step / 100 + offset, **extra} for step in steps]


def line(figure, label):
    return next(line for line in figure.axes[0].get_lines() if line.get_label() == label)


def band(figure, index=0):
    vertices = figure.axes[0].collections[index].get_paths()[0].vertices
    return vertices[:, 1].min(), vertices[:, 1].max()


def test_a_run_is_drawn_as_recorded():
    run = records(loss_ci95=0.5) + records(split="train", offset=-0.5)
    figure = plot_losses(run, title="heading")
    assert isinstance(figure, Figure)
    assert line(figure, "test").get_xdata().tolist() == [0, 10, 20, 30, 40]
    np.testing.assert_allclose(line(figure, "test").get_ydata(), [2.0, 1.9, 1.8, 1.7, 1.6])
    np.testing.assert_allclose(line(figure, "train").get_ydata(), [1.5, 1.4, 1.3, 1.2, 1.1])
    np.testing.assert_allclose(band(figure, index=1), (1.1, 2.5))


def test_several_runs_give_the_mean_and_its_interval():
    figure = plot_losses([records(0.0), records(0.3), records(0.6)])
    np.testing.assert_allclose(line(figure, "test").get_ydata(), [2.3, 2.2, 2.1, 2.0, 1.9])
    half = 4.3027 * 0.3 / math.sqrt(3)
    np.testing.assert_allclose(band(figure), (1.9 - half, 2.3 + half))


def test_seeds_of_different_length_meet_at_the_steps_they_share():
    figure = plot_losses([records(steps=range(0, 50, 10)), records(steps=range(0, 30, 10))])
    assert line(figure, "test").get_xdata().tolist() == [0, 10, 20]


def test_the_last_record_of_a_step_counts():
    run = [{"step": 0, "split": "test", "loss": 5.0}, {"step": 0, "split": "test", "loss": 1.0}]
    assert line(plot_losses(run), "test").get_ydata().tolist() == [1.0]


@pytest.mark.parametrize(("last", "scale"), [(0.2, "linear"), (0.001, "log")])
def test_wide_ranges_get_a_logarithmic_axis(last, scale):
    run = [{"step": 0, "split": "test", "loss": 1.0}, {"step": 1, "split": "test", "loss": last}]
    assert plot_losses(run).axes[0].get_yscale() == scale


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706), (2, 4.303), (5, 2.571), (6, 2.447), (30, 2.042)]
)
def test_student_quantiles(freedom, expected):
    assert student_t_975(freedom) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ([], ValueError, "metrics: expected at least one record, got an empty list"),
        ([records(), []], ValueError, r"metrics\[1\]: expected at least one record"),
        ({"step": 1}, TypeError, "metrics: expected a list of records or of runs, got dict"),
        ([3], TypeError, "metrics: expected a list of records, got int"),
        ([{"step": 0, "split": "test"}], ValueError, r"metrics\[0\]: .* 'loss'"),
        (
            [{"step": 0, "split": "test", "loss": math.nan}],
            ValueError,
            r"metrics\[0\]\['loss'\].*finite.*nan",
        ),
        (
            [{"step": 0, "split": "test", "loss": None}],
            TypeError,
            r"metrics\[0\]\['loss'\].*number, got None",
        ),
        (records(loss_ci95=math.inf), ValueError, r"metrics\[0\]\['loss_ci95'\].*finite"),
        (records(loss_ci95=-0.1), ValueError, r"metrics\[0\]\['loss_ci95'\].*at least 0"),
        ([records(steps=[0]), records(steps=[1])], ValueError, "share steps"),
        ([records(), records(split="train")], ValueError, "share steps"),
    ],
)
def test_bad_metrics(metrics, error, message):
    with pytest.raises(error, match=message):
        plot_losses(metrics)
