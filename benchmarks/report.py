"""Write the tables of docs/performance.md from benchmarks/results: ``python -m benchmarks.report``."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.case import PLAIN, ROTFAST
from benchmarks.interleaved import Ratio
from benchmarks.ledger import RESULTS, Comparison, Ledger

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- tables: begin, written by python -m benchmarks.report -->", "<!-- tables: end -->"
HEADINGS = ("shape", "rotfast", "plain", "against plain", "best by hand", "against by hand")


def by_suite(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """Comparisons grouped into the tables they belong to, in order."""
    suites: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        suites.setdefault(comparison.suite, []).append(comparison)
    return suites


def cells(comparison: Comparison) -> tuple[str, ...]:
    """One row of a table, under HEADINGS."""
    times = {name: s.median for name, s in comparison.seconds.items()}
    hands = [name for name in times if name not in (ROTFAST, PLAIN)]
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


def text_table(comparisons: Sequence[Comparison]) -> list[str]:
    """A table for the terminal, one line a row."""
    rows = [HEADINGS, *(cells(comparison) for comparison in comparisons)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def markdown_table(comparisons: Sequence[Comparison]) -> list[str]:
    """The same for a page; lost comparisons stand out."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "| --- " * len(HEADINGS) + "|"]
    for comparison in comparisons:
        row = (f"**{cell}**" if cell.endswith("loses") else cell for cell in cells(comparison))
        lines.append("| " + " | ".join(row) + " |")
    return lines


def section(name: str, ledger: Ledger) -> list[str]:
    """Everything measured on one machine."""
    lines = [f"### {name}", "", "; ".join(f"{key} {value}" for key, value in ledger.machine.items()) + "."]
    for suite, comparisons in by_suite(ledger.comparisons).items():
        rounds = [comparison.rounds for comparison in comparisons]
        lines += ["", f"#### {suite}", "", f"{min(rounds)} to {max(rounds)} rounds.", ""]
        lines += markdown_table(comparisons)
    return [*lines, ""]


def render(page: str, ledgers: dict[str, Ledger]) -> str:
    """The page with the lines between its two marks replaced.

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
    lines += ["GPU: not measured.", ""]
    return f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n{END}{after}"


if __name__ == "__main__":
    machines = {path.stem: Ledger.read(path) for path in sorted(RESULTS.glob("*.json"))}
    PAGE.write_text(render(PAGE.read_text(), machines))
