"""Which tiers run here, and what the summary says about those that do not."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Generator

import pytest

from tests.support import tiers

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a script: what tests start would inherit it, and hear no Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.platform"]


def _tier(item: pytest.Item) -> str:
    for name in ("gpu", "browser", "component"):
        if item.get_closest_marker(name) is not None:
            return name
    return "unit"


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
    ran: Counter[str] = Counter()
    skipped: dict[str, Counter[str]] = {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if not isinstance(report, pytest.TestReport):
                continue
            tier = str(dict(report.user_properties).get("tier", "unit"))
            if outcome == "skipped":
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
                # "Skipped: ...", "NoHardware: ..."
                skipped.setdefault(tier, Counter())[str(reason).partition(": ")[2]] += 1
            elif report.when == "call" and outcome in ("passed", "failed"):
                ran[tier] += 1
    terminalreporter.section("tiers")
    for tier in tiers.TIERS:
        line = f"{tier}: {ran[tier]} run" if ran[tier] else f"{tier}: none run"
        for reason, count in skipped.get(tier, {}).items():
            line += f"; {count} skipped: {reason}"
        terminalreporter.line(line)
