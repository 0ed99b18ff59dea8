"""Whole β-VAE runs: one training, several β, several seeds, and their evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from rotfast.recipes.beta_vae import training
from rotfast.recipes.beta_vae.config import BetaVaeConfig
from rotfast.recipes.beta_vae.images import load_images
from rotfast.recipes.beta_vae.score import capture, headline
from rotfast.recipes.config import config_to_dict
from rotfast.recipes.environment import make_fabric, versions
from rotfast.recipes.run import RunFolder, RunStopped
from rotfast.recipes.seeds import TrainSeeds, open_run, seed_folders, spread

__all__ = ["beta_folders", "evaluate", "train", "train_seeds"]


def beta_folders(run: RunFolder, config: BetaVaeConfig) -> dict[float, Path]:
    """Where each β of a run over several has its own run folder; empty for a single β."""
    return {beta: run.path / f"beta-{beta:g}" for beta in config.betas}


def train(
    config: BetaVaeConfig,
    folder: str | Path,
    *,
    resume: bool = False,
    command: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Train once, or with `config.betas` once for each β into FOLDER/beta-B; else as `training.train`.

    Returns:
        What summary.json holds; of several β each one's test figures under "betas".
    """
    if not config.betas:
        return training.train(config, folder, resume=resume, command=command, console=console)
    console = Console() if console is None else console
    run = RunFolder(folder)
    if resume:
        run.check_config(config_to_dict(config), config.free_on_resume)
    else:
        run.create(config_to_dict(config))
    summaries = []
    for beta, path in beta_folders(run, config).items():
        console.print(f"β = {beta:g}: {path}", highlight=False, soft_wrap=True)
        began = (path / "config.yaml").exists()
        one = replace(config, beta=beta, betas=())
        try:
            summaries.append(training.train(one, path, resume=began, command=command, console=console))
        except RunStopped as stopped:
            raise RunStopped(f"{stopped} (this β alone), or all: --resume {run.path}") from stopped
    summary = {
        **{name: summaries[0][name] for name in ("recipe", "architecture", "data", "preset", "seed")},
        "betas": {f"{each['beta']:g}": each["test"] for each in summaries},
        "seconds": round(sum(each["seconds"] for each in summaries), 3),
        "command": command,
        "versions": versions(),
    }
    with run.writing():
        run.write_json("summary.json", summary)
    return summary


def evaluate(folder: str | Path, images: int | None = None) -> dict[str, Any]:
    """Judge the checkpoint of a run, or of each of its seeds and β, on test images: evaluation.json.

    Args:
        folder: A run folder.
        images: Test images, each at one angle; None is all.

    Returns:
        What evaluation.json holds: of a single run what `score.capture` returns, of several seeds or β the
        spread or the list of their headline figures.

    Raises:
        RunError: No run folder, no checkpoint, or no data.
    """
    run, config, seeds = open_run(BetaVaeConfig, folder)
    result: dict[str, Any]
    if seeds:
        results = [evaluate(path, images) for path in seed_folders(run, seeds)]
        result = {"seeds": list(seeds), **_spread_of(results)}
    elif config.betas:
        paths = beta_folders(run, config)
        result = {"betas": {f"{beta:g}": evaluate(path, images) for beta, path in paths.items()}}
    else:
        device = make_fabric(config).device
        net, step = training.load_net(run, config)
        test = load_images(config, "test").first(images).to(device)
        result = {"step": step, **capture(net.to(device), test, config.seed)}
    with run.writing():
        run.write_json("evaluation.json", result)
    return result


def _summarise(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    same = {name: summaries[0][name] for name in ("architecture", "data", "preset")}
    if "betas" in summaries[0]:
        return {**same, **_spread_of(summaries)}
    more = {name: summaries[0][name] for name in ("mixture", "prior", "beta", "epochs")}
    return {**same, **more, **_spread_of([summary["test"] for summary in summaries])}


def _spread_of(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Spread over seeds of the headline figures, of each β if there are several."""
    if "betas" in results[0]:
        betas = results[0]["betas"]
        return {"betas": {beta: _spread_of([each["betas"][beta] for each in results]) for beta in betas}}
    figures = [headline(each) for each in results]
    return {"test": {name: spread([each[name] for each in figures]) for name in figures[0]}}


train_seeds = TrainSeeds(train, _summarise)
