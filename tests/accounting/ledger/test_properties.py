"""The invariants over generated histories, against an oracle that counts milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcetri_accounting.ledger import rollups
from arcetri_accounting.ledger.tables import DiscrepancyRow, QuarantineRow, ReconciledRow
from arcetri_accounting.ledger.verify import verify
from tests.accounting import oracle
from tests.accounting.ledger.builders import T0, catalog, seen
from tests.accounting.ledger.conftest import empty
from tests.accounting.ledger.harness import Ledger
from tests.accounting.ledger.histories import History, histories

DUR, ALLOC, USED, UTIL, OCCUPIED, UNOBSERVED = range(6)
LATE = T0 + 10**9
SPRING = 1_774_746_000_000  # 2026-03-29T01:00:00Z: clocks go forward in Europe.
QUICK = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ZONES = st.sampled_from(
    ["UTC", "Europe/Rome", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"]
)


def _told(ledger: Ledger) -> dict[tuple[str, str, int], list[int]]:
    places = (DUR, ALLOC, USED, OCCUPIED, UNOBSERVED)
    return {
        (session, device, quarter): [sums[place] for place in places]
        for (session, device, provenance, quarter), sums in ledger.quarters().items()
        if provenance == "agent"
    }


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
@given(history=histories(T0))
def test_any_order_repetition_and_cut_gives_the_same_totals(
    ledger: Ledger, history: History
) -> None:
    empty(ledger.database)
    _deliver(ledger, history.deliveries)
    assert _told(ledger) == oracle.quarters(history.told, history.truths)
    assert ledger.count(QuarantineRow) == 0
    _sound(ledger)
    before = ledger.quarters(), ledger.days()
    _deliver(ledger, reversed(history.deliveries))
    assert (ledger.quarters(), ledger.days()) == before


@QUICK
@given(history=histories(T0), cut=st.integers(0, 30), again=st.booleans())
def test_what_no_agent_told_is_closed_and_withdrawn_when_it_comes(
    ledger: Ledger, history: History, cut: int, again: bool
) -> None:
    empty(ledger.database)
    early, late = history.deliveries[:cut], history.deliveries[cut:]
    _deliver(ledger, early)
    for body in history.testimony:
        ledger.see(body)
    ledger.reconcile(LATE)
    first = {record["seq"] for body in early for record in body["records"]}
    told = [span for number, span in enumerate(history.told, 1) if number in first]
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
@given(history=histories(SPRING - 3_600_000, complete=True), first=ZONES, then=ZONES)
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
@given(history=histories(T0, complete=True))
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
