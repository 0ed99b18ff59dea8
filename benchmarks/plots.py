"""Bars: how many times as fast as plain each contestant is. Curves: time and memory by size."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from benchmarks.case import COMPILED, FLOORS, ONE_THREAD, PEERS, PLAIN, ROTFAST
from benchmarks.ledger import Comparison, Profile

# Okabe and Ito's palette, distinguishable with every common colour vision deficiency.
_COLOURS = {
    ROTFAST: "#0072B2",
    **dict(zip(COMPILED, ("#CC79A7", "#E5BCD3"), strict=True)),
    **dict(zip(PEERS, ("#E69F00", "#F0E442", "#E69F00", "#F0E442"), strict=True)),
    ONE_THREAD: "#7FB8D8",
}
_BY_HAND = ("#009E73", "#66C5AB", "#B2E2D5")
_WAYS = ("#0072B2", "#E69F00", "#009E73")
_LOST = "#D55E00"
_FLOOR_LINES = dict(zip(FLOORS, ("solid", "dotted"), strict=True))
_WIDTH, _BAR = 7.5, 0.15  # inches
_SMALL = 8


def speeds(suite: str, comparisons: Sequence[Comparison]) -> Figure:
    """One group of bars for each shape, with a line where a floor is; a bar that beats rotfast is marked."""
    present = list(dict.fromkeys(name for comparison in comparisons for name in comparison.seconds))
    floors = [name for name in present if name in FLOORS]
    hands = [name for name in present if name not in (PLAIN, *_COLOURS, *FLOORS)]
    bars = [ROTFAST, *hands, *(name for name in _COLOURS if name in present and name != ROTFAST)]
    colours = {**_COLOURS, **dict(zip(hands, _BY_HAND, strict=False))}
    height = _BAR * (len(comparisons) * (len(bars) + 1) + 6)
    figure = Figure(figsize=(_WIDTH, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(1, color="black", linewidth=0.8)
    ticks, edge = [], 0
    for comparison in comparisons:
        times = {name: spread.median for name, spread in comparison.seconds.items()}
        inside = [name for name in bars if name in times]
        for place, name in enumerate(inside, edge):
            speed = times[PLAIN] / times[name]
            axes.barh(place, speed - 1, left=1, height=0.85, color=colours[name])
            _write(axes, max(speed, 1), place, speed, _lost(comparison, name))
        for name in floors:
            ends = edge - 0.5, edge + len(inside) - 0.5
            axes.vlines(times[PLAIN] / times[name], *ends, color="black", linestyle=_FLOOR_LINES[name])
        ticks.append(edge + (len(inside) - 1) / 2)
        edge += len(inside) + 1
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel(f"{suite}: speed as a multiple of plain's (logarithmic)", fontsize=_SMALL + 1)
    axes.set_yticks(ticks, [comparison.shape for comparison in comparisons])
    axes.set_ylim(edge - 1, -1)
    axes.tick_params(labelsize=_SMALL)
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles = [Patch(color=colours[name], label=name) for name in bars]
    handles += [Line2D([], [], color="black", linestyle=_FLOOR_LINES[name], label=name) for name in floors]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=_SMALL, frameon=False)
    return figure


def curves(suite: str, profiles: Sequence[Profile]) -> Figure:
    """Time and peak memory by size, one line for each way; dotted what grows as the size does."""
    figure = Figure(figsize=(_WIDTH, _WIDTH / 2), dpi=120, layout="constrained")
    times, peaks = figure.subplots(1, 2)
    largest = max(profiles, key=lambda profile: profile.size)
    sizes = sorted({profile.size for profile in profiles})
    seconds = [1e3 * largest.seconds.median * size / largest.size for size in sizes]
    times.plot(sizes, seconds, color="black", linestyle="dotted", linewidth=0.8, label="in proportion")
    for way, colour in zip(dict.fromkeys(profile.way for profile in profiles), _WAYS, strict=False):
        found = [profile for profile in profiles if profile.way == way]
        sizes = [profile.size for profile in found]
        times.plot(sizes, [1e3 * profile.seconds.median for profile in found], "o-", color=colour, label=way)
        peaks.plot(sizes, [(profile.peak or 0) / 1e6 for profile in found], "o-", color=colour)
    for axes, what in ((times, "milliseconds"), (peaks, "peak memory, MB")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel(what, fontsize=_SMALL + 1)
        axes.tick_params(labelsize=_SMALL)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    figure.supxlabel(suite, fontsize=_SMALL + 1)
    figure.legend(loc="outside upper center", ncols=5, fontsize=_SMALL, frameon=False)
    return figure


def _write(axes: Axes, x: float, y: float, speed: float, lost: str) -> None:
    axes.annotate(
        f"{speed:.2f}{lost}",
        (x, y),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=_SMALL - 1,
        color=_LOST if lost else "black",
    )


def _lost(comparison: Comparison, name: str) -> str:
    """What to say of a bar when it stands for a comparison that rotfast lost."""
    if name == ROTFAST:
        return " loses to plain" if comparison.ratios[PLAIN].loses else ""
    return " beats rotfast" if comparison.ratios[name].loses else ""
