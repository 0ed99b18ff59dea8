"""Write docs/performance.md's tables and figures from benchmarks/results: ``python -m benchmarks.report``."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.case import COMPILED, FLOORS, ONE_THREAD, PEERS, PLAIN, ROTFAST, TOLERANCE, Case
from benchmarks.interleaved import Ratio
from benchmarks.ledger import RESULTS, Comparison, Ledger, Profile
from benchmarks.work import Work

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- tables: begin, written by python -m benchmarks.report -->", "<!-- tables: end -->"
FIGURES = PAGE.parent / "figures" / "performance"
HEADINGS = ("shape", "rotfast", "plain", "against plain", "best by hand", "against by hand")
FLOOR = ("bytes, at least", "operations, at least")
COPY_BANDWIDTH = "copy bandwidth"
OTHERS = (*COMPILED, *PEERS, ONE_THREAD, *FLOORS)  # each a column of its own in a second table

Measured = TypeVar("Measured", Comparison, Profile)
Table = list[tuple[str, ...]]  # the first row holds the headings


def by_suite(rows: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Rows grouped into the tables they belong to, in order."""
    suites: dict[str, list[Measured]] = {}
    for row in rows:
        suites.setdefault(row.suite, []).append(row)
    return suites


def cells(comparison: Comparison) -> tuple[str, ...]:
    """One row of the first table, under HEADINGS."""
    times = {name: s.median for name, s in comparison.seconds.items()}
    hands = [name for name in times if name not in (ROTFAST, PLAIN, *OTHERS)]
    row = (
        comparison.shape,
        duration(times[ROTFAST]),
        duration(times[PLAIN]),
        ratio(comparison.ratios[PLAIN]),
    )
    if not hands:
        return (*row, "", "")
    best = min(hands, key=times.__getitem__)
    return (*row, f"{duration(times[best])} {best}", ratio(comparison.ratios[best]))


def duration(seconds: float) -> str:
    """Three significant digits with a unit.

    Example:
        >>> duration(0.0123456), duration(4.5e-6)
        ('12.3 ms', '4.5 µs')
    """
    value, unit = next(
        (seconds * scale, unit)
        for scale, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs"))
        if seconds * scale >= 1
    )
    return f"{value:.3g} {unit}"


def ratio(value: Ratio) -> str:
    """The ratio of medians with the quartiles of the rounds, and a mark where rotfast loses.

    Example:
        >>> ratio(Ratio(medians=0.81, q1=0.75, q3=0.86, minima=0.8))
        '0.81 (0.75-0.86) loses'
    """
    mark = " loses" if value.loses else ""
    return f"{value.medians:.2f} ({value.q1:.2f}-{value.q3:.2f}){mark}"


def tables(comparisons: Sequence[Comparison], copy_bandwidth: float | None = None) -> list[Table]:
    """rotfast against plain and the best by hand; each other contestant, where there are any; the floor."""
    found: list[Table] = [[HEADINGS, *(cells(comparison) for comparison in comparisons)]]
    others = [name for name in OTHERS if any(name in comparison.seconds for comparison in comparisons)]
    if others:
        rows = ((c.shape, *(beside(c, name) for name in others)) for c in comparisons)
        found.append([("shape", *others), *rows])
    if copy_bandwidth is not None:
        bounds = ((c.shape, *bound(c, copy_bandwidth)) for c in comparisons if c.work is not None)
        found.append([("shape", *FLOOR, "share of the copy bandwidth"), *bounds])
    return found


def bound(comparison: Comparison, copy_bandwidth: float) -> tuple[str, ...]:
    """The floor of a row, and how near to it the memory was kept busy."""
    assert comparison.work is not None
    rate = comparison.work.bytes / comparison.seconds[ROTFAST].median
    return *floor(comparison.work), f"{rate / copy_bandwidth:.0%}"


