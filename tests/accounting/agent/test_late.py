"""An agent that is held up, or cannot read who holds what, counts nothing that it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arcetri_accounting.agent.allocations import Event, SourceError
from arcetri_accounting.agent.loop import KEPT_MS
from arcetri_accounting.agent.segments import CUT_MS
from tests.accounting.agent.world import INTERVAL, ListSource, World, total


class Awkward(ListSource):
    """A source that cannot always be read, and after which much may happen before anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.held_up: list[tuple[World, str, int]] = []

    def poll(self, after: int) -> list[Event]:
        if self.away:
            raise SourceError("no")
        found = super().poll(after)
        while self.held_up:
            world, session, milliseconds = self.held_up.pop()
            world.finish(session)
            world.clock.tick(milliseconds)
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.sampler.add("GPU-0", busy=2500)
    made.kill_agent()
    made.source = Awkward()
    made.start_agent()
    yield made
    made.close()


def test_an_end_while_the_agent_is_stopped_after_reading_is_exact(world: World) -> None:
    assert isinstance(world.source, Awkward)
    session = world.begin("GPU-0")
    world.cycle(20)
    # SIGSTOP, swap or a suspended machine: it goes on after the next cut is due.
    world.source.held_up.append((world, session, CUT_MS + 5_000))
    world.cycle(3)

    assert total(world.segments(session)) == world.duration(session)


def test_an_end_that_cannot_be_read_is_exact_later(world: World) -> None:
    assert isinstance(world.source, Awkward)
    session = world.begin("GPU-0")
    other = world.begin("SIM-1")
    world.cycle(20)
    world.source.away = True
    world.cycle(5)
    world.finish(session)
    world.cycle(2 * CUT_MS // INTERVAL)
    assert total(world.segments(session)) < world.duration(session)
    world.source.away = False
    world.cycle(2)
    world.finish(other)
    world.cycle(2)

    for one in (session, other):
        assert total(world.segments(one)) == world.duration(one)
    assert total(world.segments(session), "unobserved_ms") == 0
    assert total(world.segments(session), "used_u") == 2520 * world.duration(session)


def test_readings_do_not_wait_for_ever(world: World) -> None:
    assert isinstance(world.source, Awkward)
    session = world.begin("GPU-0")
    world.cycle(2)
    world.source.away = True
    world.cycle(3 * KEPT_MS // INTERVAL)
    kept = world.agent._tracks["GPU-0"]
    assert kept.horizon - kept.looks[0].at <= KEPT_MS + 2 * INTERVAL
    world.source.away = False
    world.finish(session)
    world.cycle(2)

    segments = world.segments(session)
    assert total(segments) == world.duration(session)
    observed = world.duration(session) - total(segments, "unobserved_ms")
    assert KEPT_MS <= observed <= KEPT_MS + 6 * INTERVAL
