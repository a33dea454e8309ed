from __future__ import annotations

from typing import Any

import pytest

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.ledger import ingest
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    Dimensions,
    GapRow,
    NodeState,
    OpenRow,
    Person,
    PresenceRow,
    QuarantineRow,
    SegmentRow,
)
from tests.accounting.ledger.builders import T0, allocation, batch, segment
from tests.accounting.ledger.harness import Ledger

A = allocation()
Q = T0 // QUARTER_MS
FIVE = 300_000


def test_a_record_counts_once_however_often_it_comes(ledger: Ledger) -> None:
    body = batch([segment(1, A, T0), segment(2, A, T0 + FIVE)], A)
    assert ledger.take(body).model_dump(exclude={"v"}) == {
        "epoch": "e1",
        "acknowledged": 2,
        "stored": 2,
        "duplicates": 0,
        "quarantined": [],
    }
    totals = ledger.quarters()
    assert totals == {
        ("s1", "GPU-1", "agent", Q): (
            2 * FIVE,
            *(10_080 * 2 * FIVE, 0, 0, 0, 10_080 * 2 * FIVE, 2000 * 2 * FIVE, 0),
        )
    }
    again = ledger.take(body)
    assert (again.acknowledged, again.stored, again.duplicates) == (2, 0, 2)
    assert ledger.quarters() == totals
    assert ledger.count(SegmentRow) == 2


def test_a_hole_is_not_acknowledged_and_is_filled_later(ledger: Ledger) -> None:
    assert ledger.take(batch([segment(3, A, T0), segment(4, A, T0 + FIVE)], A)).acknowledged == 0
    assert ledger.take(batch([segment(1, A, T0 - FIVE)], A)).acknowledged == 1
    assert ledger.take(batch([segment(2, A, T0 + 2 * FIVE)], A)).acknowledged == 4


def test_a_conflict_is_set_aside_alone(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0)], A))
    totals = ledger.quarters()
    other = segment(1, A, T0, occupied_ms=1, unobserved_ms=FIVE - 1)
    answer = ledger.take(batch([other, segment(2, A, T0 + FIVE)], A))
    assert (answer.acknowledged, answer.stored, answer.quarantined) == (2, 1, [1])
    assert ledger.take(batch([other], A)).quarantined == [1]
    rows = ledger.all(QuarantineRow)
    assert [(row.seq, row.code, row.writer) for row in rows] == [(1, "conflict", "agent:n1")]
    assert '"occupied_ms":1' in rows[0].content
    assert sum(row[0] for row in ledger.quarters().values()) == 2 * FIVE
    assert totals.keys() == ledger.quarters().keys()


def test_the_same_number_under_another_boot_is_a_conflict(ledger: Ledger) -> None:
    body = batch([segment(1, A, T0)], A)
    ledger.take(body)
    assert ledger.take(body | {"boot": "boot-2"}).quarantined == [1]


def test_two_records_of_one_number_in_a_batch(ledger: Ledger) -> None:
    one = segment(1, A, T0)
    answer = ledger.take(batch([one, one, segment(1, A, T0, 7, unobserved_ms=7)], A))
    assert (answer.stored, answer.quarantined, answer.acknowledged) == (1, [1], 1)


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "segment", "seq": 2},
        {"type": "nothing", "seq": 2},
        segment(2, A, T0) | {"unobserved_ms": FIVE + 1},
        segment(2, A, T0) | {"t0": -1},
        segment(2, A, T0) | {"dur_ms": 10**30},
        segment(2, A, T0) | {"extra": 1},
        segment(2, A, T0) | {"energy_mj": 2**61, "energy_method": "measured"},
        segment(2, A, T0) | {"used_u": 10_080 * FIVE + 1, "util_ms": FIVE, "unobserved_ms": 0},
        segment(2, A, T0) | {"allocation": "0" * 32},
        {"type": "gap", "seq": 2, "code": "clock", "t0": 0, "t1": 1, "detail": "a\x00b"},
        {
            "type": "presence",
            "seq": 2,
            "device": "\x00",
            "weight": 1,
            "t0": 0,
            "dur_ms": 1,
            "b0": 0,
        },
    ],
)
def test_a_bad_record_is_set_aside_alone(ledger: Ledger, broken: dict[str, Any]) -> None:
    body = batch([segment(1, A, T0), broken, segment(3, A, T0 + FIVE)], A)
    for _ in range(2):
        answer = ledger.take(body)
        assert (answer.acknowledged, answer.quarantined) in [(3, [2]), (3, [])]
    assert ledger.count(SegmentRow) == 2
    assert ledger.count(QuarantineRow) == 1


def test_a_record_without_a_number_is_kept_once(ledger: Ledger) -> None:
    body = batch([{"hello": "world"}, {"seq": "x"}, {"seq": True}], A)
    for _ in range(2):
        assert ledger.take(body).acknowledged == 0
    assert {row.seq for row in ledger.all(QuarantineRow)} == {0}
    assert ledger.count(QuarantineRow) == 3


def test_an_allocation_that_is_not_what_its_key_says_carries_nothing(ledger: Ledger) -> None:
    other = allocation(group="/g/atlas")
    body = batch([segment(1, A, T0)], A)
    body["allocations"] = {A.key(): other.model_dump(mode="json")}
    assert ledger.take(body).quarantined == [1]
    assert ledger.all(QuarantineRow)[0].code == "unknown_allocation"
    assert ledger.quarters() == {}


