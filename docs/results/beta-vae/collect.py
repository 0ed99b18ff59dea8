"""Table and figures of ../beta-vae.md from finished runs.

`python docs/results/beta-vae/collect.py RUNS` writes runs.json beside this file and the figures into
../figures, and prints the table. RUNS is a folder that holds the runs of ../beta-vae.md, each under its name
there; a run's parts are its seeds or its β.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from rotfast import plots
from rotfast.recipes.beta_vae.plots import plot_run
from rotfast.recipes.beta_vae.score import headline
from rotfast.recipes.run import RunFolder
from rotfast.recipes.seeds import spread

FIGURES = Path(__file__).parent.parent / "figures"
SHOWN = {
    "spatial": ("losses.png", "reconstructions.png", "traversals-4.png", "rotation.gif", "pca.png"),
    "article": ("traversals-4.png", "pca.png"),
    "own": ("traversals-4.png",),
}
COLUMNS = {
    "R²": "r2",
    "circular correlation": "circular_correlation",
    "mean error": "mean_error",
    "forest R²": "forest_r2",
    "MIG angle": "mig_angle",
    "reconstruction": "reconstruction",
    "KL": "kl",
}
KEPT = ("command", "versions", "steps", "parameters", "seconds", "beta", "test")


def figures_of(test: dict[str, Any]) -> dict[str, float]:
    """Headline figures; of a code that holds an angle those of the angle as it is, nothing fitted."""
    figures = headline(test)
    return {name: figures.get(f"angle_{name}", figures[name]) for name in COLUMNS.values()}


def collect(runs: Path) -> dict[str, Any]:
    """What runs.json holds: of every run its parts, and the spread of the figures over seeds."""
    collected: dict[str, Any] = {}
    for folder in sorted(path for path in runs.iterdir() if path.is_dir()):
        parts = {}
        for path in sorted(folder.glob("*/summary.json")):
            summary = RunFolder(path.parent).read_json(path.name) or {}
            parts[path.parent.name] = {name: summary[name] for name in KEPT}
        figures = {name: figures_of(part["test"]) for name, part in parts.items()}
        collected[folder.name] = {"parts": parts, "figures": figures}
        if all(name.startswith("seed-") for name in parts):
            values = list(figures.values())
            collected[folder.name]["spread"] = {
                key: spread([each[key] for each in values]) for key in values[0]
            }
    return collected


def draw(runs: Path, collected: dict[str, Any]) -> None:
    """The first seed's figures, and the runs over seeds beside each other."""
    for name, shown in SHOWN.items():
        seed = runs / name / "seed-0"
        plot_run(seed)
        for figure in shown:
            shutil.copy(seed / "figures" / figure, FIGURES / f"beta-vae-{name}-{figure}")
    seeded = {name: run["spread"] for name, run in collected.items() if "spread" in run}
    panels = {
        column: {name: figures[key]["values"] for name, figures in seeded.items()}
        for column, key in COLUMNS.items()
        if key not in ("reconstruction", "kl")  # sizes of images differ
    }
    plots.plot_comparison(panels, FIGURES / "beta-vae-comparison.png")


def table(collected: dict[str, Any]) -> str:
    """One row for every run over seeds, one for every β of the others."""
    lines = [f"| run | {' | '.join(COLUMNS)} |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for name, run in collected.items():
        if "spread" in run:
            cells = [cell(key, **run["spread"][key]) for key in COLUMNS.values()]
            lines.append(f"| {name}, {len(run['parts'])} seeds | {' | '.join(cells)} |")
            continue
        for part, figures in run["figures"].items():
            cells = [cell(key, figures[key]) for key in COLUMNS.values()]
            lines.append(f"| {name}, {part} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(key: str, mean: float, ci95: float | None = None, **_: Any) -> str:
    """A mean and half of its interval."""
    digits = 1 if key in ("mean_error", "reconstruction", "kl") else 3
    half = "" if ci95 is None else f" ± {ci95:.{digits}f}"
    return f"{mean:.{digits}f}{half}"


if __name__ == "__main__":
    root = Path(sys.argv[1])
    results = collect(root)
    (Path(__file__).parent / "runs.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(root, results)
    print(table(results))
