"""Tables and figures of ../msr.md from finished runs.

`python docs/results/msr/collect.py RUNS` writes runs.json beside this file and the figures into ../figures,
and prints the tables. RUNS is a folder that holds the runs of ../msr.md, each under its name there, evaluated
where the page says so.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image
from probe import finished, load, reachable

from rotfast import plots
from rotfast.data import synthetic_problem
from rotfast.recipes.msr.tasks import load_images, make_source
from rotfast.recipes.run import RunFolder
from rotfast.recipes.seeds import spread

FIGURES = Path(__file__).parent.parent / "figures"
# Test losses after 1000 steps that the original code gives: mean, and half of the interval where it is known.
ORIGINAL = {
    "rank1": {"share": (0.173, 0.028), "conv": (0.160, 0), "fc": (2.79, 0), "lc": (2.66, 0)},
    "rank2": {"share": (0.450, 0.041), "conv": (0.542, 0), "fc": (1.95, 0), "lc": (1.86, 0)},
    "rank5": {"share": (0.343, 0.015), "conv": (0.439, 0), "fc": (0.94, 0), "lc": (0.90, 0)},
}
COLORS = {"share": "#0072B2", "conv": "#009E73", "fc": "#CC79A7", "lc": "#8C8C8C"}


def tests(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's tests."""
    return [record for record in RunFolder(folder).read_metrics() if record["split"] == "test"]


