"""When the agent tells what runs."""

from __future__ import annotations

import pytest

from arcetri_accounting.agent.running import Turns


def test_it_tells_after_every_second_cycle() -> None:
    turns = Turns(10_000)

    assert [turns.due(3, 0) for _ in range(6)] == [True, False, True, False, True, False]


@pytest.mark.parametrize("interval", [10_001, 300_000])
def test_it_tells_after_every_cycle_where_the_next_but_one_is_far(interval: int) -> None:
    turns = Turns(interval)

    assert all(turns.due(3, 0) for _ in range(6))


def test_it_tells_at_once_what_began_or_ended() -> None:
    turns = Turns(10_000)

    assert [turns.due(n, 0) for n in (3, 4, 5, 5, 5, 5)] == [True, True, True, False, True, False]


def test_it_tells_at_once_what_waits() -> None:
    turns = Turns(10_000)

    assert [turns.due(3, n) for n in (0, 1, 2, 0, 0, 1)] == [True, True, True, False, True, True]


def test_what_it_is_about_to_tell_is_known_beforehand() -> None:
    turns = Turns(10_000)
    coming = []
    for waiting in (0, 0, 0, 0, 5, 0):
        coming.append(turns.coming(waiting))
        turns.due(3, waiting)

    assert coming == [True, False, True, False, True, False]
