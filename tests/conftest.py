"""Which tiers run here, and what the summary says about those that do not."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.support import tally, tiers

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a script: what tests start would inherit it, and hear no Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Taken away, so that no run that a test starts writes over it.
_record = os.environ.pop(tally.RECORD_VARIABLE, None)

pytest_plugins = ["tests.support.chromium", "tests.support.platform"]


def _tier(item: pytest.Item) -> str:
    for name in ("cluster", "gpu", "browser", "component"):
        if item.get_closest_marker(name) is not None:
            return name
    return "unit"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that none is left alone at the end."""
    items.sort(key=lambda item: (not _is_chained(item.nodeid), not _LONG & set(item.path.parts)))


_LONG = {"system", "apart"}


def _is_chained(nodeid: str) -> bool:
    """Whether a test uses the one cluster as if it were its own, after another that did."""
    return nodeid.startswith("tests/cluster/") and not nodeid.startswith("tests/cluster/apart/")


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist publishes no types
    """A file's tests stay together, and so do all that share the one cluster and its devices.

    Those in ``tests/cluster/apart`` only look whether it is there, and run beside them.
    """

    def _split_scope(self, nodeid: str) -> str:
        scope = str(super()._split_scope(nodeid))
        return "tests/cluster" if _is_chained(nodeid) else scope


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Share out the tests; None leaves it to xdist."""
    return _ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose tier this machine cannot run."""
    tiers.need(*tiers.TIERS[_tier(item)])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note each test's tier; where nothing may be skipped, turn a skip into a failure."""
    report = yield
    report.user_properties.append(("tier", _tier(item)))
    excused = hasattr(report, "wasxfail") or (
        call.excinfo is not None and isinstance(call.excinfo.value, tiers.NoHardware)
    )
    if report.skipped and tiers.all_required() and not excused:
        report.outcome = "failed"
        report.longrepr = (
            f"{tiers.REQUIRE_VARIABLE}=all, but: {call.excinfo and call.excinfo.value}"
        )
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tiers ran, and of each that did not or not wholly, why."""
    found = tally.results(terminalreporter.stats)
    if _record is not None:
        tally.write(found, Path(_record))
    terminalreporter.section("tiers")
    for line in tally.lines(found):
        terminalreporter.line(line)
