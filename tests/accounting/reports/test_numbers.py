from __future__ import annotations

from collections import defaultdict
from datetime import date
from fractions import Fraction
from random import Random
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.reports import charts, numbers, present
from arcetri_accounting.reports.numbers import Amounts, By, Entry, Sums, key_of_day, rows, total
from arcetri_accounting.reports.periods import Period
from arcetri_accounting.reports.tail import Tail

HOUR_U = 10_080 * 3_600_000


@st.composite
def possible(draw: st.DrawFn) -> Sums:
    """Sums such as a set of segments can have."""
    alloc = draw(st.integers(0, 10**15))
    unobserved = draw(st.integers(0, alloc))
    util = draw(st.integers(0, alloc - unobserved))
    return Sums(
        alloc_u=alloc,
        used_u=draw(st.integers(0, util)),
        util_u=util,
        occupied_u=draw(st.integers(0, alloc - unobserved)),
        unobserved_u=unobserved,
        core_ms=draw(st.integers(0, 10**12)),
        energy_mj=draw(st.integers(0, 10**12)),
    )


entries = st.lists(
    st.builds(
        Entry,
        key=st.sampled_from(["a", "b", "c"]),
        flavor_type=st.sampled_from(["gpu", "fpga", "cpu"]),
        provenance=st.sampled_from(numbers.PROVENANCES),
        sums=possible(),
    ),
    max_size=20,
)


@given(entries, entries)
def test_rows_hold_what_went_in_and_nothing_else(some: list[Entry], running: list[Entry]) -> None:
    found = {row.key: row.amounts for row in rows(some, running, "group")}
    expected: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in some:
        sums = expected[one.key]
        sums["core"] += one.sums.core_ms
        sums["energy"] += one.sums.energy_mj
        if one.flavor_type != "cpu":
            sums[one.flavor_type] += one.sums.alloc_u
        if one.flavor_type == "gpu":
            sums["used"] += one.sums.used_u
            sums["reconciled"] += one.sums.alloc_u if one.provenance == "reconciled" else 0
    for one in running:
        if one.flavor_type == "gpu":
            expected[one.key]["running"] += one.sums.alloc_u
    for key, sums in expected.items():
        amounts = found.get(key, Amounts())
        assert amounts.gpu.alloc_u == sums["gpu"]
        assert amounts.fpga.alloc_u == sums["fpga"]
        assert amounts.gpu.used_u == sums["used"]
        assert amounts.core_ms == sums["core"]
        assert amounts.energy_mj == sums["energy"]
        assert amounts.reconciled_u == sums["reconciled"]
        assert amounts.running.alloc_u == sums["running"]
        assert sum(amounts.gpu_by_provenance.values()) == amounts.gpu.alloc_u
    assert found.keys() <= {one.key for one in (*some, *running)}


@given(entries, entries, st.randoms(use_true_random=False))
def test_totals_do_not_depend_on_what_rows_are_by_nor_on_the_order(
    some: list[Entry], running: list[Entry], random: Random
) -> None:
    one = total(rows(some, running, "group"))
    shuffled = some[:]
    random.shuffle(shuffled)
    by_type = [Entry(e.flavor_type, e.flavor_type, e.provenance, e.sums) for e in shuffled]
    other = total(
        rows(by_type, [Entry("x", e.flavor_type, e.provenance, e.sums) for e in running], "flavor")
    )
    assert one == other


@given(possible())
def test_the_parts_of_a_bar_add_up_and_what_is_unobserved_is_never_idle(sums: Sums) -> None:
    parts = charts.split(sums)
    assert sum(parts) == sums.alloc_u
    assert min(parts) >= 0
    assert parts[3] == sums.unobserved_u
    assert sums.unoccupied_u + sums.occupied_u + sums.unobserved_u == sums.alloc_u
    fraction = sums.used_fraction
    assert fraction is None or 0 <= fraction <= 1
    assert (fraction is None) == (sums.util_u == 0)


def test_days_come_in_order_and_others_by_weight() -> None:
    def entry(key: str, hours: int) -> Entry:
        return Entry(key, "gpu", "agent", Sums(alloc_u=hours * HOUR_U))

    some = [entry("2026-11-02", 9), entry("2026-11-01", 1)]
    assert [row.key for row in rows(some, [], "day")] == ["2026-11-01", "2026-11-02"]
    assert [row.key for row in rows(some, [], "group")] == ["2026-11-02", "2026-11-01"]


