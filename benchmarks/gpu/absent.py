"""A plugin of pytest: test files that need a library which is not installed are skipped, with its name."""

from collections.abc import Generator

import pytest

OWN = ("rotfast", "benchmarks", "tests")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    call = getattr(report, "call", None)
    cause = None if call is None or call.excinfo is None else call.excinfo.value.__cause__
    if isinstance(cause, ModuleNotFoundError) and (cause.name or "").split(".")[0] not in OWN:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: there is no {cause.name}")
    return report
