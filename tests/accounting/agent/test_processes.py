"""Whether a session's first process lives, and what that says about an end nobody saw."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arcetri_accounting.agent.allocations import Started
from arcetri_accounting.agent.processes import Processes, start_ticks
from tests.accounting.agent.world import INTERVAL, World, total


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen(["sleep", "600"])
    yield made
    made.kill()
    made.wait(20)


def name(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    ticks = start_ticks(process.pid)
    assert ticks is not None
    return process.pid, ticks


def test_a_process_lives_until_it_ends(sleeper: subprocess.Popen[bytes]) -> None:
    processes, wanted = Processes(), name(sleeper)
    assert processes.alive([wanted]) == {wanted}
    sleeper.kill()
    # One that nobody has waited for has ended all the same.
    deadline = time.monotonic() + 20
    while processes.alive([wanted]):
        assert time.monotonic() < deadline
    assert processes.alive([wanted]) == set()
    processes.close()


def test_a_pid_that_is_used_again_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    processes = Processes()
    pid, ticks = name(sleeper)

    assert processes.alive([(pid, ticks - 1)]) == set()
    assert processes.alive([(pid, ticks)]) == {(pid, ticks)}
    processes.close()


def test_what_is_not_there_is_not_alive() -> None:
    assert Processes().alive([(2**22 + 1, 5), (0, 0), (-5, 1), (2**40, 1)]) == set()
    assert start_ticks(2**22 + 1) is None


def test_nothing_is_kept_open_of_what_is_not_wanted(sleeper: subprocess.Popen[bytes]) -> None:
    processes = Processes()
    before = len(list(Path("/proc/self/fd").iterdir()))
    processes.alive([name(sleeper)])
    processes.alive([])

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_end_found_later_lies_where_the_process_was_last_seen(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    world = World(tmp_path)
    world.cycle()
    session = world.begin("SIM-1")
    pid, ticks = name(sleeper)
    event = world.source.events[-1]
    assert isinstance(event, Started)
    world.source.events[-1] = Started(
        event.seq, event.session, event.allocations, event.username,
        event.wall, event.boot, event.boot_id, pid, ticks,
    )  # fmt: skip
    world.cycle(5)
    sleeper.kill()
    sleeper.wait(20)
    # The hub is away: it finds the session ended an hour later.
    world.cycle(360)
    assert total(world.running(session)) + total(world.segments(session)) == 5 * INTERVAL
    world.finish(session, estimated=True)
    world.cycle()

    assert total(world.segments(session)) == 5 * INTERVAL
    assert world.running(session) == []
    world.close()


def test_an_end_that_was_seen_counts_whatever_the_first_process_did(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    world = World(tmp_path)
    world.cycle()
    session = world.begin("SIM-1")
    pid, ticks = name(sleeper)
    event = world.source.events[-1]
    assert isinstance(event, Started)
    world.source.events[-1] = Started(
        event.seq, event.session, event.allocations, event.username,
        event.wall, event.boot, event.boot_id, pid, ticks,
    )  # fmt: skip
    world.cycle(2)
    sleeper.kill()
    sleeper.wait(20)
    world.cycle(3)
    world.finish(session)
    world.cycle()

    assert total(world.segments(session)) == world.duration(session) == 5 * INTERVAL
    world.close()
