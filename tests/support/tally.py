"""What became of each test, by tier: said at the end of a run, and written down for ``runs``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiers

RECORD_VARIABLE = "ARCETRI_TEST_RECORD"
"""Names the file that a run writes its tally to."""

_RANK = ("passed", "skipped", "failed")
"""What a test's several reports make of it: the last of these that any says."""
_KINDS = {"error": "failed", "xfailed": "passed", "xpassed": "passed"}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one test: ``passed``, ``skipped`` (and why) or ``failed``."""

    tier: str
    kind: str
    reason: str = ""


def results(stats: Mapping[str, list[Any]]) -> dict[str, Result]:
    """What became of each test, by its node id, of what pytest's terminal reporter collected."""
    found: dict[str, Result] = {}
    for category, reports in stats.items():
        kind = _KINDS.get(category, category)
        for report in reports:
            if kind not in _RANK or not isinstance(report, pytest.TestReport):
                continue
            before = found.get(report.nodeid)
            if before is None or _RANK.index(before.kind) < _RANK.index(kind):
                tier = str(dict(report.user_properties).get("tier", "unit"))
                found[report.nodeid] = Result(tier, kind, _reason(report, kind))
    return found


def _reason(report: pytest.TestReport, kind: str) -> str:
    if kind != "skipped" or not isinstance(report.longrepr, tuple):
        return ""
    # "Skipped: ...", "NoHardware: ..."
    return str(report.longrepr[2]).partition(": ")[2]


def lines(tally: Mapping[str, Result]) -> Iterator[str]:
    """Say of each tier how much of it ran, and why what did not was skipped."""
    for tier in tiers.TIERS:
        mine = [result for result in tally.values() if result.tier == tier]
        ran = sum(result.kind != "skipped" for result in mine)
        line = f"{tier}: {ran or 'none'} run"
        skipped = Counter(result.reason for result in mine if result.kind == "skipped")
        for reason, count in skipped.items():
            line += f"; {count} skipped: {reason}"
        yield line


def write(tally: Mapping[str, Result], path: Path) -> None:
    """Write a tally down."""
    path.write_text(json.dumps({name: asdict(result) for name, result in tally.items()}))


def read(path: Path) -> dict[str, Result]:
    """Read a tally; an empty one where a run wrote none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    return {name: Result(**result) for name, result in json.loads(text).items()}
