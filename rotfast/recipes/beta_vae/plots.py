"""Figures of a β-VAE run, drawn from the files of its folder and the network rebuilt from its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from rotfast import plots
from rotfast.models import BetaVAE, SpatialVAE
from rotfast.recipes.beta_vae.config import BetaVaeConfig
from rotfast.recipes.beta_vae.images import Images, load_images
from rotfast.recipes.beta_vae.networks import draw, encode
from rotfast.recipes.beta_vae.runs import beta_folders
from rotfast.recipes.beta_vae.score import headline
from rotfast.recipes.beta_vae.training import load_net
from rotfast.recipes.run import RunError, RunFolder
from rotfast.recipes.seeds import open_run, seed_folders

__all__ = ["plot_run"]

_SHOWN, _STEPS, _FRAMES = 12, 11, 31
_EMBEDDED = 1500
_FIGURES = {
    "rotation: R² of the best dimension": "r2",
    "rotation: R², forest on all": "forest_r2",
    "MIG of the angle": "mig_angle",
    "reconstruction, nats": "reconstruction",
    "KL, nats": "kl",
}


def plot_run(folder: str | Path) -> list[Path]:
    """Draw a run's figures into its figures folder; of several seeds or β, each one's and a comparison.

    Args:
        folder: A run folder.

    Returns:
        The files written.

    Raises:
        RunError: No run folder, no metrics, no checkpoint, or no data.
    """
    run, config, seeds = open_run(BetaVaeConfig, folder)
    with run.writing():
        if seeds or config.betas:
            parts = seed_folders(run, seeds) if seeds else list(beta_folders(run, config).values())
            written = [path for part in parts for path in plot_run(part)]
            return [*written, *_compare(run, config, seeds)]
        return list(_plot_one(run, config))


def _compare(run: RunFolder, config: BetaVaeConfig, seeds: tuple[int, ...]) -> Iterator[Path]:
    """Figures over β, or the losses of all seeds."""
    if not config.betas:
        path = run.figures / "losses.png"
        records = [_metrics(RunFolder(each)) for each in seed_folders(run, seeds)]
        plots.plot_losses(records, path, title=_title(config), xlabel="Step")
        yield path
        return
    roots = [RunFolder(each) for each in seed_folders(run, seeds)] if seeds else [run]
    results = {
        beta: [headline(_summary(RunFolder(beta_folders(root, config)[beta]))["test"]) for root in roots]
        for beta in config.betas
    }
    path = run.figures / "betas.png"
    figures = {
        title: {f"β = {beta:g}": [each[name] for each in many] for beta, many in results.items()}
        for title, name in _FIGURES.items()
    }
    plots.plot_comparison(figures, path, title=_title(config))
    yield path


def _plot_one(run: RunFolder, config: BetaVaeConfig) -> Iterator[Path]:
    figures, title = run.figures, _title(config)
    plots.plot_losses(_metrics(run), figures / "losses.png", title=title, xlabel="Step")
    yield figures / "losses.png"
    net, _ = load_net(run, config)
    images = load_images(config, "test")
    dimensions = _dimensions(net, config)
    yield _reconstructions(figures, net, images, title)
    yield from _traversals(figures, net, images, dimensions, title)
    turning, values = _rotation_of(run, net, images)
    yield _film(figures, net, images, turning, values)
    yield from _embeddings(figures, net, images, title)


def _metrics(run: RunFolder) -> list[dict[str, Any]]:
    metrics = run.read_metrics()
    if not metrics:
        raise RunError(f"{run.path} has no metrics yet")
    return metrics


def _summary(run: RunFolder) -> dict[str, Any]:
    summary = run.read_json("summary.json")
    if summary is None:
        raise RunError(f"{run.path} is not finished: it has no summary.json")
    return summary


def _title(config: BetaVaeConfig) -> str:
    beta = "" if config.betas else f", β = {config.beta:g}"
    return f"{config.architecture} on {config.data}{beta}"


def _dimensions(net: BetaVAE | SpatialVAE, config: BetaVaeConfig) -> list[str]:
    names = [f"z{index}" for index in range(config.latent_size)]
    if not isinstance(net, SpatialVAE):
        return names
    return ["angle", *names, *(["right", "down"] if net.shift_std else [])]


def _reconstructions(figures: Path, net: BetaVAE | SpatialVAE, images: Images, title: str) -> Path:
    """Turned test images, what the code draws, and of the spatial code the upright image."""
    x = images.turned(torch.arange(_SHOWN), images.fixed_angles()[:_SHOWN])
    code = encode(net, x)
    rows, names = [x, code.image], ["image", "drawn"]
    if isinstance(net, SpatialVAE):
        upright = code.values.clone()
        upright[:, 0] = 0
        rows.append(draw(net, upright))
        names.append("upright")
    path = figures / "reconstructions.png"
    plots.plot_image_grid(torch.stack(rows).squeeze(2), path, row_names=names, title=title)
    return path


def _steps(net: BetaVAE | SpatialVAE, dimension: int, count: int) -> Tensor:
    """Values of one dimension from end to end: ±span degrees of an angle, ±3 deviations of the prior."""
    if not isinstance(net, SpatialVAE):
        return torch.linspace(-3, 3, count)
    if dimension == 0:
        return torch.linspace(-net.span, net.span, count)
    end = 3.0 if dimension <= net.latent_size else 3 * net.shift_std
    return torch.linspace(-end, end, count)


def _walk(net: BetaVAE | SpatialVAE, code: Tensor, dimension: int, values: Tensor) -> Tensor:
    """Images (F, H, W) of one code (D,) with one dimension set to each of the values (F,)."""
    codes = code.repeat(len(values), 1)
    codes[:, dimension] = values
    return draw(net, codes).squeeze(1)


def _traversals(
    figures: Path, net: BetaVAE | SpatialVAE, images: Images, names: list[str], title: str
) -> Iterator[Path]:
    """Every dimension from one random code, and from the code of one upright image of each digit."""
    z = torch.randn(len(names), generator=torch.Generator().manual_seed(0))
    if isinstance(net, SpatialVAE):
        z[0] = 0
    walks = [_walk(net, z, d, _steps(net, d, _STEPS)) for d in range(len(names))]
    path = figures / "traversals-random.png"
    more: dict[str, Any] = {"row_names": names, "title": f"{title}: each dimension from a random code"}
    plots.plot_image_grid(torch.stack(walks), path, **more)
    yield path
    for digit, code in _codes_of_digits(net, images).items():
        walks = [_walk(net, code, d, _steps(net, d, _STEPS)) for d in range(len(names))]
        path = figures / f"traversals-{digit}.png"
        more["title"] = f"{title}: each dimension from the code of a {digit}"
        plots.plot_image_grid(torch.stack(walks), path, **more)
        yield path


def _codes_of_digits(net: BetaVAE | SpatialVAE, images: Images) -> dict[int, Tensor]:
    """The code of the first upright test image of each digit."""
    digits = [int(digit) for digit in images.y.unique()]
    first = torch.stack([(images.y == digit).nonzero()[0, 0] for digit in digits])
    codes = encode(net, images.turned(first, torch.zeros(len(first)))).values
    return dict(zip(digits, codes, strict=True))


def _rotation_of(run: RunFolder, net: BetaVAE | SpatialVAE, images: Images) -> tuple[int, Tensor]:
    """The dimension that tells the rotation, and the values a film should give it."""
    dimension = 0 if isinstance(net, SpatialVAE) else _summary(run)["test"]["rotation"]["dimension"]
    return dimension, _steps(net, dimension, _FRAMES)


def _film(figures: Path, net: BetaVAE | SpatialVAE, images: Images, dimension: int, values: Tensor) -> Path:
    """The dimension of the rotation, moving, from the code of each digit."""
    walks = [_walk(net, code, dimension, values) for code in _codes_of_digits(net, images).values()]
    return plots.save_animation(torch.stack(walks, dim=1), figures / "rotation.gif")


def _embeddings(figures: Path, net: BetaVAE | SpatialVAE, images: Images, title: str) -> Iterator[Path]:
    """Means of the codes of turned test images by PCA and t-SNE, an explicit angle as its cosine and sine."""
    few = images.first(_EMBEDDED)
    angles = few.fixed_angles()
    values = encode(net, few.turned(torch.arange(len(few)), angles)).values
    if isinstance(net, SpatialVAE):
        radian = torch.deg2rad(values[:, :1])
        values = torch.cat([radian.cos(), radian.sin(), values[:, 1:]], dim=1)
    codes = values.numpy().astype(np.float64)
    for name, points in (
        ("pca", PCA(2).fit_transform(codes)),
        ("tsne", TSNE(random_state=0, perplexity=min(30, len(codes) // 4)).fit_transform(codes)),
    ):
        path = figures / f"{name}.png"
        # Colours of a whole turn, so that the ends of ±90 differ; -90 shows as 270.
        more: dict[str, Any] = {"labels": few.y, "angles": angles, "title": f"{title}, {name}"}
        plots.plot_embedding(points, path, **more)
        yield path
