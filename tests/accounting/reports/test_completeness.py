from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import from_ms
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.tables import (
    DiscrepancyRow,
    GapRow,
    NodeState,
    QuarantineRow,
    Stream,
    WitnessRow,
)
from arcetri_accounting.reports.completeness import Gap, Known, Node, judge, sentences, share_of
from arcetri_accounting.reports.numbers import Amounts, Entry, Sums
from arcetri_accounting.reports.periods import Period
from tests.accounting.reports.world import HOUR, NOW, Use, at, build, client, fill

ROME = ZoneInfo("Europe/Rome")
OCTOBER = Period(date(2026, 10, 1), date(2026, 10, 31), ROME)
NOVEMBER = Period(date(2026, 11, 1), date(2026, 11, 30), ROME)
USED = Amounts().plus(Entry("", "gpu", "agent", Sums(alloc_u=10)))


def moment(milliseconds: int) -> str:
    return f"{from_ms(milliseconds):%d %H:%M}"


def test_a_period_that_is_over_with_nothing_missing_is_whole() -> None:
    node = Node("n1", NOW, 10_000, 0)
    found = judge(Known(nodes=(node,)), OCTOBER, USED, NOW)
    assert found.final
    assert found.whole
    assert sentences(found, OCTOBER, moment) == []


def test_a_running_month_is_not_final() -> None:
    found = judge(Known(), NOVEMBER, USED, NOW)
    assert not found.final
    [said] = sentences(found, NOVEMBER, moment)
    assert said == "The period is not over: it ends on 2026-11-30, today is 2026-11-23."


def test_a_period_to_come_says_only_that() -> None:
    later = Period(date(2027, 1, 1), date(2027, 1, 31), ROME)
    assert sentences(judge(Known(), later, Amounts(), NOW), later, moment) == [
        "This period has not begun."
    ]


@pytest.mark.parametrize(
    ("received", "pending", "late"),
    [
        (at("2026-11-23T09:59:30"), 0, False),
        (at("2026-11-23T09:30"), 0, True),
        (at("2026-11-23T09:59:50"), 7, True),
        # It fell silent before the month began: whatever it held since is the witness's to say.
        (at("2026-10-20T08:00"), 0, False),
    ],
)
def test_a_node_is_late_when_it_is_silent_or_behind(
    received: int, pending: int, late: bool
) -> None:
    known = Known(nodes=(Node("n1", received, 10_000, pending),))
    found = judge(known, NOVEMBER, USED, NOW)
    assert bool(found.late) == late
    said = " ".join(sentences(found, NOVEMBER, moment))
    assert ("Node n1 was last heard from at" in said) == late
    assert (f"with {pending} records still to send" in said) == bool(late and pending)


def test_a_node_that_went_on_after_the_period_has_told_all_of_it() -> None:
    silent = Node("n1", at("2026-11-05T08:00"), 10_000, 0)
    assert judge(Known(nodes=(silent,)), OCTOBER, USED, NOW).final
    behind = replace(silent, pending=3)
    assert not judge(Known(nodes=(behind,)), OCTOBER, USED, NOW).final


def test_a_node_silent_from_before_the_period_is_missed_unless_it_was_retired() -> None:
    minute_before = at("2026-10-31T22:59")
    october = at("2026-10-01T08:00")
    for received, witnessed, late in (
        (minute_before, False, True),
        (october, True, True),
        (october, False, False),
    ):
        node = Node("n1", received, 10_000, 0, witnessed)
        found = judge(Known(nodes=(node,)), NOVEMBER, USED, at("2026-12-01T08:00"))
        assert bool(found.late) == late
        assert found.whole != late
    recent = Node("n1", at("2026-11-29T08:00"), 10_000, 0)
    assert not judge(Known(nodes=(recent,)), NOVEMBER, USED, at("2026-12-01T08:00")).final
    assert judge(Known(nodes=(recent,)), NOVEMBER, USED, at("2026-12-10T08:00")).final


def _witness(ended_at: int | None, reconciled_at: int | None) -> WitnessRow:
    return WitnessRow(
        session="w",
        node="n1",
        started_at=at("2026-08-15T10:00"),
        ended_at=ended_at,
        reconciled_at=reconciled_at,
        end_is_estimate=False,
    )


def _silent(db: Session) -> None:
    heard = at("2026-08-15T10:10")
    common = {"epoch": "e", "boot": "b", "heartbeat": 1, "interval_ms": 10_000, "pending": 0}
    db.add(NodeState(node="n1", sent_at=heard, received_at=heard, **common))


