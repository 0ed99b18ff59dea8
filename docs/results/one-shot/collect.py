"""Tables of ../one-shot.md from finished runs.

`python docs/results/one-shot/collect.py RUNS` writes runs.json beside this file and prints the tables. RUNS
is a folder that holds runs of ../one-shot.md, each under its name there; unfinished seeds are left out. A
run NAME-more has further seeds of NAME.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from rotfast.recipes.seeds import spread

Rows = dict[tuple[Any, ...], float]


def one_shot_rows(seed: Path) -> Rows:
    """The figures of one training of the one-shot recipe."""
    test = json.loads((seed / "summary.json").read_text())["test"]
    rows: Rows = {("references", "nearest"): test["references"]["accuracy"]}
    for row in test["episodes"]:
        rows[f"{row['way']}-way", row["shots"], row["method"], row["views"]] = row["accuracy"]
    for part in ("pairs", "rejection"):
        rows |= {(part, name): value for name, value in test.get(part, {}).items() if name != "threshold"}
    if "seen_accuracy" in test:
        rows["seen classes",] = test["seen_accuracy"]
    return rows


def msr_rows(seed: Path) -> Rows:
    """The figures of one training of the msr recipe, as `rotfast evaluate` found them."""
    result = json.loads((seed / "evaluation.json").read_text())
    return {(name,): result[name] for name in ("accuracy", "accuracy_ci95", "loss", "tasks")}


def summarise(folder: Path) -> dict[str, Any] | None:
    """A run's command without its folder, time, and figures over the seeds; None if no seed has finished."""
    seeds = sorted(folder.glob("seed-*"), key=lambda path: int(path.name[5:])) or [folder]
    is_msr = "recipe: msr" in (folder / "config.yaml").read_text()
    judged = "evaluation.json" if is_msr else "summary.json"
    finished = [seed for seed in seeds if (seed / judged).is_file()]
    if not finished:
        return None
    summaries = [json.loads((seed / "summary.json").read_text()) for seed in finished]
    each = [msr_rows(seed) if is_msr else one_shot_rows(seed) for seed in finished]
    return {
        "command": re.split(" --(?:run|resume) ", summaries[0]["command"])[0],
        "seeds": [summary["seed"] for summary in summaries],
        "parameters": summaries[0]["parameters"],
        "seconds": [round(summary["seconds"]) for summary in summaries],
        "rows": [{"row": list(names), **spread([rows[names] for rows in each])} for names in each[0]],
    }


def show(row: dict[str, Any]) -> str:
    """Mean ± half of the interval, and the values."""
    half = "" if row["ci95"] is None else f" ± {row['ci95']:.3f}"
    values = " ".join(f"{value:.3f}" for value in row["values"])
    return f"| {', '.join(map(str, row['row']))} | {row['mean']:.3f}{half} | {values} |"


def main(runs: Path) -> None:
    """Everything."""
    folders = [folder for folder in sorted(runs.iterdir()) if (folder / "config.yaml").is_file()]
    results = {folder.name: result for folder in folders if (result := summarise(folder)) is not None}
    (Path(__file__).parent / "runs.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, result in results.items():
        print(f"\n{name}, seeds {result['seeds']}, {result['seconds']} s: {result['command']}")
        for row in result["rows"]:
            print(show(row))
    accuracies: dict[str, dict[int, float]] = {}
    for name, result in results.items():
        if name.startswith("msr-"):
            seeds = zip(result["seeds"], result["rows"][0]["values"], strict=True)
            accuracies.setdefault(name.removesuffix("-more"), {}).update(seeds)
    for other in ("msr-conv", "msr-prototypes"):
        common = accuracies.get("msr-share", {}).keys() & accuracies.get(other, {}).keys()
        if common:
            gains = [accuracies["msr-share"][seed] - accuracies[other][seed] for seed in sorted(common)]
            print(show({"row": [f"msr-share less {other}, by seed"], **spread(gains)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
