"""Tables and figures of ../rotnet.md from finished runs.

`python docs/results/rotnet/collect.py RUNS` writes runs.json beside this file and the curves into ../figures,
and prints the tables. RUNS is a folder that holds the runs of ../rotnet.md, each under its name there.
"""

import json
import sys
from pathlib import Path
from typing import Any

from rotfast import plots
from rotfast.recipes.run import RunFolder
from rotfast.recipes.seeds import spread

FIGURES = Path(__file__).parent.parent / "figures"
ROW = ("labels_per_class", "augment", "arm")
CURVES = {
    ("none", "scratch"): "supervised",
    ("fresh", "scratch"): "augmented",
    ("none", "pretext"): "pretext",
    ("fresh", "pretext"): "both",
}


def records(folder: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl says of every network that was judged, over all seeds."""
    seeds = sorted(folder.glob("seed-*"), key=lambda path: int(path.name[5:]))
    return [
        {"seed": number, **record}
        for number, seed in enumerate(seeds or [folder])
        for record in RunFolder(seed).read_metrics()
        if record["split"] != "train"
    ]


def summarise(folder: Path) -> dict[str, Any]:
    """A run's command, time, and accuracies with their spread."""
    found = records(folder)
    groups: dict[tuple[Any, ...], list[float]] = {}
    for record in found:
        names = ("pretext", record["split"]) if record["stage"] == "pretext" else tuple(map(record.get, ROW))
        groups.setdefault(names, []).append(record["accuracy"])
    summary = folder / "summary.json"
    last = {record["seed"]: record["seconds"] for record in found}
    return {
        "command": json.loads(summary.read_text())["command"] if summary.is_file() else None,
        "seconds": round(sum(last.values())),
        "rows": [{"row": list(names), **spread(values)} for names, values in groups.items()],
    }


def percent(row: dict[str, Any]) -> str:
    """Mean ± half of the interval, number of repetitions, and the values."""
    half = "" if row["ci95"] is None else f" ± {100 * row['ci95']:.2f}"
    values = " ".join(f"{100 * value:.2f}" for value in row["values"])
    return f"{100 * row['mean']:.2f} %{half} | {values}"


def paired(rows: list[dict[str, Any]], kind: str) -> None:
    """Print the pretext's gain over its control, draw by draw."""
    by_row = {tuple(row["row"]): row["values"] for row in rows}
    for (size, augment, arm), values in by_row.items():
        if arm == f"scratch{kind}" and (size, augment, f"pretext{kind}") in by_row:
            gains = [b - a for a, b in zip(values, by_row[size, augment, f"pretext{kind}"], strict=False)]
            print(f"| {size}, {augment}{kind}: pretext less control | {percent(spread(gains))} |")


def plot_curves(folder: Path) -> None:
    """Accuracy against the label budget."""
    curves: dict[str, dict[int, list[float]]] = {name: {} for name in CURVES.values()}
    for record in records(folder):
        if record["stage"] == "labels":
            curve = curves[CURVES[record["augment"], record["arm"]]]
            curve.setdefault(record["labels_per_class"], []).append(record["accuracy"])
    plots.plot_budget(curves, FIGURES / "rotnet-budgets.png", title="MNIST, accuracy on 10,000 test images")


def plot_confusion(folder: Path, arm: str, path: Path) -> None:
    """Confusion of all label draws together."""
    matrices = [record["confusion"] for record in records(folder) if record.get("arm") == arm]
    plots.plot_confusion(matrices, path, title=f"MNIST, 100 labels, {arm}, {len(matrices)} label draws")


def main(runs: Path) -> None:
    """Everything."""
    results = {folder.name: summarise(folder) for folder in sorted(runs.iterdir()) if folder.is_dir()}
    (Path(__file__).parent / "runs.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, result in results.items():
        print(f"\n{name}, {result['seconds']} s: {result['command']}")
        for row in result["rows"]:
            print(f"| {', '.join(map(str, row['row']))} | {percent(row)} |")
        for kind in ("", "+pseudo-labels"):
            paired([row for row in result["rows"] if len(row["row"]) == len(ROW)], kind)
    plot_curves(runs / "mnist-budgets")
    plot_confusion(runs / "mnist", "pretext", FIGURES / "rotnet-confusion.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
