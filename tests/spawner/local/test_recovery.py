"""A hub that died at any point: afterwards requests, leases, journal and processes agree."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from arcetri_accounting.contract.journal import LeaseEnded, LeaseStarted
from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Exited, Running, Session, Unknown
from arcetri_spawner.backends.local import end_instance, procs
from arcetri_spawner.backends.local.procs import Fate
from arcetri_spawner.store.records import BEFORE_START
from tests.spawner.local.world import World

ROOT = Path(__file__).parents[3]

STILL_STARTING = {"start.released", "start.answered"}
"""Killed there, the second session goes on; before, it never began; after, it had been ended."""


@pytest.fixture
def instance() -> Iterator[str]:
    made = uuid4().hex
    yield made
    end_instance(made, grace=0.0)


def drive(folder: Path, instance: str, point: str) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tests.spawner.local.driver", str(folder), instance, point],
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    return done.returncode


@asynccontextmanager
async def hub(folder: Path, instance: str) -> AsyncIterator[World]:
    """The next hub, which has recovered."""
    world = World(folder, instance_id=instance)
    try:
        await world.backend.recover()
        yield world
    finally:
        await world.close()


def running(instance: str) -> set[UUID]:
    return set(procs.sessions_of(instance))


def journalled(world: World) -> set[UUID]:
    open_sessions: set[UUID] = set()
    for record in world.journal():
        if isinstance(record, LeaseStarted):
            open_sessions.add(UUID(record.session))
        else:
            open_sessions.discard(UUID(record.session))
    return open_sessions


async def check_agreement(world: World, instance: str) -> set[UUID]:
    """Requests, leases, journal and processes name the same sessions; return them.

    Who waits, or was admitted and has not begun, may hold a device and has nothing that runs.
    """
    rows = await world.store.live_requests()
    live = {row.id for row in rows if row.state not in BEFORE_START}
    held = set((await world.store.leases()).values())
    assert live <= held <= {row.id for row in rows}
    assert running(instance) == live
    assert journalled(world) == live
    numbers = [record.seq for record in world.journal()]
    assert numbers == sorted(set(numbers))
    return live


@pytest.mark.component
@pytest.mark.parametrize(
    "point", [point for point in killpoints.POINTS if not point.startswith("recover")]
)
async def test_a_hub_killed_at_any_point_loses_nothing(
    tmp_path: Path, instance: str, point: str
) -> None:
    assert drive(tmp_path, instance, point) == -signal.SIGKILL

    async with hub(tmp_path, instance) as world:
        if point == "stop.asked":
            # The server had been asked to end already: adopted or not, it does.
            while len(running(instance)) > 1:
                await asyncio.sleep(0.02)
            for row in await world.store.live_requests():
                found = await world.backend.restore(row.id)
                if row.grant.username == "bob" and isinstance(found, Session):
                    await world.backend.wait(found)
                    await world.store.free(row.id)
                    await world.store.mark(row.id, "ended")
        live = await check_agreement(world, instance)

        rows = await world.store.live_requests()
        names = {row.grant.username for row in rows if row.id in live}
        assert names == ({"alice", "bob"} if point in STILL_STARTING else {"alice"})
        for session_id in live:
            session = await world.backend.restore(session_id)
            assert isinstance(session, Session)
            assert await world.backend.poll(session) == Running()
        before = world.journal()
        await world.backend.recover()
        assert await check_agreement(world, instance) == live
        assert world.journal() == before


@pytest.mark.component
@pytest.mark.parametrize(
    "point", [point for point in killpoints.POINTS if point.startswith("recover")]
)
async def test_a_recovery_killed_at_any_point_is_taken_up(
    tmp_path: Path, instance: str, point: str
) -> None:
    assert drive(tmp_path, instance, "start.answered") == -signal.SIGKILL
    async with hub(tmp_path, instance) as world:
        rows = {row.grant.username: row for row in await world.store.live_requests()}
    bob = rows["bob"].session
    assert bob is not None
    os.kill(bob.pid, signal.SIGKILL)
    while rows["bob"].id in running(instance):
        await asyncio.sleep(0.02)

    assert drive(tmp_path, instance, point) == -signal.SIGKILL

    async with hub(tmp_path, instance) as world:
        assert await check_agreement(world, instance) == {rows["alice"].id}
        ended = [record for record in world.journal() if isinstance(record, LeaseEnded)]
        assert [(record.session, record.reason) for record in ended] == [
            (str(rows["bob"].id), "lost")
        ]
        assert ended[0].at_is_estimate
        last = await world.store.last_ended(rows["bob"].grant.account_id, "")
        assert last is not None
        assert last.reason in ("lost", "interrupted")


def test_the_driver_passes_every_point(tmp_path: Path, instance: str) -> None:
    """So that a point that nothing reaches is not taken for one that was survived."""
    assert drive(tmp_path, instance, "") == 0


async def test_an_adopted_session_is_watched_and_can_be_stopped(
    tmp_path: Path, instance: str
) -> None:
    async with hub(tmp_path, instance) as first:
        started = await first.start(await first.grant())

    async with hub(tmp_path, instance) as second:
        session = await second.backend.restore(started.id)
        assert session == replace(started, started=session.started)  # type: ignore[union-attr]
        await second.backend.stop(started, timedelta(seconds=5), reason="admin")

        assert await second.backend.wait(started) == Exited(0, "admin")
        assert running(instance) == set()
        assert journalled(second) == set()


async def test_an_adopted_session_that_is_killed_is_noticed(tmp_path: Path, instance: str) -> None:
    async with hub(tmp_path, instance) as first:
        started = await first.start(await first.grant())
    async with hub(tmp_path, instance) as second:
        record = await second.store.session(started.id)
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)

        exited = await asyncio.wait_for(second.backend.wait(started), 10)

        assert exited == Exited(-9, "killed")
        assert running(instance) == set()


async def test_an_end_while_the_hub_was_away_is_known_exactly(
    tmp_path: Path, instance: str
) -> None:
    async with hub(tmp_path, instance) as first:
        started = await first.start(await first.grant())
        record = await first.store.session(started.id)
    assert record is not None
    os.kill(record.pid, signal.SIGTERM)
    while running(instance):
        await asyncio.sleep(0.02)

    async with hub(tmp_path, instance) as second:
        end = second.journal()[-1]
        assert isinstance(end, LeaseEnded)
        assert (end.reason, end.at_is_estimate) == ("exited", False)
        assert await second.backend.restore(started.id) == Exited(0, "lost")
        assert await second.store.leases() == {}


async def test_a_session_of_an_earlier_boot_is_over(tmp_path: Path, instance: str) -> None:
    async with hub(tmp_path, instance) as first:
        started = await first.start(await first.grant())
        record = await first.store.session(started.id)
        assert record is not None
        await first.store.save_session(replace(record, boot_id="another-boot"))
    end_instance(instance, grace=5.0)
    (first.config.sessions_dir / str(started.id) / "exit.json").unlink()

    async with hub(tmp_path, instance) as second:
        assert await check_agreement(second, instance) == set()
        end = second.journal()[-1]
        assert isinstance(end, LeaseEnded)
        assert (end.reason, end.at_is_estimate) == ("lost", True)


async def test_a_pid_that_was_used_again_is_not_the_session(tmp_path: Path, instance: str) -> None:
    async with hub(tmp_path, instance) as first:
        started = await first.start(await first.grant())
        record = await first.store.session(started.id)
        assert record is not None
        # As if this very process had got the pid of the session's after it had ended.
        await first.store.save_session(replace(record, pid=os.getpid()))
    end_instance(instance, grace=5.0)

    async with hub(tmp_path, instance) as second:
        assert await check_agreement(second, instance) == set()


async def test_nothing_is_ended_on_doubt(
    tmp_path: Path, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hub(tmp_path, instance) as first:
        started = await first.start(await first.grant())
    monkeypatch.setattr(procs, "fate", lambda _: Fate.UNKNOWN)

    async with hub(tmp_path, instance) as second:
        assert isinstance(await second.backend.restore(started.id), Unknown)
        assert await second.store.leases() == {"SIM-t4-1": started.id}
        assert running(instance) == {started.id}

        monkeypatch.undo()
        assert isinstance(await second.backend.restore(started.id), Session)
        assert await second.backend.poll(started) == Running()


def sleeper(instance: str) -> subprocess.Popen[bytes]:
    marks = {"ARCETRI_INSTANCE": instance, "ARCETRI_SESSION_ID": str(uuid4())}
    return subprocess.Popen(["sleep", "100"], env=marks)


async def test_processes_of_no_known_session_are_taken_away(tmp_path: Path, instance: str) -> None:
    stranger, other = sleeper(instance), sleeper("another")
    try:
        async with hub(tmp_path, instance):
            assert stranger.wait(5) == -signal.SIGKILL
            assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_who_was_admitted_and_not_started_keeps_what_they_have(
    tmp_path: Path, instance: str
) -> None:
    async with hub(tmp_path, instance) as first:
        grant = await first.grant()
        await first.ticket(grant)

    async with hub(tmp_path, instance) as second:
        assert set((await second.store.leases()).values()) == {grant.request_id}
        [row] = await second.store.live_requests()
        assert row.state == "admitted"


async def test_a_lease_without_process_is_freed(tmp_path: Path, instance: str) -> None:
    async with hub(tmp_path, instance) as first:
        grant = await first.grant()
        await first.ticket(grant)
        await first.store.begin(grant)

    async with hub(tmp_path, instance) as second:
        assert await second.store.leases() == {}
        ended = await second.store.last_ended(grant.account_id, "")
        assert ended is not None
        assert ended.reason == "interrupted"