def test_a_month_of_which_an_agent_told_nothing_is_not_final(database: Database) -> None:
    fill(database, Use("w", "bruno", start=at("2026-08-15T10:00"), dur_ms=300_000))

    def silence(db: Session) -> None:
        _silent(db)
        db.add(_witness(None, None))

    database.write(silence)
    dario = client(build(database), "dario")
    for month in ("2026-08", "2026-09", "2026-10"):
        found = dario.json("completeness", month=month)
        assert not found["final"]
        assert not found["whole"]
        assert found["sessions_not_accounted_for"] == 1
        notes = " ".join(found["notes"])
        assert "1 session on node n1 not accounted for" in notes
        assert "Node n1 was last heard from" in notes
    assert dario.json("completeness", month="2026-07")["notes"] == []


def test_a_node_retired_within_a_month_spoils_neither_it_nor_later_ones(database: Database) -> None:
    fill(database, Use("w", "bruno", start=at("2026-08-15T10:00"), dur_ms=300_000))

    def retire(db: Session) -> None:
        _silent(db)
        db.add(_witness(at("2026-08-15T12:00"), at("2026-08-15T12:20")))

    database.write(retire)
    dario = client(build(database), "dario")
    found = dario.json("completeness", month="2026-08")
    assert found["final"]
    assert "Node n1 was last heard from" in " ".join(found["notes"])
    assert dario.json("completeness", month="2026-10")["whole"]


def test_a_session_that_is_told_of_is_accounted_for(database: Database) -> None:
    fill(database, Use("w", "bruno", start=NOW - HOUR, dur_ms=HOUR - 10_000, open=True))
    database.write(lambda db: db.add(_witness(None, None)))
    dario = client(build(database), "dario")
    notes = " ".join(dario.json("completeness")["notes"])
    assert "not accounted for" not in notes
    assert "Sessions still run" in notes


def test_what_was_lost_reconciled_or_contradicted_is_said() -> None:
    known = Known(
        gaps=(Gap("n1", "spool_lost", 0, 1), Gap("n2", "clock", 0, 1)),
        quarantined=1,
        discrepancies=2,
        awaiting=3,
    )
    amounts = USED.plus(Entry("", "gpu", "reconciled", Sums(alloc_u=10_080 * HOUR)))
    amounts = amounts.plus(Entry("", "gpu", "imported", Sums(alloc_u=2 * 10_080 * HOUR)))
    found = judge(known, OCTOBER, amounts, NOW)
    assert not found.final
    assert not found.whole
    assert sentences(found, OCTOBER, moment) == [
        "1.00 GPU-hours (33 %) were seen by no agent and are closed from the spawner's record of"
        " start and stop; their use is unobserved.",
        "2.00 GPU-hours are imported from other records.",
        "Of the whole site: 2 gaps declared by the agents of n1, n2.",
        "Of the whole site: 3 ended sessions not yet compared with the witness.",
        "Of the whole site: 1 record set aside as unreadable or in conflict.",
        "Of the whole site: about 2 sessions agent and spawner disagree.",
    ]


def test_parts_never_round_to_none_or_all() -> None:
    assert share_of(0, 5) == "0 %"
    assert share_of(1, 10_000) == "under 1 %"
    assert share_of(9_999, 10_000) == "over 99 %"
    assert share_of(10_000, 10_000) == "100 %"


def test_the_report_says_what_the_ledger_knows(database: Database) -> None:
    """Of the period that is asked for, and of no other."""
    start = int(datetime(2026, 10, 10, tzinfo=UTC).timestamp()) * 1000

    def spoil(db: Session) -> None:
        stream = Stream(node="n1", epoch="e", boot="b")
        db.add(stream)
        db.flush()
        common = {"end_is_estimate": False}
        db.add_all(
            [
                NodeState(node="n1", epoch="e", boot="b", heartbeat=1, sent_at=start,
                          received_at=start, interval_ms=10_000, pending=0),
                GapRow(stream_id=stream.id, seq=1, code="spool_lost", t0=start,
                       t1=start + HOUR, detail="", sha256=b""),
                QuarantineRow(writer="agent:n1", epoch="e", seq=2, code="malformed", why="",
                              sha256=b"", content="", received_at=start),
                WitnessRow(session="w", started_at=start, ended_at=start + HOUR, **common),
                DiscrepancyRow(session="w", code="device", agent_says="a", witness_says="b",
                               found_at=start),
            ]
        )  # fmt: skip

    fill(database, Use("s", "bruno", start=start, provenance="reconciled"))
    database.write(spoil)
    dario = client(build(database), "dario")
    found = dario.json("completeness", month="2026-10")
    assert found["period_over"]
    assert not found["final"]
    assert [node["node"] for node in found["late_nodes"]] == ["n1"]
    assert [gap["code"] for gap in found["gaps"]] == ["spool_lost"]
    assert (found["records_set_aside"], found["sessions_in_dispute"]) == (1, 1)
    assert found["sessions_to_compare"] == 1
    assert found["gpu_hours_by_provenance"] == {"reconciled": "1.000000"}
    other = dario.json("completeness", month="2026-09")
    assert other["whole"]
    assert other["notes"] == []
