"""Hazards: counted where sessions were observed, the censored ones too, cut at right limits."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.estimates.hazard import (
    BINS,
    EDGES,
    HOUR,
    WEEK_HOURS,
    Counts,
    Rhythm,
    bin_of,
    exposure,
    hazard,
    hour_of_week,
    pieces,
    rhythm,
)

MONDAY = datetime(2026, 11, 2, tzinfo=UTC).timestamp()
FLAT = Rhythm()


def rates(counts: Counts) -> tuple[float, ...]:
    return hazard(counts.ends, exposure(counts, FLAT))


@given(st.floats(0, 2 * EDGES[-1]))
def test_an_age_lies_in_its_bin(age: float) -> None:
    found = bin_of(age)
    assert EDGES[found] <= age
    assert age < EDGES[found + 1] or found == BINS - 1


@pytest.mark.parametrize("number", range(BINS))
def test_a_bin_begins_at_its_limit(number: int) -> None:
    assert bin_of(EDGES[number]) == number


@given(
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(MONDAY, MONDAY + 1e8),
    st.sampled_from((-12_600.0, 0.0, 3600.0, 20_700.0)),
)
def test_pieces_are_the_whole_each_in_one_bin_and_hour(
    age: float, more: float, moment: float, offset: float
) -> None:
    found = list(pieces(age, age + more, moment, offset))
    assert sum(seconds for _, _, seconds in found) == pytest.approx(more, abs=1e-3)
    at = 0.0
    for number, hour, seconds in found:
        middle = at + seconds / 2
        if seconds > 1e-3:
            assert number == bin_of(age + middle)
            assert hour == hour_of_week(moment + middle, offset)
        at += seconds


@pytest.mark.parametrize(
    ("hours", "offset", "found"),
    [
        (0, 0, 0),
        (9.99, 0, 9),
        (4 * 24 + 23.5, 0, 23),  # Friday night
        (4 * 24 + 23.5, 1, 24),  # which is Saturday already, an hour to the east
        (6 * 24 + 10, 0, 34),
        (7 * 24, 0, 0),
    ],
)
def test_hours_are_those_of_the_site(hours: float, offset: float, found: int) -> None:
    assert hour_of_week(MONDAY + hours * HOUR, offset * HOUR) == found


def test_sessions_that_still_run_make_others_no_shorter() -> None:
    """Half of the sessions were seen for an hour only: the mean is found in spite of that."""
    draw = random.Random(5)  # noqa: S311
    mean = 3 * HOUR
    honest, blind = Counts(), Counts()
    for number in range(4000):
        lasted = draw.expovariate(1 / mean)
        seen = HOUR if number % 2 else math.inf
        honest.add(MONDAY, min(lasted, seen), 0, weight=1, end=lasted <= seen)
        if lasted <= seen:
            blind.add(MONDAY, lasted, 0, weight=1, end=True)

    hour = slice(bin_of(600), bin_of(5 * HOUR))
    found = [1 / rate for rate in rates(honest)[hour]]
    assert sum(found) / len(found) == pytest.approx(mean, rel=0.06)
    # What leaving them out would do.
    wrong = [1 / rate for rate in rates(blind)[bin_of(600) : bin_of(HOUR)]]
    assert sum(wrong) / len(wrong) < 0.8 * mean


def test_beyond_what_was_seen_a_heavy_tail_goes_on() -> None:
    draw = random.Random(7)  # noqa: S311
    counts = Counts()
    for _ in range(3000):
        counts.add(MONDAY, HOUR * draw.paretovariate(1.5), 0, weight=1, end=True)
    far = EDGES[-2]
    # The hazard of a power law is its index over the age.
    assert rates(counts)[-1] * far == pytest.approx(1.5, rel=0.25)


def test_without_any_session_the_hazard_is_a_power_laws() -> None:
    assert all(rate > 0 for rate in rates(Counts()))


def test_the_hours_of_leaving_are_found() -> None:
    """Everybody stays three hours on average, and leaves three times as readily after 17:00."""
    draw = random.Random(3)  # noqa: S311
    counts = Counts()
    for number in range(3000):
        begun = MONDAY + (number % 5) * 24 * HOUR + draw.uniform(8, 16) * HOUR
        lasted, left = 0.0, draw.expovariate(1)
        while left > 0:
            late = (begun + lasted - MONDAY) % (24 * HOUR) >= 17 * HOUR
            left -= 60 / (3 * HOUR) * (3 if late else 1)
            lasted += 60
        counts.add(begun, lasted, 0, weight=1, end=True)
    factors = rhythm(counts).factors
    day, evening = sum(factors[10:16]) / 6, sum(factors[17:20]) / 3
    assert evening / day == pytest.approx(3, rel=0.2)
    assert factors[30] == 1.0  # nobody was there at the weekend
    assert len(factors) == WEEK_HOURS


def test_sums_of_counts_are_counts_of_the_sum() -> None:
    one, other, both = Counts(), Counts(), Counts()
    for counts in (one, both):
        counts.add(MONDAY, 5000, 0, weight=1, end=True)
    for counts in (other, both):
        counts.add(MONDAY, 9000, 0, weight=2, end=True)
        counts.add(MONDAY, 9000, 0, weight=2, end=False)
    total = one.plus(other)
    assert (total.ends, total.time) == (both.ends, both.time)
    assert (total.sessions, total.weight) == (2, 3)
