"""When quarter hours are no longer kept, exports and checks go by the months of each allocation."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from arcetri_accounting.ledger import exporting, importing, months
from arcetri_accounting.ledger.retention import DAY_MS, Pruned, prune
from arcetri_accounting.ledger.settings import Retention
from arcetri_accounting.ledger.tables import MonthRow, QuarterRow
from arcetri_accounting.ledger.verify import verify
from tests.accounting.ledger.builders import T0, allocation, batch, catalog, seen, segment
from tests.accounting.ledger.harness import Ledger
from tests.accounting.ledger.test_cli import run
from tests.accounting.ledger.test_importing import HEADER, lines

HOUR = 3_600_000
OLD = 1_583_020_800_000
"""1 March 2020."""
LATER = T0 + 1500 * DAY_MS
SLICE = allocation("s2", "MIG-1", share="1/7", flavor="a100-1g")


def _fill(ledger: Ledger) -> None:
    """A session over a month's end, part of it used, and an imported record over another."""
    part = {"util_ms": 299_999, "used_u": 1440 * 150_001, "unobserved_ms": 1, "mem_peak": 9}
    begin = OLD - 3 * HOUR + 7
    records = [segment(n, SLICE, begin + n * 300_000, b0=n * 300_000, **part) for n in range(1, 70)]
    ledger.see(seen(catalog(1, OLD - 90 * DAY_MS)))
    ledger.take(batch(records, SLICE))
    past = "j1,2020-01-31T20:00:00Z,2020-02-01T04:00:01Z,bob,/g/cms,t4,0.3"
    importing.load(ledger.database, lines(HEADER + past), site="old", kind="batch")


def _exported(ledger: Ledger) -> list[dict[str, Any]]:
    def work(session: Session) -> list[dict[str, Any]]:
        span = (date(2020, 1, 1), date(2020, 4, 30))
        egi = "".join(exporting.egi(exporting.months(session, *span, simulated=False), names=False))
        others = exporting.auditor(exporting.months(session, *span, simulated=False), names=False)
        return [*json.loads(egi)["UsageRecords"], *map(json.loads, others)]

    return ledger.database.read(work)


def _prune(ledger: Ledger, now: int = LATER, raw: str = "compact") -> Pruned:
    return prune(ledger.database, Retention.model_validate({"raw": raw}), now)


@pytest.mark.parametrize("raw", ["keep", "compact", "drop"])
def test_exports_say_the_same_when_quarter_hours_are_dropped(ledger: Ledger, raw: str) -> None:
    _fill(ledger)
    before, days = _exported(ledger), ledger.days()
    assert len(before) == 2 * 4, "each of the two in two months, in both formats"
    assert _prune(ledger, raw=raw).quarters > 0
    assert (ledger.count(QuarterRow), ledger.count(MonthRow)) == (0, 4)
    assert _exported(ledger) == before
    assert ledger.days() == days
    found = verify(ledger.database)
    assert (found.findings, found.months) == ([], 4)
    assert found.unchecked_months == (2 if raw == "drop" else 0), "imported records stay"


def test_a_month_of_which_a_part_is_dropped_is_exported_whole(ledger: Ledger) -> None:
    """The border is a local day's, and a month is one of UTC."""
    _fill(ledger)
    before = _exported(ledger)
    border = OLD - HOUR // 2 + 3 * 366 * DAY_MS
    assert _prune(ledger, border).quarters > 0
    assert ledger.count(QuarterRow) > 0
    assert _exported(ledger) == before
    found = verify(ledger.database)
    assert (found.findings, found.unchecked, found.unchecked_months) == ([], 0, 0)


def test_what_comes_after_its_quarter_hours_were_dropped_counts_once(ledger: Ledger) -> None:
    _fill(ledger)
    late = segment(70, SLICE, OLD + 8 * HOUR, b0=100 * 300_000)
    before = sum(one.get("AvailableDuration", 0) for one in _exported(ledger))
    _prune(ledger)
    ledger.take(batch([late], SLICE))
    ledger.take(batch([late], SLICE))
    for _ in range(2):
        after = sum(one.get("AvailableDuration", 0) for one in _exported(ledger))
        assert after - before == 300
        assert verify(ledger.database).findings == []
        _prune(ledger)
    assert ledger.count(QuarterRow) == 0


def test_quarter_hours_stay_where_their_months_cannot_be_written(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(ledger)
    before, count = _exported(ledger), ledger.count(QuarterRow)

    def broken(session: Session, *arguments: object) -> None:
        raise OSError(f"no room for {arguments} in {session}")

    monkeypatch.setattr(months, "upsert", broken)
    with pytest.raises(OSError, match="no room"):
        _prune(ledger)
    monkeypatch.undo()
    assert (ledger.count(QuarterRow), ledger.count(MonthRow)) == (count, 0)
    assert _exported(ledger) == before


@pytest.mark.parametrize(
    ("damage", "codes"),
    [
        ("UPDATE usage_month SET alloc_u = alloc_u + 1", {"month"}),
        ("DELETE FROM usage_month", {"month"}),
        ("UPDATE usage_imported SET dur_ms = dur_ms - 1", {"month"}),
        ("UPDATE usage_month SET unobserved_u = alloc_u + 1", {"month", "impossible"}),
    ],
)
def test_verify_finds_damage_to_months(ledger: Ledger, damage: str, codes: set[str]) -> None:
    _fill(ledger)
    _prune(ledger)
    assert verify(ledger.database).findings == []
    ledger.database.write(lambda session: session.execute(text(damage)) and None)
    assert {one.code for one in verify(ledger.database).findings} == codes


def test_what_an_earlier_version_dropped_is_not_exported_in_part(ledger: Ledger) -> None:
    _fill(ledger)
    quarter = (OLD + HOUR) // 900_000
    ledger.database.write(
        lambda session: (
            session.execute(
                text(
                    "INSERT INTO usage_setting (name, value) VALUES ('months_kept_from', :quarter)"
                ),
                {"quarter": str(quarter)},
            )
            and None
        )
    )
    url = ledger.database.engine.url.render_as_string(hide_password=False)
    span = ("--to", "2020-05-01", "--format", "egi")
    refused = run(url, "export", "--from", "2020-03-31", *span)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "before 2020-04 is no longer known by session" in refused.stderr
    assert "Export from 2020-04-01 on" in refused.stderr
    assert run(url, "export", "--from", "2020-04-01", *span).exit_code == 0


@pytest.mark.parametrize("at", [OLD, OLD - 1, OLD + 29 * DAY_MS, 0, 4_102_444_800_000])
def test_months_have_numbers(at: int) -> None:
    month = months.month_of(at // 900_000)
    assert months.begin_of(month) <= at // 900_000 < months.begin_of(month + 1)
    assert months.month_of(months.begin_of(month)) == month
    assert months.month_of(months.begin_of(month) - 1) == month - 1
