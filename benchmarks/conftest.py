"""One thread, interleaved measurements handed to pytest-benchmark, ratios at the end, and the ledger."""

import pkgutil
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import rotfast
from benchmarks.case import PLAIN, ROTFAST, Case
from benchmarks.interleaved import Timing, by_clock, race
from benchmarks.ledger import RESULTS, Comparison, Ledger, this_machine
from benchmarks.report import by_suite, differences, tables, text_table

torch.set_num_threads(1)

_RACES = pytest.StashKey[dict[Case, tuple[dict[str, Timing], Comparison]]]()


class Recorded:
    """A clock for pytest-benchmark that returns, between two readings, a duration measured before."""

    def __init__(self) -> None:
        self._readings: Iterator[float] = iter(())

    def load(self, timing: Timing) -> None:
        self._readings = (t for s in timing.seconds for t in (0.0, s * timing.iterations))

    def __call__(self) -> float:
        return next(self._readings)


_recorded = Recorded()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ledger",
        metavar="MACHINE",
        help="write the medians and spreads of this run to benchmarks/results/MACHINE.json",
    )
    parser.addoption(
        "--allocator",
        choices=("keep", "default"),
        default="keep",
        help="for all contestants: rotfast.keep_freed_memory(), or leave the allocator alone",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RACES] = {}
    if config.getoption("--allocator") == "keep":
        rotfast.keep_freed_memory()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "compare" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.benchmark(timer=_recorded))


def _clock(config: pytest.Config) -> str:
    """The dotted name given to --benchmark-timer, which holds a string or an object that prints as one."""
    return str(config.getoption("benchmark_timer"))


def _selected(case: Case, items: Iterable[pytest.Item]) -> list[str]:
    """The contestants whose tests run, with the two that no comparison is without."""
    asked = {
        item.callspec.params["contestant"]
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("case") == case
    }
    return [name for name in case.names if name in asked | {ROTFAST, PLAIN}]


@pytest.fixture
def compare(
    benchmark: BenchmarkFixture, pytestconfig: pytest.Config, request: pytest.FixtureRequest
) -> Callable[[Case, str], None]:
    """Race the selected contestants of a case at its first test; every test then reports one of them.

    The seconds and rounds are those of --benchmark-max-time and --benchmark-min-rounds, for each contestant;
    with -m smoke it is one round.
    """
    races = pytestconfig.stash[_RACES]
    smoke = pytestconfig.getoption("markexpr") == "smoke"

    def run(case: Case, contestant: str) -> None:
        names = _selected(case, request.session.items)
        if benchmark.disabled:
            case.check(names)
            benchmark(lambda: None)
            return
        if case not in races:
            errors = case.check(names)
            timings = race(
                case.calls(torch.float32, names),
                seconds=0.0 if smoke else float(pytestconfig.getoption("benchmark_max_time")),
                min_rounds=1 if smoke else pytestconfig.getoption("benchmark_min_rounds"),
                stopwatch=by_clock(pkgutil.resolve_name(_clock(pytestconfig))),
            )
            races[case] = timings, Comparison.of(case, timings, errors)
        timing = races[case][0][contestant]
        _recorded.load(timing)
        benchmark.group = str(case)
        benchmark.pedantic(lambda: None, rounds=len(timing.seconds), iterations=timing.iterations)

    return run


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many times as fast as the others rotfast is, and write the ledger."""
    comparisons = [comparison for _, comparison in config.stash[_RACES].values()]
    if not comparisons:
        return
    terminalreporter.section("speed of rotfast, as a multiple of the others (quartiles of the rounds)")
    for suite, rows in by_suite(comparisons).items():
        terminalreporter.write_line("")
        terminalreporter.write_line(suite, bold=True)
        for table in tables(rows):
            for line in text_table(table):
                terminalreporter.write_line(line)
        for line in differences(rows):
            terminalreporter.write_line(line)
    if name := config.getoption("ledger"):
        path = RESULTS / f"{name}.json"
        Ledger(this_machine(_clock(config), config.getoption("--allocator")), comparisons).write(path)
        terminalreporter.write_line(f"\nwritten: {path}")