def short(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what no table needs, to five digits."""
    names = ("step", "loss", "accuracy", "errors_per_angle", "images_per_angle")
    kept = {name: record[name] for name in names if name in record}
    return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in kept.items()}


def summarise(runs: Path, name: str) -> dict[str, Any]:
    """The figures of a run over its finished seeds."""
    seeds = {}
    for seed, folder in finished(runs, name).items():
        run, records = RunFolder(folder), tests(folder)
        summary = run.read_json("summary.json")
        evaluation = run.read_json("evaluation.json")
        seeds[seed] = {
            "command": summary["command"],
            "first test": short(records[0]),
            "lowest test loss": short(min(records, key=lambda record: record["loss"])),
            "last test": short(records[-1]),
            "last train": short(summary["train"]),
            "seconds": summary["seconds"],
            **({"evaluation": {"tasks": evaluation["tasks"], **short(evaluation)}} if evaluation else {}),
        }
    losses = [seed["last test"]["loss"] for seed in seeds.values()]
    return {"last test loss": spread(losses), "seeds": seeds}


def interval(values: dict[str, Any], digits: int = 3) -> str:
    """Mean ± half of the interval."""
    half = "" if values["ci95"] is None else f" ± {values['ci95']:.{digits}f}"
    return f"{values['mean']:.{digits}f}{half}"


def errors(record: dict[str, Any]) -> str:
    """Errors of all images."""
    wrong, images = sum(record["errors_per_angle"].values()), sum(record["images_per_angle"].values())
    return f"{wrong} of {images}"


def print_rotated(results: dict[str, Any]) -> None:
    """A row for every seed of the runs on rotated digits."""
    for name, result in results.items():
        for seed, row in result["seeds"].items():
            if "accuracy" not in row["last test"]:
                continue
            evaluation = row.get("evaluation", {})
            first, low, last = row["first test"], row["lowest test loss"], row["last test"]
            by_angle = " ".join(map(str, last["errors_per_angle"].values()))
            print(
                f"| {name} | {seed} | {first['loss']:.3f} | {low['loss']:.3f} at {low['step']} "
                f"| {last['loss']:.3f} | {errors(last)} | {by_angle} | {row['last train']['loss']:.5f} "
                f"| {evaluation.get('tasks')} {evaluation.get('accuracy')} {evaluation.get('loss')} "
                f"| {row['seconds']:.0f} |"
            )
    single, routed = (
        results.get(f"mnist-rec-{model}", {}).get("seeds", {}) for model in ("single", "routed")
    )
    both = [seed for seed in single if "evaluation" in single[seed] and "evaluation" in routed.get(seed, {})]
    for model, seeds in (("single", single), ("routed", routed)):
        accuracies = [row["evaluation"]["accuracy"] for row in seeds.values() if "evaluation" in row]
        print(model, interval(spread(accuracies), 4) if accuracies else "not run")
    if both:
        gains = [
            routed[seed]["evaluation"]["accuracy"] - single[seed]["evaluation"]["accuracy"] for seed in both
        ]
        print("routed - single, paired by seed:", interval(spread(gains), 4), gains)


def print_synthetic(results: dict[str, Any]) -> None:
    """A row for every run of a synthetic problem."""
    for name, result in results.items():
        if name.startswith("mnist"):
            continue
        problem = re.split("-(?:rec|deck)-", name)[0]
        ours, seconds = result["last test loss"], [row["seconds"] for row in result["seeds"].values()]
        row = f"| {name} | {interval(ours, 5 if problem.startswith('rot8') else 3)}"
        model = name.rsplit("-", 1)[1]
        if "-deck-" in name and problem in ORIGINAL:
            mean, half = ORIGINAL[problem][model]
            overlap = abs(mean - ours["mean"]) <= half + ours["ci95"]
            row += f" | {mean}{f' ± {half}' if half else ''} | {'yes' if overlap else 'no'}"
        print(f"{row} | {len(seconds)} seeds, {statistics.fmean(seconds):.0f} s |")


def plot_test_losses(runs: Path, panels: dict[str, dict[str, tuple[str, str, str]]], path: Path) -> None:
    """A panel each of test losses, one line a seed; panels: title -> label -> run, colour, line style."""
    figure = Figure(figsize=(max(4.4, 3.2 * len(panels)), 3.6), dpi=110, layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    lines: dict[str, Any] = {}
    for axes, (title, curves) in zip(grid, panels.items(), strict=True):
        for label, (name, color, style) in curves.items():
            for folder in finished(runs, name).values():
                records = tests(folder)
                points = [record["step"] for record in records], [record["loss"] for record in records]
                lines[label] = axes.plot(*points, style, color=color, linewidth=1.1, label=label)[0]
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("Outer step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].set_ylabel("Test loss, one line a seed", fontsize=9)
    columns = min(len(lines), 5 if len(panels) > 1 else 3)
    figure.legend(
        handles=list(lines.values()), loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )
    figure.savefig(path)


def averaged(metrics: list[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """The records with the training losses of every `steps` steps replaced by their mean."""
    groups: dict[int, list[float]] = {}
    for record in metrics:
        if record["split"] == "train":
            groups.setdefault(-(-record["step"] // steps) * steps, []).append(record["loss"])
    means = [
        {"step": step, "split": "train", "loss": statistics.fmean(losses)} for step, losses in groups.items()
    ]
    return means + [record for record in metrics if record["split"] == "test"]


def save_activations(name: str, net: torch.nn.Module, x: torch.Tensor, *extra: torch.Tensor) -> None:
    """At a low resolution and in the 256 colours of its colour scales, which keeps the file small."""
    path = FIGURES / f"msr-activations-{name}.png"
    plots.visualize_activations(net, x, None, *extra).savefig(path, dpi=80)
    scales = (("RdBu_r", 128), ("viridis", 96), ("gray", 32))
    colors = [colormaps[scale](place / (count - 1))[:3] for scale, count in scales for place in range(count)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([round(255 * part) for color in colors for part in color])
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def plot_rotated(runs: Path) -> None:
    """Figures of the runs on Rotated MNIST, those of one network from seed 0."""
    deck, best = runs / "mnist-deck-single" / "seed-0", runs / "mnist-rec-single" / "seed-0"
    last = {record["split"]: record["images_per_angle"] for record in RunFolder(deck).read_metrics()}
    title = "Query images, single circuit, as-in-deck, seed 0"
    plots.plot_images_per_angle(last, FIGURES / "msr-images-per-angle.png", title=title)
    judged = tests(deck)[-1]
    title = "Rotated MNIST, single circuit, as-in-deck, seed 0"
    path = FIGURES / "msr-deck-errors-per-angle.png"
    plots.plot_errors_per_angle(judged["errors_per_angle"], judged["images_per_angle"], path, title=title)
    judged = RunFolder(best).read_json("evaluation.json")
    title = "Rotated MNIST, held-out digits, single circuit, recommended, seed 0"
    path = FIGURES / "msr-errors-per-angle.png"
    plots.plot_errors_per_angle(judged["errors_per_angle"], judged["images_per_angle"], path, title=title)
    folders = finished(runs, "mnist-rec-single").values()
    metrics = [averaged(RunFolder(folder).read_metrics(), 250) for folder in folders]
    title = "Rotated MNIST, single circuit, recommended"
    plots.plot_losses(metrics, FIGURES / "msr-losses.png", title=title)
    config, learner = load(best)
    plots.visualize_warps(learner.net, FIGURES / "msr-warps.png")
    plots.visualize_weights(learner.net, FIGURES / "msr-weights.png")
    x = load_images(config, "test")[0][:1].unsqueeze(1) / 255
    save_activations("single", learner.net, x)
    for seed, folder in finished(runs, "mnist-rec-routed").items():
        if seed == 0:
            save_activations("routed", load(folder)[1].net, x, torch.tensor(0))
    for seed, folder in finished(runs, "mnist-deck-dedicated").items():
        if seed == 0:
            save_activations("dedicated", load(folder)[1].net, x)


def plot_rot8(runs: Path) -> None:
    """Warps of rot8, recommended, seed 0 beside the group's action and the space it acts on."""
    config, learner = load(runs / "rot8-rec-share" / "seed-0")
    layer, spaces = learner.net[0], reachable("rot8", 0)
    action = synthetic_problem("rot8", 0).group_action["rotation"]
    for name, true in (("A_warp", action.channels), ("C_warp", action.taps)):
        learned = getattr(layer, name).detach().double()
        space, letter = ("channels", "A") if name == "A_warp" else ("taps", "C")
        path = FIGURES / f"msr-rot8-{letter}.png"
        plots.plot_group_action(learned, true, path, title=f"{name} beside the turn of the {space} by 45°")
        path = FIGURES / f"msr-rot8-{letter}{letter}t.png"
        title = f"{letter} {letter}ᵀ beside the projector on the true filters' {space}"
        plots.plot_group_action(learned @ learned.T, spaces[name], path, title=title)
    source = make_source(config)
    tasks = next(iter(source.test()))
    adapted = learner.adapt(tasks.x_spt[:1], tasks.y_spt[:1])
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.copy_(adapted["0.weight"][0])
    plots.visualize_weights(learner.net, FIGURES / "msr-rot8-weights.png")
    with torch.no_grad():
        layer.weight.copy_(before)


def main(runs: Path) -> None:
    """Write and print everything."""
    torch.set_num_threads(1)
    names = sorted(folder.name for folder in runs.iterdir() if finished(runs, folder.name))
    results = {name: summarise(runs, name) for name in names}
    target = Path(__file__).with_name("runs.json")
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print_rotated(results)
    print_synthetic(results)
    FIGURES.mkdir(exist_ok=True)
    plot_rotated(runs)
    plot_rot8(runs)
    ranks = {
        problem: {
            **{
                f"{model}, as-in-deck": (f"{problem}-deck-{model}", color, "-")
                for model, color in COLORS.items()
            },
            "share, recommended": (f"{problem}-rec-share", "#D55E00", "--"),
        }
        for problem in ORIGINAL
    }
    plot_test_losses(runs, ranks, FIGURES / "msr-synthetic-losses.png")
    rot8 = {
        title: {model: (f"{name}-{model}", COLORS[model], "-") for model in ("share", "conv")}
        for title, name in (
            ("rot8, recommended", "rot8-rec"),
            ("rot8-flip, recommended", "rot8-flip-rec"),
            ("rot8, as-in-deck", "rot8-deck"),
        )
    }
    plot_test_losses(runs, rot8, FIGURES / "msr-rot8-losses.png")
    deck = {
        "Rotated MNIST, as-in-deck": {
            "single": ("mnist-deck-single", COLORS["share"], "-"),
            "single, outer rate 1e-5": ("mnist-deck-single-slow", COLORS["conv"], "-"),
            "dedicated": ("mnist-deck-dedicated", "#D55E00", "-"),
        }
    }
    plot_test_losses(runs, deck, FIGURES / "msr-deck-losses.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