def floor(work: Work) -> tuple[str, str]:
    """Under FLOOR.

    Example:
        >>> floor(Work(134_217_728, 1_006_632_960))
        ('134 MB', '1.01 G')
    """
    return amount(work.bytes, "B"), amount(work.operations)


def amount(number: int, unit: str = "") -> str:
    """Three significant digits, with a prefix of a thousand where one fits."""
    scale, prefix = next(
        (scale, prefix)
        for scale, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (0, ""))
        if number >= scale
    )
    digits = f"{number / (scale or 1):.3g}"
    return f"{digits} {prefix}{unit}".rstrip()


def beside(comparison: Comparison, name: str) -> str:
    """Time and ratio of one contestant; of a floor, how many times over it fits into rotfast's time."""
    if name not in comparison.seconds:
        return ""
    time = duration(comparison.seconds[name].median)
    if name in FLOORS:
        return f"{time}, {1 / comparison.ratios[name].medians:.2f} fit"
    return f"{time}, {ratio(comparison.ratios[name])}"


def differences(comparisons: Sequence[Comparison]) -> list[str]:
    """A line on contestants that do not compute quite the same."""
    largest = {
        name: max(comparison.errors.get(name, 0.0) for comparison in comparisons)
        for name in comparisons[0].seconds
    }
    found = [f"{name} {error:.1e}" for name, error in largest.items() if error > TOLERANCE]
    if not found:
        return []
    return [f"Largest difference from plain in float64, relative to the largest value: {', '.join(found)}."]


def profile_table(profiles: Sequence[Profile]) -> Table:
    """A line for each shape, a column for each way; in brackets what multiple it is of the first way's."""
    ways = list(dict.fromkeys(profile.way for profile in profiles))
    shapes: dict[str, dict[str, Profile]] = {}
    for profile in profiles:
        shapes.setdefault(profile.shape, {})[profile.way] = profile
    rows = ((shape, *(spent(found[way], found[ways[0]]) for way in ways)) for shape, found in shapes.items())
    return [("shape", *ways), *rows]


def spent(profile: Profile, first: Profile) -> str:
    """Time and memory of one way.

    Example:
        >>> from benchmarks.interleaved import spread
        >>> mine = Profile("", 1, "", "mine", spread([0.5]), 2_000_000)
        >>> yours = Profile("", 1, "", "yours", spread([0.6]), 3_000_000)
        >>> spent(mine, mine), spent(yours, mine)
        ('500 ms, 2 MB', '600 ms (1.20), 3 MB (1.50)')
    """

    def beside(text: str, own: float, other: float | None) -> str:
        return f"{text} ({own / other:.2f})" if other and profile is not first else text

    own, other = profile.seconds.median, first.seconds.median
    time = beside(duration(own), own, other)
    return (
        time
        if profile.peak is None
        else f"{time}, {beside(amount(profile.peak, 'B'), profile.peak, first.peak)}"
    )


def text_table(table: Table) -> list[str]:
    """For the terminal, one line a row."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def markdown_table(table: Table) -> list[str]:
    """The same for a page; lost comparisons stand out."""
    headings, *rows = table
    lines = ["| " + " | ".join(headings) + " |", "| --- " * len(headings) + "|"]
    for row in rows:
        lines.append(
            "| " + " | ".join(f"**{cell}**" if cell.endswith("loses") else cell for cell in row) + " |"
        )
    return lines


def unmeasured(cases: Iterable[Case]) -> list[str]:
    """The floors of the rows that a GPU's ledger would have."""
    suites: dict[str, Table] = {}
    for case in cases:
        assert case.work is not None
        table = suites.setdefault(case.suite, [("shape", *FLOOR, "time")])
        table.append((case.shape, *floor(case.work()), "not measured"))
    lines = ["### GPU", "", "Not measured."]
    for suite, table in suites.items():
        lines += ["", f"#### {suite}, on a GPU", "", *markdown_table(table)]
    return [*lines, ""]