def test_a_key_whose_usage_was_withdrawn_has_no_row() -> None:
    alloc = Sums(alloc_u=5)
    gone = Sums(alloc_u=-5)
    some = [Entry("a", "gpu", "reconciled", alloc), Entry("a", "gpu", "reconciled", gone)]
    assert rows(some, [], "group") == []


@given(st.dates(date(2000, 1, 1)), st.sampled_from(["day", "month"]))
def test_keys_of_days(day: date, by: By) -> None:
    assert day.isoformat().startswith(key_of_day(day.toordinal(), by))


@given(
    st.integers(0, 10**12),
    st.integers(0, 5 * QUARTER_MS),
    st.sampled_from([1440, 10_080]),
    st.data(),
)
def test_a_tail_is_cut_at_quarters_and_loses_nothing(
    t0: int, dur_ms: int, share_u: int, data: st.DataObject
) -> None:
    unobserved = data.draw(st.integers(0, dur_ms))
    util = data.draw(st.integers(0, dur_ms - unobserved))
    tail = Tail(
        t0=t0,
        dur_ms=dur_ms,
        share_u=share_u,
        millicores=1500,
        util_ms=util,
        used_u=data.draw(st.integers(0, share_u * util)),
        occupied_ms=data.draw(st.integers(0, dur_ms - unobserved)),
        unobserved_ms=unobserved,
    )
    parts = list(tail.quarters())
    assert [quarter for quarter, _ in parts] == sorted({quarter for quarter, _ in parts})
    whole = sum((sums for _, sums in parts), Sums())
    assert whole.alloc_u == share_u * dur_ms
    assert whole.used_u == tail.used_u
    assert whole.unobserved_u == share_u * unobserved
    assert whole.occupied_u == share_u * tail.occupied_ms
    assert whole.core_ms == 1500 * dur_ms


@given(st.integers(-4, 8), st.integers(0, 6 * QUARTER_MS), st.integers(0, QUARTER_MS))
def test_a_tail_counts_on_the_days_it_lies_in(quarters: int, dur_ms: int, within: int) -> None:
    """Around a midnight in Nepal, which is at a quarter past the hour in UTC."""
    zone = ZoneInfo("Asia/Kathmandu")
    day = Period(date(2026, 11, 23), date(2026, 11, 23), zone)
    t0 = day.start_ms + quarters * QUARTER_MS + within
    tail = Tail(t0=t0, dur_ms=dur_ms, share_u=10_080)
    inside = max(0, min(t0 + dur_ms, day.end_ms) - max(t0, day.start_ms))
    assert tail.within(day).alloc_u == 10_080 * inside
    both = Period(date(2026, 11, 22), date(2026, 11, 24), zone)
    by_day: dict[date, int] = defaultdict(int)
    for when, sums in tail.days(both):
        by_day[when] += sums.alloc_u
    assert by_day[date(2026, 11, 23)] == 10_080 * inside
    assert sum(by_day.values()) == 10_080 * dur_ms


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_percentages_never_round_to_none_or_all(part: int, whole: int) -> None:
    text = present.percent(min(part, whole), whole)
    if part < whole:
        assert text not in ("0%", "100%")


def test_amounts_for_people() -> None:
    assert present.gpu(0) == "0.00"
    assert present.gpu(1) == "<0.01"
    assert present.gpu(12_345 * HOUR_U) == "12\u202f345.0"
    assert present.percent(None) == "-"
    assert present.percent(Fraction(1, 3)) == "33%"
    assert present.duration(3 * 86_400_000 + 4 * 3_600_000) == "3 d 4 h"
    assert present.duration(7_500_000) == "2 h 05 min"
    assert present.duration(40_000) == "40 s"


@given(st.floats(0.001, 1e6))
def test_lines_of_a_chart_reach_above_the_highest_bar(most: float) -> None:
    found = charts.steps(most)
    assert found[0] == 0
    assert found[-1] >= most * 0.999
    assert 3 <= len(found) <= 8
