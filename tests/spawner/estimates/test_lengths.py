"""Whose sessions a law is made from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from arcetri_spawner.estimates import Laws, Lengths, PastSession, RunningSession
from arcetri_spawner.estimates.ends import Ends
from arcetri_spawner.estimates.lengths import LEAST, LEAST_OF_TYPE, Law

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CMS, ASTRO = "/lab/cms", "/lab/astro"


def some(
    count: int, minutes: float, group: str = CMS, flavor: str = "t4", days: float = 3
) -> list[PastSession]:
    began = NOW - timedelta(days=days)
    return [
        PastSession(
            flavor, "gpu", group, began, timedelta(minutes=minutes * (0.8 + 0.4 * i / count))
        )
        for i in range(count)
    ]


def laws(*sessions: list[PastSession], running: list[RunningSession] | None = None) -> Laws:
    lengths = Lengths()
    for those in sessions:
        lengths.add(those)
    return lengths.laws(running or [], NOW)


def law(of: Laws, group: str = CMS, flavor: str = "t4") -> Law:
    found = of.of("gpu", flavor, group)
    assert found is not None
    return found


def median(of: Law) -> float:
    """Minutes that half of the sessions last."""
    return Ends(of, 0, NOW.timestamp(), 0).after(0.693) / 60


def test_a_group_with_a_history_is_judged_by_its_own() -> None:
    known = laws(some(100, 30, CMS), some(1000, 300, ASTRO))
    assert median(law(known, CMS)) == pytest.approx(30, rel=0.2)
    assert median(law(known, ASTRO)) == pytest.approx(300, rel=0.2)


def test_a_group_without_one_is_judged_by_the_flavours_others() -> None:
    known = laws(some(100, 60, ASTRO))
    assert median(law(known, CMS)) == pytest.approx(60, rel=0.2)


def test_other_flavours_count_little_beside_the_flavours_own() -> None:
    alone = laws(some(20, 60))
    beside = laws(some(20, 60), some(500, 600, flavor="a100"))
    assert median(law(alone)) <= median(law(beside)) < 1.5 * median(law(alone))


def test_of_a_flavour_with_too_few_sessions_nothing_is_said() -> None:
    assert laws(some(LEAST - 1, 60)).of("gpu", "t4", CMS) is None
    assert laws(some(LEAST, 60)).of("gpu", "t4", CMS) is not None


def test_a_new_flavour_is_judged_by_others_of_its_type_and_trusted_less() -> None:
    others = some(LEAST_OF_TYPE, 60, flavor="a100")
    assert laws(others[1:]).of("gpu", "t4", CMS) is None
    found = law(laws(others))
    assert median(found) == pytest.approx(60, rel=0.3)
    assert found.sessions == LEAST_OF_TYPE
    assert found.weight < law(laws(others), flavor="a100").weight / 5


def test_sessions_of_another_type_say_nothing() -> None:
    cpu = [PastSession("cpu", "cpu", CMS, one.began, one.lasted * 20) for one in some(500, 60)]
    assert median(law(laws(some(30, 60), cpu))) == median(law(laws(some(30, 60))))


def test_what_was_long_ago_counts_less() -> None:
    known = laws(some(100, 30, days=100), some(30, 240, days=2))
    assert median(law(known)) > 150


def test_an_end_by_lifetime_is_no_end_of_its_own() -> None:
    """Sessions that were cut at an hour might have lasted longer."""
    short = some(40, 30)
    cut = [
        PastSession("t4", "gpu", CMS, one.began, timedelta(hours=1), natural=False)
        for one in some(40, 60)
    ]
    ended = [PastSession("t4", "gpu", CMS, one.began, one.lasted) for one in cut]
    age = 50 * 60
    left = [
        Ends(law(laws(short, those)), age, NOW.timestamp(), 0).after(0.693)
        for those in (cut, ended)
    ]
    assert left[0] > 3 * left[1]


def test_those_that_run_say_that_sessions_last() -> None:
    past = some(20, 60)
    running = [RunningSession("t4", "gpu", CMS, NOW - timedelta(hours=5)) for _ in range(10)]
    without, with_them = laws(past), laws(past, running=running)
    assert median(law(with_them)) > median(law(without))
