"""Corrections, retention, verification: totals change only where somebody says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.ledger.corrections import Correction, correct
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.retention import DAY_MS, prune
from arcetri_accounting.ledger.settings import Retention
from arcetri_accounting.ledger.tables import (
    CompactedRow,
    CorrectionRow,
    QuarterRow,
    ReconciledRow,
    SegmentRow,
)
from arcetri_accounting.ledger.verify import verify
from tests.accounting.ledger.builders import (
    T0,
    allocation,
    batch,
    catalog,
    ended,
    seen,
    segment,
    started,
)
from tests.accounting.ledger.harness import Ledger

A = allocation()
FIVE = 300_000
LATER = T0 + 200 * DAY_MS


def _fill(ledger: Ledger, count: int = 40) -> None:
    """A session with used, occupied and unobserved parts, some across quarter hours."""
    records = [
        segment(
            number,
            A,
            T0 + number * 250_000,
            250_000,
            util_ms=200_001,
            used_u=10_080 * 200_001 - number,
            occupied_ms=220_000,
            unobserved_ms=11_111,
            energy_mj=12_345,
            energy_method="measured",
            mem_peak=number,
        )
        for number in range(1, count + 1)
    ]
    ledger.take(batch(records, A))


def _correction(sign: int, t0: int, t1: int, **changes: Any) -> Correction:
    values: dict[str, Any] = {"session": "s1", "device": None, "author": "op", "reason": "why"}
    return Correction(**values | changes, t0=t0, t1=t1, sign=sign)


def test_what_is_taken_away_leaves_a_possible_rest(ledger: Ledger) -> None:
    _fill(ledger)
    before = {key[3]: sums for key, sums in ledger.quarters().items()}
    taken = _correction(-1, T0 + QUARTER_MS + 100_001, T0 + 3 * QUARTER_MS + 77)
    made = correct(ledger.database, taken, 1)
    assert made.alloc_u == -10_080 * (taken.t1 - taken.t0)
    assert verify(ledger.database).findings == []
    after = {key[3]: sums for key, sums in ledger.quarters().items()}
    assert sum(sums[0] for sums in before.values()) - sum(sums[0] for sums in after.values()) == (
        taken.t1 - taken.t0
    )
    row = ledger.all(CorrectionRow)[0]
    assert (row.author, row.reason, row.sign, row.made_at) == ("op", "why", -1, 1)


def test_what_is_added_is_unobserved_and_has_to_fit(ledger: Ledger) -> None:
    _fill(ledger, 2)
    correct(ledger.database, _correction(1, T0 + 800_000, T0 + 900_000), 1)
    assert verify(ledger.database).findings == []
    with pytest.raises(Refused) as caught:
        correct(ledger.database, _correction(1, T0, T0 + QUARTER_MS), 1)
    assert caught.value.code == "correction_impossible"
    assert ledger.count(CorrectionRow) == 1


@pytest.mark.parametrize("raw", ["keep", "compact"])
def test_a_span_counts_once_and_is_taken_away_once(ledger: Ledger, raw: str) -> None:
    ledger.take(batch([segment(1, A, T0), segment(2, A, T0 + 2 * FIVE, FIVE // 2)], A))
    prune(ledger.database, Retention.model_validate({"raw": raw, "raw_days": 1}), LATER)
    hole = (T0 + FIVE, T0 + 2 * FIVE)
    steps = [
        (1, T0, T0 + FIVE, "is counted already"),
        (1, T0 + FIVE - 1, hole[1], "is counted already"),
        (-1, *hole, "is not counted"),
        (-1, T0, hole[0] + 1, "is not counted"),
        (1, *hole, ""),
        (1, *hole, "is counted already"),
        (-1, *hole, ""),
        (-1, *hole, "is not counted"),
    ]
    before = ledger.quarters()
    for sign, t0, t1, refused in steps:
        wanted = _correction(sign, t0, t1)
        if refused:
            with pytest.raises(Refused, match=refused):
                correct(ledger.database, wanted, 1)
        else:
            assert not correct(ledger.database, wanted, 1).by_quarters
    assert ledger.count(CorrectionRow) == 2
    assert ledger.quarters() == before
    assert verify(ledger.database).findings == []


def test_where_only_quarter_hours_are_kept_a_correction_says_so(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0)], A))
    prune(ledger.database, Retention(raw="drop", raw_days=1), LATER)
    assert correct(ledger.database, _correction(-1, T0, T0 + 1000), 1).by_quarters
    with pytest.raises(Refused, match="is not counted"):
        correct(ledger.database, _correction(-1, T0, T0 + 1000), 1)


def test_a_correction_passes_over_a_step_between_two_records(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0, 1000), segment(2, A, T0 + 1003, 1000)], A))
    made = correct(ledger.database, _correction(-1, T0, T0 + 2003), 1)
    assert made.alloc_u == -10_080 * 2000
    assert ledger.quarters() == {}


def test_what_the_witness_closed_is_not_added_to_the_agents(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0)], A))
    ledger.see(seen(started(1), ended(2, at=T0 + 2 * FIVE)))
    ledger.reconcile(LATER)
    with pytest.raises(Refused, match="is counted already"):
        correct(ledger.database, _correction(1, T0, T0 + FIVE), 1)
    with pytest.raises(Refused, match="is counted already"):
        correct(ledger.database, _correction(1, T0 + FIVE, T0 + 2 * FIVE), 1)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (_correction(-1, T0, T0 + 1, session="nobody"), "session_unknown"),
        (_correction(-1, T0, T0 + 1, device="GPU-7"), "session_unknown"),
        (_correction(-1, T0 + DAY_MS, T0 + DAY_MS + 1), "correction_impossible"),
        (_correction(-1, T0, T0), "refused"),
        (_correction(-1, T0, T0 + 1, reason=" "), "refused"),
    ],
)
def test_a_correction_that_means_nothing_is_refused(
    ledger: Ledger, wanted: Correction, code: str
) -> None:
    _fill(ledger)
    with pytest.raises(Refused) as caught:
        correct(ledger.database, wanted, 1)
    assert caught.value.code == code
    assert ledger.count(CorrectionRow) == 0


def test_a_correction_of_what_is_withdrawn_is_withdrawn_with_it(ledger: Ledger) -> None:
    ledger.see(seen(started(1), ended(2, at=T0 + QUARTER_MS)))
    ledger.reconcile(LATER)
    correct(ledger.database, _correction(-1, T0, T0 + FIVE), 1)
    correct(ledger.database, _correction(1, T0 + QUARTER_MS, T0 + QUARTER_MS + 7), 1)
    ledger.take(batch([segment(1, A, T0, QUARTER_MS)], A))
    assert ledger.count(ReconciledRow) == 0
    assert sum(sums[0] for sums in ledger.quarters().values()) == QUARTER_MS
    assert ledger.count(CorrectionRow) == 4
    assert verify(ledger.database).findings == []


@pytest.mark.parametrize("raw", ["compact", "drop"])
def test_old_segments_go_and_totals_stay(ledger: Ledger, raw: str) -> None:
    _fill(ledger)
    quarters, days = ledger.quarters(), ledger.days()
    rules = Retention.model_validate({"raw": raw, "raw_days": 90})
    done = prune(ledger.database, rules, LATER)
    assert done.segments == 40
    assert ledger.count(SegmentRow) == 0
    assert (ledger.quarters(), ledger.days()) == (quarters, days)
    assert ledger.count(CompactedRow) == (1 if raw == "compact" else 0)
    found = verify(ledger.database)
    assert (found.findings, found.unchecked > 0) == ([], raw == "drop")
    # What was counted comes again, and the witness late: neither counts twice.
    _fill(ledger)
    span = (T0 + 250_000, T0 + 41 * 250_000)
    ledger.see(seen(started(1, at=span[0]), ended(2, at=span[1])))
    ledger.reconcile(LATER)
    assert ledger.quarters() == quarters
    assert prune(ledger.database, rules, LATER).segments == 0


def test_a_witness_that_comes_after_compaction_still_finds_the_holes(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0), segment(2, A, T0 + 2 * FIVE)], A))
    prune(ledger.database, Retention(raw_days=1), LATER)
    assert ledger.count(SegmentRow) == 0
    ledger.see(seen(started(1), ended(2, at=T0 + 4 * FIVE)))
    ledger.reconcile(LATER)
    closed = sorted((row.t0 - T0, row.dur_ms) for row in ledger.all(ReconciledRow))
    assert closed == [(FIVE, FIVE), (3 * FIVE, FIVE)]
    assert verify(ledger.database).findings == []


def test_what_comes_after_its_day_was_compacted_still_counts_once(ledger: Ledger) -> None:
    _fill(ledger, 20)
    rules = Retention(raw="compact", raw_days=90)
    prune(ledger.database, rules, LATER)
    ledger.take(batch([segment(21, A, T0 + 21 * 250_000)], A))
    assert verify(ledger.database).findings == []
    prune(ledger.database, rules, LATER + DAY_MS)
    assert ledger.count(SegmentRow) == 0
    assert verify(ledger.database).findings == []


def test_segments_of_a_session_that_is_not_over_stay(ledger: Ledger) -> None:
    _fill(ledger)
    ledger.see(seen(started(1)))
    rules = Retention(raw="drop", raw_days=90)
    assert prune(ledger.database, rules, LATER).segments == 0
    assert prune(ledger.database, Retention(raw="keep"), LATER).segments == 0


def test_quarter_hours_go_by_whole_days_and_days_stay(ledger: Ledger) -> None:
    ledger.see(seen(catalog(1, zone="Asia/Kathmandu")))
    _fill(ledger)
    other = allocation("s2")
    new = T0 + 900 * DAY_MS
    ledger.take(batch([segment(41, other, new)], other))
    days = ledger.days()
    prune(ledger.database, Retention(quarter_years=1), new + DAY_MS)
    assert {key[0] for key in ledger.quarters()} == {"s2"}
    assert ledger.days() == days
    assert verify(ledger.database).findings == []
    ledger.see(seen(catalog(2, T0 + 1, zone="Europe/Rome")))
    assert sum(row[0] for row in ledger.days().values()) == sum(row[0] for row in days.values())
    assert verify(ledger.database).findings == []


def _damage(statement: str) -> Callable[[Ledger], None]:
    return lambda ledger: ledger.database.write(lambda db: db.execute(text(statement)) and None)


@pytest.mark.parametrize(
    ("damage", "codes"),
    [
        (_damage("UPDATE usage_quarter SET alloc_u = alloc_u + 1"), {"quarter", "day"}),
        (_damage("DELETE FROM usage_quarter"), {"quarter", "day"}),
        (_damage("UPDATE usage_day SET used_u = used_u - 1"), {"day"}),
        (_damage("DELETE FROM usage_day"), {"day"}),
        (_damage("DELETE FROM usage_segment WHERE seq = 3"), {"quarter"}),
        (
            _damage("UPDATE usage_quarter SET unobserved_u = alloc_u"),
            {"quarter", "day", "impossible"},
        ),
        (_damage("UPDATE usage_segment SET b0 = b0 - 1 WHERE seq = 3"), {"overlap"}),
    ],
)
def test_verify_finds_damage(
    ledger: Ledger, damage: Callable[[Ledger], None], codes: set[str]
) -> None:
    _fill(ledger)
    assert verify(ledger.database).findings == []
    damage(ledger)
    found = verify(ledger.database).findings
    assert {one.code for one in found} == codes
    assert all(one.where and one.what for one in found)


def test_the_same_time_told_twice_under_other_numbers_is_found(ledger: Ledger) -> None:
    _fill(ledger, 2)
    ledger.take(batch([segment(3, A, T0 + 250_000, 1000)], A))
    assert [one.code for one in verify(ledger.database).findings] == ["overlap"]
    assert ledger.count(QuarterRow) == 1
