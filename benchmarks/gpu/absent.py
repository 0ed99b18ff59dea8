"""A plugin of pytest: what needs a library that is not installed is skipped, with its name."""

from collections.abc import Generator
from typing import Any

import pytest

OWN = ("rotfast", "benchmarks", "tests")


def _absent(call: Any) -> str | None:
    """The library that was looked for in vain, if that is what went wrong."""
    error = None if call is None or call.excinfo is None else call.excinfo.value
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] not in OWN:
            return error.name
        error = error.__cause__ or error.__context__
    return None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if (name := _absent(getattr(report, "call", None))) is not None:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: there is no {name}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and (name := _absent(call)) is not None:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, f"Skipped: there is no {name}")
    return report
