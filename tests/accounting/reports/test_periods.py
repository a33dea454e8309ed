from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.ledger import rollups
from arcetri_accounting.reports.periods import (
    BadPeriod,
    Period,
    local_day,
    month,
    month_after,
    month_before,
    month_key,
    zone_of,
)

ROME = ZoneInfo("Europe/Rome")
ZONES = [
    *("Europe/Rome", "UTC", "Asia/Kathmandu", "Pacific/Chatham", "Australia/Lord_Howe"),
    # Clocks that change at midnight, forward and back.
    *("America/Havana", "Asia/Beirut", "America/Asuncion", "Africa/Cairo", "Atlantic/Azores"),
    *("Pacific/Apia", "Asia/Tehran", "America/St_Johns"),
]
DAYS = st.dates(date(2012, 1, 2), date(2036, 12, 30))


def _local(quarter: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(quarter * 900, UTC).astimezone(zone).date()


@given(DAYS, st.integers(0, 40), st.sampled_from(ZONES))
@example(date(2026, 3, 29), 0, "Europe/Rome")
@example(date(2026, 10, 25), 0, "Europe/Rome")
@example(date(2011, 12, 29), 2, "Pacific/Apia")
@example(date(2026, 3, 29), 0, "Asia/Beirut")
@example(date(2026, 11, 1), 0, "America/Havana")
def test_a_period_is_the_quarter_hours_whose_local_date_lies_in_it(
    first: date, length: int, name: str
) -> None:
    zone = ZoneInfo(name)
    period = Period(first, first + timedelta(days=length), zone)
    begin, after = period.quarters
    around = range(begin - 120, after + 120)
    inside = [q for q in around if period.first <= _local(q, zone) <= period.last]
    assert inside == list(range(begin, after))
    # As the ledger puts quarter hours into days.
    ordinals = {rollups.local_day(name, q) for q in inside}
    assert ordinals <= {day.toordinal() for day in period.days()}
    assert period.start_ms == begin * QUARTER_MS
    assert period.end_ms == after * QUARTER_MS


@given(DAYS, st.integers(0, 400), st.integers(0, 400), st.sampled_from(ZONES))
def test_two_periods_in_a_row_are_one(first: date, one: int, two: int, name: str) -> None:
    zone = ZoneInfo(name)
    middle = first + timedelta(days=one)
    last = middle + timedelta(days=1 + two)
    early = Period(first, middle, zone)
    late = Period(middle + timedelta(days=1), last, zone)
    assert early.quarters[1] == late.quarters[0]
    assert [*early.days(), *late.days()] == list(Period(first, last, zone).days())


@pytest.mark.parametrize(
    ("day", "count"), [("2026-03-29", 92), ("2026-10-25", 100), ("2026-11-23", 96)]
)
def test_days_on_which_the_clock_changes_are_shorter_and_longer(day: str, count: int) -> None:
    when = date.fromisoformat(day)
    begin, after = Period(when, when, ROME).quarters
    assert after - begin == count


@given(DAYS)
def test_months_follow_each_other(day: date) -> None:
    this = month(month_key(day), ROME)
    assert this.first <= day <= this.last
    assert this.whole_month() == month_key(day)
    assert month(month_before(day), ROME).last + timedelta(days=1) == this.first
    assert month(month_after(day), ROME).first - timedelta(days=1) == this.last
    assert this.months() == [month_key(day)]


@given(DAYS, st.integers(0, 86_399), st.sampled_from(ZONES))
def test_the_local_day_of_a_moment(day: date, second: int, name: str) -> None:
    zone = ZoneInfo(name)
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=second)
    assert local_day(round(moment.timestamp() * 1000), zone) == moment.astimezone(zone).date()


@pytest.mark.parametrize(
    ("first", "last"),
    [("2026-11-02", "2026-11-01"), ("1969-01-01", "1969-01-02"), ("2000-01-01", "2026-01-01")],
)
def test_a_period_that_cannot_be_is_refused_with_what_to_do(first: str, last: str) -> None:
    with pytest.raises(BadPeriod) as caught:
        Period(date.fromisoformat(first), date.fromisoformat(last), ROME)
    assert first in str(caught.value)


@pytest.mark.parametrize("name", ["Europe/Arcetri", "../etc/passwd", "", "Europe"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadPeriod):
        zone_of(name)


@pytest.mark.parametrize("key", ["2026-13", "2026-1", "november", "0000-01"])
def test_a_month_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(BadPeriod):
        month(key, ROME)
