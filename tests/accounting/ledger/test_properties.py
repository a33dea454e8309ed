"""The invariants over generated histories, against an oracle that goes through the time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcetri_accounting.contract.units import to_ms
from arcetri_accounting.ledger import exporting, rollups
from arcetri_accounting.ledger.tables import DiscrepancyRow, QuarantineRow, ReconciledRow
from arcetri_accounting.ledger.verify import verify
from tests.accounting import oracle
from tests.accounting.ledger.builders import T0, allocation, batch, catalog, seen, segment
from tests.accounting.ledger.conftest import empty
from tests.accounting.ledger.harness import Ledger
from tests.accounting.ledger.histories import History, held, histories

DUR, ALLOC, USED, UTIL, OCCUPIED, UNOBSERVED, _, ENERGY = range(8)
LATE = T0 + 10**9
CHANGES = {
    "2026-03-29T01:00Z": "Europe/Rome",
    "2026-10-25T01:00Z": "Europe/Rome",
    "2026-03-08T05:30Z": "America/St_Johns",
    "2026-11-01T04:30Z": "America/St_Johns",
    "2026-04-04T15:00Z": "Australia/Lord_Howe",
    "2026-10-03T15:30Z": "Australia/Lord_Howe",
    "2026-04-04T14:00Z": "Pacific/Chatham",
    "2026-09-26T14:00Z": "Pacific/Chatham",
}
"""When clocks change, and where; of Chatham by the quarter hour."""
AROUND_CHANGES = st.builds(
    lambda change, away: to_ms(datetime.fromisoformat(change)) + away,
    st.sampled_from(sorted(CHANGES)),
    st.integers(-26 * 3_600_000, 26 * 3_600_000),
)
MARCH_ENDS = to_ms(datetime(2026, 4, 1, tzinfo=UTC))
QUICK = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ZONES = st.sampled_from(["UTC", "Asia/Kathmandu", *sorted(set(CHANGES.values()))])


def _told(ledger: Ledger) -> dict[tuple[str, str, int], tuple[int, int]]:
    return {
        (session, device, quarter): (sums[DUR], sums[ALLOC])
        for (session, device, provenance, quarter), sums in ledger.quarters().items()
        if provenance == "agent"
    }


def _by_session(ledger: Ledger) -> dict[tuple[str, str], tuple[int, ...]]:
    found: dict[tuple[str, str], list[int]] = {}
    for (session, device, provenance, _), sums in ledger.quarters().items():
        if provenance == "agent":
            sum_ = found.setdefault((session, device), [0] * 4)
            for place, of in enumerate((USED, OCCUPIED, UNOBSERVED, ENERGY)):
                sum_[place] += sums[of]
    return {key: tuple(sums) for key, sums in found.items()}


def _closed(ledger: Ledger) -> dict[tuple[str, str, int], int]:
    found = {}
    for (session, device, provenance, quarter), sums in ledger.quarters().items():
        if provenance == "reconciled":
            assert sums[UNOBSERVED] == sums[ALLOC]
            assert sums[USED] == sums[OCCUPIED] == 0
            found[session, device, quarter] = sums[DUR]
    return found


def _deliver(ledger: Ledger, deliveries: Iterable[dict[str, Any]]) -> None:
    for body in deliveries:
        ledger.take(body, T0)


def _sound(ledger: Ledger) -> None:
    found = verify(ledger.database)
    assert found.findings == []
    for sums in ledger.quarters().values():
        assert sums[USED] <= sums[UTIL] <= sums[ALLOC]
        assert sums[OCCUPIED] + sums[UNOBSERVED] <= sums[ALLOC]


@QUICK
@given(history=histories(st.just(T0)))
def test_any_order_repetition_and_cut_gives_the_same_totals(
    ledger: Ledger, history: History
) -> None:
    empty(ledger.database)
    _deliver(ledger, history.deliveries)
    assert _told(ledger) == oracle.quarters(history.told, history.truths)
    assert _by_session(ledger) == oracle.sessions(history.told, history.truths)
    assert ledger.count(QuarantineRow) == 0
    _sound(ledger)
    before = ledger.quarters(), ledger.days()
    _deliver(ledger, reversed(history.deliveries))
    assert (ledger.quarters(), ledger.days()) == before


@QUICK
@given(history=histories(st.just(T0)), cut=st.integers(0, 30), again=st.booleans())
def test_what_no_agent_told_is_closed_and_withdrawn_when_it_comes(
    ledger: Ledger, history: History, cut: int, again: bool
) -> None:
    empty(ledger.database)
    early, late = history.deliveries[:cut], history.deliveries[cut:]
    _deliver(ledger, early)
    for body in history.testimony:
        ledger.see(body)
    ledger.reconcile(LATE)
    first = {(body["epoch"], record["seq"]) for body in early for record in body["records"]}
    told = [span for name, span in zip(history.names, history.told, strict=True) if name in first]
    assert _told(ledger) == oracle.quarters(told, history.truths)
    assert _closed(ledger) == oracle.untold(told, history.truths)
    _sound(ledger)
    _deliver(ledger, late)
    if again:
        for body in history.testimony:
            ledger.see(body)
        ledger.reconcile(LATE + 1)
    assert _told(ledger) == oracle.quarters(history.told, history.truths)
    assert _closed(ledger) == oracle.untold(history.told, history.truths)
    assert ledger.count(DiscrepancyRow) == 0
    _sound(ledger)


@QUICK
@given(history=histories(AROUND_CHANGES, complete=True), first=ZONES, then=ZONES)
def test_days_are_those_of_the_zone_whenever_it_is_set(
    ledger: Ledger, history: History, first: str, then: str
) -> None:
    empty(ledger.database)
    half = len(history.deliveries) // 2
    ledger.see(seen(catalog(1, zone=first)))
    _deliver(ledger, history.deliveries[:half])
    ledger.see(seen(catalog(2, T0 + 1, zone=then)))
    _deliver(ledger, history.deliveries[half:])
    days: dict[tuple[int, str, str], int] = {}
    for (day, account, group, _, _), sums in ledger.days().items():
        key = (day, account, group)
        days[key] = days.get(key, 0) + sums[rollups.SUMS.index("alloc_u")]
    assert days == oracle.local_days(history.truths, then)
    _sound(ledger)


@QUICK
@given(history=histories(st.just(T0), complete=True))
def test_users_groups_and_devices_add_up_to_the_same(ledger: Ledger, history: History) -> None:
    empty(ledger.database)
    _deliver(ledger, history.deliveries)
    whole = sum(truth.share * (truth.end - truth.start) for truth in history.truths)
    days, quarters = ledger.days(), ledger.quarters()
    assert sum(sums[0] for sums in days.values()) == whole
    assert sum(sums[ALLOC] for sums in quarters.values()) == whole
    for place in (1, 2):
        by: dict[Any, int] = {}
        for key, sums in days.items():
            by[key[place]] = by.get(key[place], 0) + sums[0]
        attribute = ("", "account", "group")[place]
        for name, total in by.items():
            assert total == sum(
                truth.share * (truth.end - truth.start)
                for truth in history.truths
                if getattr(truth, attribute) == name
            )
    assert ledger.count(ReconciledRow) == 0


@QUICK
@given(history=histories(st.just(T0), complete=True), chosen=st.integers(0, 10**6))
def test_a_device_is_not_held_twice_unseen(ledger: Ledger, history: History, chosen: int) -> None:
    empty(ledger.database)
    _deliver(ledger, history.deliveries)
    _sound(ledger)
    body = history.deliveries[chosen % len(history.deliveries)]
    record = body["records"][chosen % len(body["records"])]
    [first] = [one for one in map(held, history.truths) if one.key() == record["allocation"]]
    other = first.model_copy(update={"session": "another"})
    twice = record | {"allocation": other.key(), "seq": 10_000}
    ledger.take(batch([twice], other, epoch=body["epoch"], boot=body["boot"], heartbeat=10_000))
    found = verify(ledger.database).findings
    assert {one.code for one in found} == {"overlap"}


@QUICK
@given(history=histories(st.integers(MARCH_ENDS - 3_000_000, MARCH_ENDS), complete=True))
def test_exported_records_agree_within_a_second(ledger: Ledger, history: History) -> None:
    empty(ledger.database)
    _deliver(ledger, history.deliveries)
    first, last = date(2026, 3, 1), date(2026, 4, 30)
    found = ledger.database.read(
        lambda db: list(exporting.months(db, first, last, simulated=False, site="CNAF"))
    )
    expected = oracle.months(history.truths)
    shares = {truth.session: truth.share for truth in history.truths}
    used: dict[str, float] = {}
    for one in found:
        egi = exporting.egi_record(one, names=False)
        session = egi["AssociatedRecord"]
        dur = expected.pop((session, egi["MeasurementYear"], egi["MeasurementMonth"]))
        assert abs(egi["AvailableDuration"] * 1000 - dur) <= 1000
        assert abs(egi["Count"] * oracle.WHOLE - shares[session]) < 1e-6
        used[session] = used.get(session, 0) + (egi["ActiveDuration"] or 0)
        auditor = exporting.auditor_record(one, names=False)
        begin, end = (datetime.fromisoformat(auditor[name]) for name in ("start_time", "stop_time"))
        assert abs((end - begin).total_seconds() * 1000 - dur) <= 1000
    assert expected == {}
    # A session has at most two records here.
    for (session, _), sums in oracle.sessions(history.told, history.truths).items():
        assert abs(used[session] - sums[0] / (shares[session] * 1000)) <= 2


@QUICK
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 2_000_000), st.integers(-4_000_000, 4_000_000)),
        min_size=1,
        max_size=6,
    )
)
def test_a_stepped_clock_changes_no_duration(ledger: Ledger, steps: list[tuple[int, int]]) -> None:
    empty(ledger.database)
    of = allocation()
    told, records = [], []
    boot, offset = 0, T0
    for seq, (dur, step) in enumerate(steps, 1):
        offset += step
        records.append(segment(seq, of, boot + offset, dur, b0=boot))
        told.append(
            oracle.Told(of.session, of.device, boot + offset, boot + offset + dur, 0, 0, 0, dur)
        )
        boot += dur
    ledger.take(batch(records, of))
    truth = oracle.Truth(
        of.session, of.device, of.account, of.group, of.flavor, oracle.WHOLE, 0, boot
    )
    assert _told(ledger) == oracle.quarters(told, [truth])
    assert sum(dur for dur, _ in _told(ledger).values()) == boot
    assert ledger.count(QuarantineRow) == 0
