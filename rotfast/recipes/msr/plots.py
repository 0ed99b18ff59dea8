"""Figures of an MSR run, drawn from the files of its folder and the network rebuilt from its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from rotfast import plots
from rotfast.data import synthetic_problem
from rotfast.nn import ShareConv2d, symmetry_parameters
from rotfast.recipes.msr.config import MsrConfig
from rotfast.recipes.msr.tasks import load_images, make_source
from rotfast.recipes.msr.training import load_learner
from rotfast.recipes.run import RunError, RunFolder
from rotfast.recipes.seeds import open_run, seed_folders

__all__ = ["plot_run"]


def plot_run(folder: str | Path) -> list[Path]:
    """Draw a run's figures into its figures folder; of several seeds, each seed's and the losses of all.

    Args:
        folder: A run folder.

    Returns:
        The files written.

    Raises:
        RunError: No run folder, no metrics, no checkpoint, or no data.
    """
    run, config, seeds = open_run(MsrConfig, folder)
    with run.writing():
        if seeds:
            folders = seed_folders(run, seeds)
            written = [path for each in folders for path in plot_run(each)]
            path = run.figures / "losses.png"
            plots.plot_losses([_metrics(RunFolder(each)) for each in folders], path, title=_title(config))
            return [*written, path]
        return list(_plot_one(run, config))


def _plot_one(run: RunFolder, config: MsrConfig) -> Iterator[Path]:
    figures = run.figures
    metrics = _metrics(run)
    net = load_learner(run, config)[0].net
    plots.plot_losses(metrics, figures / "losses.png", title=_title(config))
    yield figures / "losses.png"
    if config.rotated:
        yield from _plot_angles(run, metrics)
        yield _plot_activations(figures / "activations.png", config, net)
    if config.problem == "omniglot":
        yield _plot_episode(figures / "episode.png", config)
    if any(isinstance(module, nn.Conv1d | nn.Conv2d) for module in net.modules()):
        plots.visualize_weights(net, figures / "weights.png")
        yield figures / "weights.png"
    if symmetry_parameters(net):
        plots.visualize_warps(net, figures / "warps.png")
        yield figures / "warps.png"
    yield from _plot_group_actions(figures, config, net)


def _metrics(run: RunFolder) -> list[dict[str, Any]]:
    metrics = run.read_metrics()
    if not metrics:
        raise RunError(f"{run.path} has no metrics yet")
    return metrics


def _title(config: MsrConfig) -> str:
    model = f"{config.model}, routed" if config.routed else config.model
    return f"{config.problem}, {model}, {config.preset}"


def _plot_angles(run: RunFolder, metrics: list[dict[str, Any]]) -> Iterator[Path]:
    last = {record["split"]: record for record in metrics}
    counts = {split: record["images_per_angle"] for split, record in last.items()}
    path = run.figures / "images_per_angle.png"
    plots.plot_images_per_angle(counts, path, title="Query images of one step and of one test")
    yield path
    evaluation = run.read_json("evaluation.json")
    judged, title = (
        (last["test"], "Errors, last test") if evaluation is None else (evaluation, "Errors, evaluation")
    )
    path = run.figures / "errors_per_angle.png"
    plots.plot_errors_per_angle(judged["errors_per_angle"], judged["images_per_angle"], path, title=title)
    yield path


def _plot_activations(path: Path, config: MsrConfig, net: nn.Module) -> Path:
    images, _ = load_images(config, "test")
    x = images[:1].unsqueeze(1) / 255
    extra = (torch.zeros(1, dtype=torch.int64),) if config.routed else ()
    plots.visualize_activations(net, x, path, *extra)
    return path


def _plot_episode(path: Path, config: MsrConfig) -> Path:
    """One test task: a row for every character, its support images first."""
    tasks = next(make_source(config).test())
    x_qry = tasks.x_qry if isinstance(tasks.x_qry, Tensor) else tasks.x_qry[0]
    rows = [x[0, :, 0].unflatten(0, (config.ways, -1)) for x in (cast(Tensor, tasks.x_spt), x_qry)]
    names = ["support"] * config.k_spt + ["query"] * config.k_qry
    plots.plot_image_grid(torch.cat(rows, 1), path, column_names=names, title="One test task")
    return path


def _plot_group_actions(figures: Path, config: MsrConfig, net: nn.Module) -> Iterator[Path]:
    """The warps of a synthetic problem's convolution beside the true action of its symmetry."""
    if config.classifies or config.model != "share":
        return
    actions = synthetic_problem(config.problem, seed=config.seed).group_action
    layer = next((module for module in net.modules() if isinstance(module, ShareConv2d)), None)
    if layer is None:
        return
    for name, action in actions.items():
        for warp, learned, true in (
            ("A_warp", layer.A_warp, action.channels),
            ("C_warp", layer.C_warp, action.taps),
        ):
            path = figures / f"{name}_{warp}.png"
            plots.plot_group_action(learned.detach(), true, path, title=f"{warp} and {name}")
            yield path