@pytest.mark.parametrize(
    "change", [{"share": "1/11"}, {"millicores": 2**31 - 1}, {"device": "\x00"}]
)
def test_a_bad_allocation_does_not_stop_the_others(ledger: Ledger, change: dict[str, Any]) -> None:
    good = allocation("s2")
    body = batch([segment(1, A, T0), segment(2, good, T0)], A, good)
    body["allocations"][A.key()] |= change
    answer = ledger.take(body)
    assert (answer.acknowledged, answer.quarantined) == (2, [1])


@pytest.mark.parametrize(
    "change",
    [
        {"node": "a b"},
        {"v": 2},
        {"records": "no"},
        {"records": [1]},
        {"heartbeat": -1},
        {"epoch": ""},
        {"epoch": "a\x00"},
        {"people": {"a": "b\x00"}},
        {"surprise": 1},
    ],
)
def test_what_is_no_batch_is_refused_whole(ledger: Ledger, change: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        ledger.take(batch([segment(1, A, T0)], A) | change)
    assert caught.value.code == "batch_malformed"
    assert ledger.count(SegmentRow) == 0


def test_the_tail_follows_the_newest_heartbeat_and_is_in_no_total(ledger: Ledger) -> None:
    tail = {
        name: value
        for name, value in segment(1, A, T0, 7000).items()
        if name not in ("seq", "type")
    }
    ledger.take(batch([], A, heartbeat=5, open=[tail]))
    assert [(row.dur_ms, row.node) for row in ledger.all(OpenRow)] == [(7000, "n1")]
    assert ledger.quarters() == {}
    ledger.take(batch([], A, heartbeat=4, open=[]))
    assert ledger.count(OpenRow) == 1
    ledger.take(batch([segment(1, A, T0)], A, heartbeat=6, pending=3))
    assert ledger.count(OpenRow) == 0
    state = ledger.all(NodeState)[0]
    assert (state.heartbeat, state.pending) == (6, 3)


def test_an_agent_that_lost_its_count_is_heard_again(ledger: Ledger) -> None:
    ledger.take(batch([], heartbeat=500, sent_at=T0))
    ledger.take(batch([], heartbeat=1, epoch="e2", sent_at=T0 + 10_000))
    assert ledger.all(NodeState)[0].heartbeat == 1
    ledger.take(batch([], heartbeat=499, sent_at=T0 - 10_000))
    assert ledger.all(NodeState)[0].epoch == "e2"


def test_what_lies_across_quarter_hours_is_cut(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0 + 600_000, 7 * FIVE)], A))
    assert [(key[3], sums[0]) for key, sums in sorted(ledger.quarters().items())] == [
        (Q, FIVE),
        (Q + 1, QUARTER_MS),
        (Q + 2, QUARTER_MS),
    ]


def test_a_delivery_of_endless_time_is_taken_in_parts(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MAX_PIECES", 500)
    day = 86_400_000
    records = [segment(seq, A, T0 + seq * day, day) for seq in range(1, 41)]
    body = batch(records, A)
    acknowledged = []
    while not acknowledged or acknowledged[-1] < 40:
        acknowledged.append(ledger.take(body).acknowledged)
        assert len(acknowledged) < 10
    assert acknowledged[0] < 40
    assert sum(row[0] for row in ledger.quarters().values()) == 40 * day


def test_equal_allocations_of_two_nodes_stay_apart(ledger: Ledger) -> None:
    for node in ("n1", "n2"):
        ledger.take(batch([segment(1, A, T0)], A, node=node))
    assert sorted(row.node for row in ledger.all(AllocationRow)) == ["n1", "n2"]
    assert ledger.count(Dimensions) == 1


def test_presence_and_gaps_are_kept(ledger: Ledger) -> None:
    records: list[dict[str, Any]] = [
        {
            "type": "presence",
            "seq": 1,
            "device": "GPU-1",
            "weight": 10_080,
            "t0": T0,
            "dur_ms": 9,
            "b0": 0,
        },
        {"type": "gap", "seq": 2, "code": "spool_lost", "t0": T0, "t1": T0 + 5, "detail": "gone"},
    ]
    for _ in range(2):
        assert ledger.take(batch(records)).acknowledged == 2
    assert ledger.count(PresenceRow) == ledger.count(GapRow) == 1


def test_sessions_without_a_device_count_core_hours_only(ledger: Ledger) -> None:
    cpu = allocation(device="", flavor="cpu", flavor_type="cpu")
    ledger.take(batch([segment(1, cpu, T0)], cpu))
    (sums,) = ledger.quarters().values()
    assert sums == (FIVE, 0, 0, 0, 0, 0, 2000 * FIVE, 0)


def test_a_name_is_filled_in_but_an_agent_renames_nobody(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0)], A, people={}))
    other, third = allocation("s2"), allocation("s3")
    ledger.take(batch([segment(2, other, T0)], other))
    ledger.take(batch([segment(3, third, T0)], third, people={"a-alice": "mallory"}))
    assert [(row.account, row.name) for row in ledger.all(Person)] == [("a-alice", "alice")]


def test_a_ledger_restored_from_an_older_backup_goes_on(ledger: Ledger) -> None:
    ledger.take(batch([segment(1, A, T0)], A))
    answer = ledger.take(batch([segment(9, A, T0 + FIVE)], A, kept_from=9))
    assert answer.acknowledged == 9
    rows = ledger.all(QuarantineRow)
    assert [(row.code, "2 to 8" in row.why) for row in rows] == [("lost", True)]


def test_numbers_full_of_holes_are_refused(ledger: Ledger) -> None:
    body = batch([segment(2 * seq, A, T0) for seq in range(1, 2100)], A)
    with pytest.raises(Refused) as caught:
        ledger.take(body)
    assert caught.value.code == "numbers_sparse"
    assert ledger.count(SegmentRow) == 0
