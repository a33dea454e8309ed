"""Lines played forward: against what can be worked out by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import UUID

import pytest

from arcetri_spawner.estimates import (
    ExpectedWait,
    Laws,
    Lengths,
    Line,
    Order,
    PastSession,
    RunningSession,
    WaitingRequest,
    expected_waits,
)
from arcetri_spawner.estimates.waits import CONFIDENCE

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
CMS, ASTRO = "/lab/cms", "/lab/astro"


def memoryless(mean: timedelta = 3 * HOUR, *groups: str) -> Laws:
    """Many sessions of exponential lengths, at all hours."""
    draw = random.Random(2)  # noqa: S311
    lengths = Lengths()
    lengths.add(
        PastSession(
            "t4",
            "gpu",
            group,
            NOW - timedelta(days=draw.uniform(1, 14)),
            mean * draw.expovariate(1),
        )
        for group in groups or (CMS,)
        for _ in range(3000)
    )
    return lengths.laws([], NOW)


def running(*hours: float, group: str = CMS, left: float | None = None) -> list[RunningSession]:
    ends = None if left is None else NOW + left * HOUR
    return [RunningSession("t4", "gpu", group, NOW - one * HOUR, ends) for one in hours]


def line(
    places: int, held: list[RunningSession], *groups: str, quotas: Mapping[str, int] | None = None
) -> Line:
    waiting = tuple(
        WaitingRequest(UUID(int=place), group) for place, group in enumerate(groups, start=1)
    )
    return Line("t4", "gpu", places, tuple(held), waiting, quotas or {})


def told(of: Line, laws: Laws) -> list[ExpectedWait | None]:
    found = expected_waits(of, laws, NOW)
    return [found.get(one.id) for one in of.waiting]


def hours(expected: ExpectedWait | None) -> tuple[float, float, float]:
    assert expected is not None
    return expected.low / HOUR, expected.likely / HOUR, expected.high / HOUR


def test_the_first_waits_for_the_first_of_eight_that_have_no_memory() -> None:
    """The minimum of eight exponentials of mean 3 h is one of mean 3/8 h."""
    [first] = told(line(8, running(*range(8)), CMS), memoryless())
    low, likely, high = hours(first)
    mean = 3 / 8
    assert low == pytest.approx(-math.log(0.9) * mean, rel=0.25)
    assert likely == pytest.approx(math.log(2) * mean, rel=0.15)
    # A little later than that: days differ.
    assert high == pytest.approx(-math.log(0.1) * mean, rel=0.25)
    assert first is not None
    assert (first.confidence, first.sessions) == (CONFIDENCE, 3000)


def test_the_fourth_waits_for_the_fourth_end_also_of_those_before() -> None:
    """Of eight places that are always taken somebody leaves every 3/8 h: a gamma distribution."""
    found = told(line(8, running(*range(8)), CMS, CMS, CMS, CMS), memoryless())
    likely = [hours(one)[1] for one in found]
    assert likely == sorted(likely)
    draw = random.Random(4)  # noqa: S311
    truth = median(draw.gammavariate(4, 3 / 8) for _ in range(20_000))
    assert likely[3] == pytest.approx(truth, rel=0.1)


def test_a_known_end_bounds_the_wait() -> None:
    held = [*running(1, 1), *running(1, left=0.25)]
    [first] = told(line(3, held, CMS), memoryless())
    assert hours(first)[2] == pytest.approx(0.25)


def test_the_lifetime_of_those_before_bounds_the_wait_behind_them() -> None:
    held = running(70, left=0.5)
    long = memoryless(50 * HOUR)
    free = line(1, held, CMS, CMS)
    bound = replace(
        free,
        waiting=tuple(replace(one, lifetime=timedelta(minutes=30)) for one in free.waiting),
    )
    assert hours(told(free, long)[1])[1] > 5
    assert hours(told(bound, long)[1])[2] == pytest.approx(1.0)


def test_a_free_place_is_no_wait() -> None:
    [first] = told(line(3, running(1, 1), CMS), memoryless())
    assert hours(first) == (0, 0, 0)


def test_who_is_beyond_the_quota_waits_for_the_own_group() -> None:
    held = [*running(1, 1), *running(1, 1, 1, 1, 1, 1, group=ASTRO)]
    laws = memoryless(3 * HOUR, CMS, ASTRO)
    free = told(line(9, held, CMS), laws)
    bound = told(line(9, held, CMS, quotas={CMS: 2}), laws)
    assert hours(free[0]) == (0, 0, 0)
    # The first of two, not of eight.
    assert hours(bound[0])[1] == pytest.approx(math.log(2) * 3 / 2, rel=0.15)


def test_who_is_behind_one_beyond_its_quota_goes_first() -> None:
    held = [*running(1, 1), *running(1, group=ASTRO)]
    laws = memoryless(3 * HOUR, CMS, ASTRO)
    first, second = told(line(4, held, CMS, ASTRO, quotas={CMS: 2}), laws)
    assert hours(second) == (0, 0, 0)
    assert hours(first)[1] > 0.5


def test_fair_share_lets_the_group_pass_that_holds_less() -> None:
    held = [*running(1, 1, 1), *running(1, group=ASTRO)]
    laws = memoryless(3 * HOUR, CMS, ASTRO)
    quotas = {CMS: 4, ASTRO: 4}
    by_turn = line(4, held, CMS, CMS, ASTRO, quotas=quotas)
    fair = replace(by_turn, order=Order.FAIR_SHARE)
    assert hours(told(by_turn, laws)[2])[1] > hours(told(by_turn, laws)[1])[1]
    assert hours(told(fair, laws)[2])[1] < hours(told(fair, laws)[0])[1]


def test_what_may_be_borrowed_counts() -> None:
    held = running(1, 1)
    bound = line(3, held, CMS, quotas={CMS: 2})
    assert hours(told(bound, memoryless())[0])[1] > 0.5
    assert hours(told(replace(bound, borrow={CMS: 1}), memoryless())[0]) == (0, 0, 0)


@pytest.mark.parametrize(
    "never",
    [line(3, running(1), CMS, quotas={CMS: 0}), line(0, [], CMS)],
    ids=["quota", "no places"],
)
def test_nothing_is_said_of_what_never_comes(never: Line) -> None:
    assert told(never, memoryless()) == [None]


def test_nothing_is_said_where_too_little_is_known() -> None:
    assert told(line(1, running(1), CMS), Lengths().laws([], NOW)) == [None]


def test_the_same_line_has_the_same_answer() -> None:
    many = line(8, running(*range(8)), CMS, CMS, CMS)
    assert told(many, memoryless()) == told(many, memoryless())


def test_a_session_far_older_than_all_before_still_has_an_end() -> None:
    [first] = told(line(1, running(24 * 50), CMS), memoryless())
    assert 0 < hours(first)[0] < hours(first)[2]