def section(name: str, ledger: Ledger) -> list[str]:
    """Everything measured on one machine."""
    facts = "; ".join(f"{key} {fact(key, value)}" for key, value in ledger.machine.items())
    bandwidth = ledger.machine.get(COPY_BANDWIDTH)
    lines = [f"### {name}", "", f"{facts}."]
    for stage, became in ledger.stages.items():
        lines += [
            "",
            f"{stage}: {became.outcome}, at {became.commit}, {became.seconds:.0f} s. {became.detail}",
        ]
    for suite, comparisons in by_suite(ledger.comparisons).items():
        rounds = [comparison.rounds for comparison in comparisons]
        lines += [
            "",
            f"#### {suite}",
            "",
            f"{min(rounds)} to {max(rounds)} rounds.",
            *differences(comparisons),
        ]
        for table in tables(comparisons, None if bandwidth is None else float(bandwidth)):
            lines += ["", *markdown_table(table)]
        lines += ["", f"![Speed against plain: {suite}]({figure(name, suite).relative_to(PAGE.parent)})"]
    for suite, profiles in by_suite(ledger.profiles).items():
        lines += ["", f"#### {suite}", "", *markdown_table(profile_table(profiles))]
        if by_size(profiles):
            path = figure(name, suite).relative_to(PAGE.parent)
            lines += ["", f"![Time and peak memory: {suite}]({path})"]
    return [*lines, ""]


def by_size(profiles: Iterable[Profile]) -> bool:
    """Whether there is a curve to draw."""
    return len({profile.size for profile in profiles}) > 1


def fact(key: str, value: str | int | float) -> str:
    """A fact about a machine, as a reader wants it."""
    if key == COPY_BANDWIDTH:
        return amount(int(value), "B/s")
    return amount(int(value), "B") if key == "memory" else str(value)


def figure(machine: str, suite: str) -> Path:
    """Where the figure of a suite lies."""
    return FIGURES / f"{machine}-{file_stem(suite)}.png"


def file_stem(suite: str) -> str:
    """A suite's name as part of one of a file.

    Example:
        >>> file_stem("rotate, uint8 to normalised float32")
        'rotate-uint8-to-normalised-float32'
    """
    return "-".join(re.findall("[a-z0-9_]+", suite.lower()))


def render(page: str, ledgers: dict[str, Ledger], gpu_cases: Iterable[Case] = ()) -> str:
    """The page with the lines between its two marks replaced; without a GPU's ledger, the floors of its rows.

    Example:
        >>> "not measured yet" in render(f"Before. {BEGIN} old {END} After.", {})
        True
    """
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the page must hold the lines {BEGIN!r} and {END!r}")
    lines: list[str] = []
    for name, ledger in ledgers.items():
        lines += section(name, ledger)
    if not ledgers:
        lines += ["CPU: not measured yet.", ""]
    if not any("gpu" in ledger.machine for ledger in ledgers.values()):
        lines += unmeasured(gpu_cases)
    return f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n{END}{after}"


if __name__ == "__main__":
    from benchmarks.gpu.cases import rows
    from benchmarks.plots import curves, speeds  # here, for the benchmarks themselves need no matplotlib

    machines = {path.stem: Ledger.read(path) for path in sorted(RESULTS.glob("*.json"))}
    PAGE.write_text(render(PAGE.read_text(), machines, [row.case for row in rows()]))
    FIGURES.mkdir(parents=True, exist_ok=True)
    for stale in FIGURES.glob("*.png"):
        stale.unlink()
    for machine, ledger in machines.items():
        for suite, comparisons in by_suite(ledger.comparisons).items():
            speeds(suite, comparisons).savefig(figure(machine, suite))
        for suite, profiles in by_suite(ledger.profiles).items():
            if by_size(profiles):
                curves(suite, profiles).savefig(figure(machine, suite))
