"""When the witness closes what no agent saw, and what is shown where the two disagree."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from arcetri_accounting.ledger.coverage import Seen, compare
from arcetri_accounting.ledger.tables import (
    DiscrepancyRow,
    OpenRow,
    Person,
    QuarantineRow,
    ReconciledRow,
    WitnessRow,
)
from arcetri_accounting.ledger.verify import verify
from tests.accounting.ledger.builders import (
    BOOT,
    T0,
    allocation,
    batch,
    ended,
    moment,
    seen,
    segment,
    started,
)
from tests.accounting.ledger.harness import Ledger

A = allocation()
FIVE = 300_000
HOUR = 3_600_000
MINUTE = 60_000


def _closed(ledger: Ledger) -> list[tuple[int, int]]:
    return sorted((row.t0 - T0, row.dur_ms) for row in ledger.all(ReconciledRow))


def _total(ledger: Ledger) -> int:
    return sum(sums[0] for sums in ledger.quarters().values())


def test_a_session_that_no_agent_saw_is_closed_after_a_while(ledger: Ledger) -> None:
    ledger.see(seen(started(1), ended(2, at=T0 + HOUR)))
    assert ledger.reconcile(T0 + HOUR + 14 * MINUTE).sessions == 0
    assert ledger.reconcile(T0 + HOUR + 16 * MINUTE).sessions == 1
    assert _closed(ledger) == [(0, HOUR)]
    (sums, *_) = ledger.quarters().values()
    assert sums[1] == sums[5] == 10_080 * sums[0]
    assert sums[6] == 2000 * sums[0]
    assert verify(ledger.database).findings == []
    assert ledger.reconcile(T0 + 2 * HOUR).sessions == 0


def test_an_agent_with_records_left_is_waited_for(ledger: Ledger) -> None:
    end = T0 + HOUR
    ledger.see(seen(started(1), ended(2, at=end)))
    ledger.take(batch([], heartbeat=1, sent_at=end + MINUTE, pending=5), end + MINUTE)
    assert ledger.reconcile(end + 2 * MINUTE).sessions == 0
    ledger.take(batch([], heartbeat=2, sent_at=end + MINUTE, pending=0), end + MINUTE)
    assert ledger.reconcile(end + 2 * MINUTE).sessions == 1


def test_an_agent_that_keeps_records_for_ever_is_not_waited_for_for_ever(ledger: Ledger) -> None:
    end = T0 + HOUR
    day_later = end + 25 * HOUR
    ledger.see(seen(started(1), ended(2, at=end)))
    ledger.take(batch([], sent_at=day_later, pending=5), day_later)
    assert ledger.reconcile(day_later).sessions == 1


def test_a_hole_is_closed_and_given_back_by_a_late_record(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0), segment(3, A, T0 + 2 * FIVE)], A))
    ledger.see(seen(started(1), ended(2, at=T0 + 3 * FIVE)))
    ledger.reconcile(T0 + HOUR)
    assert _closed(ledger) == [(FIVE, FIVE)]
    assert _total(ledger) == 3 * FIVE
    ledger.take(batch([segment(2, A, T0 + FIVE)], A))
    assert _closed(ledger) == []
    assert _total(ledger) == 3 * FIVE
    assert verify(ledger.database).findings == []


def test_a_record_that_fills_a_part_of_a_hole(ledger: Ledger) -> None:
    ledger.see(seen(started(1), ended(2, at=T0 + 3 * FIVE)))
    ledger.reconcile(T0 + HOUR)
    ledger.take(batch([segment(2, A, T0 + FIVE)], A))
    assert _closed(ledger) == [(0, FIVE), (2 * FIVE, FIVE)]
    assert _total(ledger) == 3 * FIVE


def test_what_no_agent_counted_at_the_edges_of_one_clock_is_closed(ledger: Ledger) -> None:
    # The agent's first spool began a moment after the session, and another one before its end.
    ledger.take(batch([segment(1, A, T0 + 96, FIVE - 96 - 700)], A))
    ledger.see(seen(started(1), ended(2, at=T0 + FIVE)))
    ledger.reconcile(T0 + HOUR)
    assert _closed(ledger) == [(0, 96), (FIVE - 700, 700)]
    assert _total(ledger) == FIVE
    assert verify(ledger.database).findings == []


def test_edges_that_two_clocks_place_are_left_as_the_agent_has_them(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0 + 96, FIVE - 96, b0=5)], A, boot="boot-2"))
    ledger.see(seen(started(1), ended(2, at=T0 + FIVE)))
    ledger.reconcile(T0 + HOUR)
    assert _closed(ledger) == []


def test_another_nodes_record_does_not_stand_for_a_session(ledger: Ledger) -> None:
    ledger.see(seen(started(1), ended(2, at=T0 + FIVE)))
    ledger.take(batch([segment(1, A, T0)], A, node="n2"))
    ledger.reconcile(T0 + HOUR)
    assert _closed(ledger) == [(0, FIVE)]
    assert [row.code for row in ledger.all(DiscrepancyRow)] == ["node"]


def test_another_device_is_shown_and_its_time_counts_once(ledger: Ledger) -> None:
    other = allocation(device="GPU-9")
    ledger.see(seen(started(1), ended(2, at=T0 + FIVE)))
    ledger.take(batch([segment(1, other, T0)], other))
    ledger.reconcile(T0 + HOUR)
    assert _total(ledger) == FIVE
    rows = ledger.all(DiscrepancyRow)
    assert [(row.code, row.agent_says, row.witness_says) for row in rows] == [
        ("device", "used GPU-9", "was given GPU-1")
    ]


@pytest.mark.parametrize(("late", "shown"), [(900, []), (5000, ["end"])])
def test_an_end_that_differs_by_more_than_a_second_is_shown(
    ledger: Ledger, late: int, shown: list[str]
) -> None:
    ledger.see(seen(started(1), ended(2, at=T0 + FIVE)))
    ledger.take(batch([segment(1, A, T0, FIVE + late)], A))
    ledger.reconcile(T0 + HOUR)
    assert [row.code for row in ledger.all(DiscrepancyRow)] == shown
    assert _closed(ledger) == []


def test_an_agent_that_watched_and_saw_nothing_is_shown(ledger: Ledger) -> None:
    presence: dict[str, Any] = {"type": "presence", "seq": 2, "device": "GPU-1", "b0": 0}
    presence |= {"weight": 10_080, "t0": T0 + FIVE, "dur_ms": FIVE}
    ledger.see(seen(started(1), ended(2, at=T0 + 2 * FIVE)))
    ledger.take(batch([segment(1, A, T0), presence], A))
    ledger.reconcile(T0 + HOUR)
    assert _closed(ledger) == [(FIVE, FIVE)]
    assert [row.code for row in ledger.all(DiscrepancyRow)] == ["end"]


def test_where_the_end_was_found_later_the_agents_counts(ledger: Ledger) -> None:
    ledger.see(seen(started(1), ended(2, at=T0 + HOUR, at_is_estimate=True, reason="lost")))
    ledger.take(batch([segment(1, A, T0)], A))
    ledger.reconcile(T0 + 2 * HOUR)
    assert _closed(ledger) == []
    assert ledger.count(DiscrepancyRow) == 0


def test_an_end_that_was_seen_replaces_one_that_was_found(ledger: Ledger) -> None:
    estimate = ended(2, at=T0 + HOUR, at_is_estimate=True, reason="lost")
    ledger.see(seen(started(1), estimate))
    ledger.reconcile(T0 + 2 * HOUR)
    assert _total(ledger) == HOUR
    ledger.see(seen(ended(3, at=T0 + FIVE)))
    ledger.reconcile(T0 + 2 * HOUR)
    assert _total(ledger) == FIVE
    assert ledger.see(seen(ended(4, at=T0 + 2 * FIVE))).quarantined == [4]
    assert verify(ledger.database).findings == []


def test_a_session_that_ends_in_another_boot_is_placed_by_the_wall_clock(ledger: Ledger) -> None:
    ledger.see(seen(started(1), ended(2, at=T0 + HOUR, boot_id="boot-2", boottime_ms=5)))
    ledger.reconcile(T0 + 2 * HOUR)
    assert _closed(ledger) == [(0, HOUR)]


def test_a_stepped_clock_changes_no_duration(ledger: Ledger) -> None:
    # The wall clock went back by an hour while the session ran for five minutes.
    end = ended(2, at=T0 - HOUR, boottime_ms=1_000_000 + FIVE)
    ledger.see(seen(started(1), end))
    ledger.take(batch([segment(1, A, T0 - HOUR, 100_000, b0=1_000_000)], A))
    ledger.reconcile(T0 + HOUR)
    assert _total(ledger) == FIVE


def test_events_are_stored_once_and_in_any_order(ledger: Ledger) -> None:
    answer = ledger.see(seen(ended(2, at=T0 + FIVE)))
    assert (answer.acknowledged, answer.stored) == (0, 1)
    assert ledger.see(seen(started(1), ended(2, at=T0 + FIVE))).acknowledged == 2
    assert ledger.see(seen(started(1))).duplicates == 1
    assert ledger.count(WitnessRow) == 1
    assert ledger.see(seen(started(3, devices=("GPU-2",)))).quarantined == [3]
    assert [row.name for row in ledger.all(Person)] == ["alice"]
    assert '"alice"' not in str([row.start for row in ledger.all(WitnessRow)])
    assert '"alice"' not in ledger.all(QuarantineRow)[0].content


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "start", "seq": 2},
        ended(2, at=T0) | {"at": moment(T0).replace("+00:00", "")},
        ended(2, "x" * 65),
        ended(2, "a\x00"),
        started(2) | {"cpu": 1e300},
        started(2) | {"boottime_ms": -1},
        started(2) | {"share": "1/11"},
        started(2, devices=("GPU-1", "GPU-1")),
        {"type": "catalog", "seq": 2, "snapshot": {"timezone": "Mars/Olympus"}},
    ],
)
def test_a_bad_event_is_set_aside_alone(ledger: Ledger, broken: dict[str, Any]) -> None:
    for _ in range(2):
        answer = ledger.see(seen(started(1), broken, ended(3, at=T0 + 1)))
        assert (answer.acknowledged, answer.quarantined) == (3, [2])
    assert ledger.count(QuarantineRow) == 1


def _tail(t0: int, dur_ms: int) -> dict[str, Any]:
    usage = segment(0, A, t0, dur_ms)
    return {name: usage[name] for name in usage if name not in ("type", "seq")}


def test_a_lost_agents_tail_goes_with_the_reconciliation_that_replaces_it(ledger: Ledger) -> None:
    first = batch([segment(1, A, T0)], A, open=[_tail(T0 + FIVE, MINUTE)])
    ledger.take(first, T0 + 6 * MINUTE)
    assert ledger.count(OpenRow) == 1
    ledger.see(seen(started(1), ended(2, at=T0 + 2 * HOUR)))
    assert ledger.count(OpenRow) == 1
    ledger.reconcile(T0 + 3 * HOUR)
    assert ledger.count(OpenRow) == 0
    assert _closed(ledger) == [(FIVE, 2 * HOUR - FIVE)]
    # It was only cut off: first it tells its tail again, then what it counted.
    late = batch([], A, heartbeat=2, sent_at=T0 + 4 * HOUR, pending=1, open=first["open"])
    ledger.take(late, T0 + 4 * HOUR)
    assert ledger.count(OpenRow) == 0
    rest = [segment(n, A, T0 + (n - 1) * FIVE) for n in range(2, 25)]
    ledger.take(batch(rest, A, heartbeat=3, sent_at=T0 + 4 * HOUR), T0 + 4 * HOUR)
    assert _closed(ledger) == []
    agent = sum(sums[0] for key, sums in ledger.quarters().items() if key[2] == "agent")
    assert agent == _total(ledger) == 2 * HOUR
    assert ledger.count(DiscrepancyRow) == 0
    assert verify(ledger.database).findings == []


def test_a_tail_that_goes_on_after_the_witnesss_end_is_the_agents_to_tell(ledger: Ledger) -> None:
    ledger.see(seen(started(1), ended(2, at=T0 + FIVE)))
    ledger.take(batch([segment(1, A, T0)], A))
    ledger.reconcile(T0 + HOUR)
    ledger.take(batch([], A, heartbeat=2, open=[_tail(T0 + FIVE, MINUTE)]))
    assert ledger.count(OpenRow) == 1


def test_a_tail_left_from_before_is_taken_by_the_next_run(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0)], A, open=[_tail(T0 + FIVE, MINUTE)]), T0 + FIVE)
    ledger.see(seen(started(1), ended(2, at=T0 + HOUR)))
    done = update(WitnessRow).values(reconciled_at=T0 + HOUR)
    ledger.database.write(lambda db: db.execute(done))
    ledger.reconcile(T0 + HOUR)
    assert ledger.count(OpenRow) == 0


def test_a_session_counted_to_its_end_is_compared_at_the_next_heartbeat(ledger: Ledger) -> None:
    end = T0 + FIVE
    ledger.take(batch([], A, sent_at=end - 2000, open=[_tail(T0, FIVE - 2000)]), end - 2000)
    ledger.see(seen(started(1), ended(2, at=end)))
    assert ledger.reconcile(end).sessions == 0
    # The end is known, and what was counted up to it is still to come.
    ledger.take(batch([], A, heartbeat=2, sent_at=end + 100, open=[_tail(T0, FIVE)]), end + 100)
    assert ledger.reconcile(end + 200).sessions == 0
    ledger.take(batch([], A, heartbeat=3, sent_at=end + 300, pending=1), end + 300)
    assert ledger.reconcile(end + 400).sessions == 0
    ledger.take(batch([segment(1, A, T0)], A, heartbeat=4, sent_at=end + 8000), end + 8000)
    assert ledger.reconcile(end + 8100).sessions == 1
    assert _closed(ledger) == []
    assert ledger.count(DiscrepancyRow) == 0


def test_a_session_of_two_devices_waits_for_both(ledger: Ledger) -> None:
    end, other = T0 + FIVE, allocation(device="GPU-2")
    ledger.see(seen(started(1, devices=("GPU-1", "GPU-2")), ended(2, at=end)))
    ledger.take(batch([segment(1, A, T0)], A, sent_at=end + 5000), end + 5000)
    assert ledger.reconcile(end + 6000).sessions == 0
    more = batch([segment(2, other, T0)], other, heartbeat=2, sent_at=end + 9000)
    ledger.take(more, end + 9000)
    assert ledger.reconcile(end + 9000).sessions == 1


def test_another_grant_is_shown_part_by_part(ledger: Ledger) -> None:
    told = {"account": "a-bob", "username": "bob", "group": "/ga", "flavor": "a100-1g"}
    start = started(1, **told, share="1/7", kind="batch")
    ledger.see(seen(start, ended(2, at=T0 + FIVE)))
    ledger.take(batch([segment(1, A, T0)], A))
    ledger.reconcile(T0 + HOUR)
    rows = ledger.all(DiscrepancyRow)
    assert {row.code: (row.agent_says, row.witness_says) for row in rows} == {
        "account": ("a-alice", "a-bob"),
        "group": ("/g/cms", "/ga"),
        "flavor": ("t4", "a100-1g"),
        "share": ("1", "1/7"),
        "kind": ("notebook", "batch"),
    }


def test_a_witness_of_a_cluster_knows_neither_the_device_nor_the_boots_clock(
    ledger: Ledger,
) -> None:
    """The agent's count stands, whole seconds at its edges and all; only a hole is closed."""
    cluster = {"devices": [], "boot_id": "wall"}
    begin, end = T0 + 1_300, T0 + 2 * FIVE + 900
    ledger.take(
        batch([segment(1, A, begin, FIVE), segment(2, A, T0 + FIVE + 40_000, FIVE - 39_100)], A)
    )
    ledger.see(
        seen(
            started(1, at=T0 + 1_000, **cluster, boottime_ms=T0 + 1_000),
            ended(2, at=end - 900, boot_id="wall", boottime_ms=end - 900),
        )
    )
    ledger.reconcile(end + HOUR)
    assert ledger.all(DiscrepancyRow) == []
    assert _closed(ledger) == [(FIVE + 1_300, 38_700)]
    assert verify(ledger.database).findings == []


def test_a_session_of_a_cluster_that_no_agent_saw_is_charged_without_its_device(
    ledger: Ledger,
) -> None:
    start = started(1, devices=(), share="1/7", flavor="a100-1g", boot_id="wall", boottime_ms=T0)
    ledger.see(seen(start, ended(2, at=T0 + HOUR, boot_id="wall", boottime_ms=T0 + HOUR)))
    ledger.reconcile(T0 + 2 * HOUR)
    assert _closed(ledger) == [(0, HOUR)]
    (sums, *_) = ledger.quarters().values()
    assert sums[1] == 1_440 * sums[0]


def test_several_devices_are_compared_one_by_one() -> None:
    held = Seen(T0, BOOT, 0, T0 + 100, BOOT, 100, False, ("GPU-1", "GPU-2"))
    verdict = compare(held, {"GPU-1": [(0, 40), (30, 100)], "GPU-2": [(10, 20)]}, watched=False)
    # Within the tolerance of two clocks: nothing is missing at the edges.
    assert verdict.missing == {}
    verdict = compare(held, {"GPU-1": [(0, 40), (60, 100)]}, watched=False)
    assert verdict.missing == {"GPU-1": ((40, 60),), "GPU-2": ((0, 100),)}
