"""The whole way of a session over the real queue, store and backend: cut short, doubted, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from arcetri_spawner.backends.base import Session, Ticket, Unknown
from arcetri_spawner.backends.local import end_instance, procs
from arcetri_spawner.backends.local.procs import Fate
from arcetri_spawner.errors import (
    ArcetriError,
    BackendError,
    Denied,
    InDoubt,
    StartFailed,
    StoreError,
)
from arcetri_spawner.live import ServiceObserver
from arcetri_spawner.policy.model import Grant, Identity
from arcetri_spawner.service import SessionService
from arcetri_spawner.store import Ended
from tests.spawner.local.world import CMS, World, catalog_text, facts, launch, recovered

T4 = {"flavor": "t4"}


class People:
    """Everybody is in the same group."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def fresh(self, username: str, *, reuse: float = 0.0) -> Identity:  # noqa: ARG002
        account = await self._world.store.account_for("https://iam.example/", username, username)
        return Identity(account.id, username, frozenset({CMS}))

    async def known(self, username: str) -> Identity:
        return await self.fresh(username)


def a_service(world: World, observer: ServiceObserver | None = None) -> SessionService:
    return SessionService(
        catalogs=world.catalogs,
        store=world.store,
        queue=world.queue,
        backend=world.backend,
        identities=People(world),
        observer=observer,
    )


def use_fake_servers(world: World) -> None:
    world.edit(catalog_text(t4=2).replace("local: default", f"local: {world.interpreter}"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with recovered(tmp_path) as made:
        use_fake_servers(made)
        yield made


@pytest.fixture
async def service(world: World) -> AsyncIterator[SessionService]:
    made = a_service(world)
    await made.recover()
    yield made
    await made.close(end_sessions=False)


async def until(condition: Any) -> None:
    """Wait, at most half a minute, until a function is true, or an asynchronous one."""
    async with asyncio.timeout(30):
        while not (found := condition()) or (asyncio.iscoroutine(found) and not await found):
            await asyncio.sleep(0.02)


async def nothing_is_left(world: World, service: SessionService) -> bool:
    return not (
        await world.store.live_requests()
        or await world.store.leases()
        or world.backend.leases.held
        or procs.sessions_of(world.config.instance_id)
        or service._running.all()
        or service._starts._by_server
        or service._starts._unsettled
        or service.waiting.entries()
        or world.queue._entries
    )


class CancelledAt:
    """Awaits something, and has its own task cancelled at the ``step``-th time it must wait."""

    def __init__(self, work: Awaitable[Session], step: int) -> None:
        self._work = work
        self._step = step

    def __await__(self) -> Generator[Any, Any, Session]:
        waits = self._work.__await__()
        resume: Callable[[Any], Any] = waits.send
        value: Any = None
        task = asyncio.current_task()
        assert task is not None
        while True:
            try:
                waited_for = resume(value)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            self._step -= 1
            if self._step == 0:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                value = yield waited_for
                resume = waits.send
            except BaseException as error:  # noqa: BLE001 - it goes on where it belongs
                value = error
                resume = waits.throw


async def test_a_start_cancelled_at_any_await_leaves_nothing(
    world: World, service: SessionService
) -> None:
    for step in range(1, 400):

        async def cut_short(at: int) -> Session:
            work = service.start("alice", "", T4, launch())
            return await CancelledAt(work, at)

        task = asyncio.create_task(cut_short(step))
        try:
            session = await task
        except asyncio.CancelledError:
            await until(lambda: nothing_is_left(world, service))
            continue
        assert await service.find("alice", "") == session
        break
    else:
        pytest.fail("it was cancelled every time")
    # Otherwise it was hardly ever cut short.
    assert step > 10


async def test_a_cancel_of_what_is_being_undone_leaves_nothing(
    world: World, service: SessionService
) -> None:
    task = asyncio.create_task(service.start("alice", "", T4, launch(FAKE_SILENT="1")))
    await until(lambda: world.backend._live)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: nothing_is_left(world, service))
    assert isinstance(await service.start("alice", "", T4, launch()), Session)


class Noted:
    """What the service says became of requests."""

    def __init__(self) -> None:
        self.decided: list[tuple[str, str]] = []

    def request_decided(self, outcome: str, code: str) -> None:
        self.decided.append((outcome, code))

    def request_admitted(self, grant: Grant, waited: timedelta) -> None:
        pass


@pytest.mark.parametrize(
    ("message", "said", "reason"),
    [
        ("", "cancelled", "cancelled"),
        ("By dario.", "cancelled", "cancelled"),
        (None, "failed", "start_interrupted"),
    ],
)
async def test_a_start_that_somebody_cancels_is_told_from_one_that_was_interrupted(
    world: World, message: str | None, said: str, reason: str
) -> None:
    noted = Noted()
    service = a_service(world, noted)
    await service.recover()
    task = asyncio.create_task(service.start("alice", "", T4, launch(FAKE_SILENT="1")))
    await until(lambda: world.backend._live)

    if message is not None:
        await service.cancelling("alice", "", message)
        # Somebody else's start is none of it, and neither is one that is not under way.
        await service.cancelling("bob", "")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: nothing_is_left(world, service))
    account = (await People(world).known("alice")).account_id
    last = await world.store.last_ended(account, "")
    assert last is not None
    assert last[:2] == (reason, message or "")
    assert [outcome for outcome, _ in noted.decided] == [said]
    assert service._starts._cancelled == {}
    await service.close(end_sessions=False)


async def test_a_failed_start_that_cannot_be_recorded_yet_is_recorded_later(
    world: World, service: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arcetri_spawner.ending.RETRY", 0.2)
    task = asyncio.create_task(service.start("alice", "", T4, launch(FAKE_SILENT="1")))
    await until(lambda: world.backend._live)
    with sqlite3.connect(world.state / "arcetri.sqlite", isolation_level=None) as database:
        database.execute("alter table arcetri_lease rename to elsewhere")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)

    # Until it is written that it is over, it counts.
    with pytest.raises(Denied) as caught:
        await service.ask("alice", "", T4)
    assert caught.value.code == "already_running"
    with sqlite3.connect(world.state / "arcetri.sqlite", isolation_level=None) as database:
        database.execute("alter table elsewhere rename to arcetri_lease")
    await until(lambda: nothing_is_left(world, service))


async def test_a_start_that_the_store_refuses_leaves_nothing(
    world: World, service: SessionService
) -> None:
    asked = [service.start("alice", f"n{number}", T4, launch()) for number in range(8)]

    answers = await asyncio.gather(*asked, return_exceptions=True)

    started = [answer for answer in answers if isinstance(answer, Session)]
    refused = [answer for answer in answers if isinstance(answer, ArcetriError)]
    assert len(started) == 2, answers
    assert {error.code for error in refused} <= {"session_limit", "request_limit"}
    assert len(refused) == 6
    assert {row.id for row in await world.store.live_requests()} == {s.id for s in started}
    assert service._running._by_server == {("alice", s.server_name): s.id for s in started}
    assert service._starts._by_server == {}


async def test_a_session_that_still_starts_is_ended_when_it_has(
    world: World, service: SessionService
) -> None:
    start = asyncio.create_task(service.start("alice", "", T4, launch()))
    await until(world.store.live_requests)
    [row] = await world.store.live_requests()

    assert service.holds(row.id)
    await service.end(row.id, "admin", "The room is too hot.")

    assert not service.holds(row.id)
    assert (await start).id == row.id
    assert await nothing_is_left(world, service)
    ended = await world.store.last_ended(row.grant.account_id, "")
    assert ended is not None
    assert (ended.reason, ended.message) == ("admin", "The room is too hot.")


async def test_an_end_that_failed_is_not_told_as_the_end_that_came_later(
    world: World, service: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await service.start("alice", "", T4, launch())
    [row] = await world.store.live_requests()

    async def cannot(*_: object, **__: object) -> None:
        raise BackendError("It cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(world.backend, "stop", cannot)
        with pytest.raises(BackendError):
            await service.end(session.id, "admin", "The room is too hot.")
    [kept] = await world.store.live_requests()
    assert (kept.state, kept.reason, kept.message) == ("running", "", "")

    await service.end(session.id, "idle")

    ended = await world.store.last_ended(row.grant.account_id, "")
    assert ended is not None
    assert (ended.reason, ended.message) == ("idle", "")


@pytest.mark.parametrize("alive", [True, False])
async def test_a_session_in_doubt_is_neither_gone_nor_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    monkeypatch.setattr("arcetri_spawner.recovery.DOUBT", 0.2)
    instance = uuid4().hex
    try:
        async with hub(tmp_path, instance) as (_, before):
            started = await before.start("alice", "", T4, launch())
        with monkeypatch.context() as patch:
            patch.setattr(procs, "fate", lambda _: Fate.UNKNOWN)
            async with hub(tmp_path, instance) as (second, service):
                assert isinstance(await service.find("alice", ""), Unknown)
                surely = asyncio.create_task(service.find_surely("alice", ""))
                stop = asyncio.create_task(service.end_server("alice", "", "stopped"))
                with pytest.raises(InDoubt):
                    await service.end(started.id, "admin", "The room is too hot.")
                with pytest.raises(Denied) as caught:
                    await service.start("alice", "", T4, launch())
                assert caught.value.code == "already_running"
                await asyncio.sleep(0.5)
                assert not surely.done()
                assert not stop.done()
                assert running(instance) == {started.id}

                if not alive:
                    end_instance(instance, grace=5.0)
                patch.undo()

                found = await asyncio.wait_for(surely, 10)
                assert (found.id if found else None) == (started.id if alive else None)
                await asyncio.wait_for(stop, 10)
                assert await nothing_is_left(second, service)
                assert [record.type for record in second.journal()] == ["start", "end"]
    finally:
        end_instance(instance, grace=0.0)


@pytest.mark.parametrize("doubt", [False, True])
async def test_a_stop_that_a_hub_did_not_live_to_see_is_seen_through_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, doubt: bool
) -> None:
    instance = uuid4().hex

    async def promised(world: World) -> bool:
        return [row.reason for row in await world.store.live_requests()] == ["stopped"]

    try:
        async with hub(tmp_path, instance) as (first, before):
            first.edit(first.profiles.read_text().replace("stop: 30s", "stop: 1s"))
            session = await before.start("alice", "", T4, launch(FAKE_STUBBORN="1"))
            if not doubt:
                stop = asyncio.create_task(before.end_server("alice", "", "stopped"))
                await until(lambda: promised(first))
                stop.cancel()
        if doubt:
            with monkeypatch.context() as patch:
                patch.setattr(procs, "fate", lambda _: Fate.UNKNOWN)
                async with hub(tmp_path, instance) as (second, service):
                    stop = asyncio.create_task(service.end_server("alice", "", "stopped"))
                    await until(lambda: promised(second))
                    assert service.stops("alice", "")
                    stop.cancel()
        assert running(instance) == {session.id}

        async with hub(tmp_path, instance) as (last_one, service):
            assert service.stops("alice", "")
            await asyncio.wait_for(service.ended(session.id), 20)
            assert await nothing_is_left(last_one, service)
            assert (await last(last_one))[:2] == ("stopped", "")
            assert [getattr(one, "reason", "") for one in last_one.journal()] == ["", "stopped"]
    finally:
        end_instance(instance, grace=0.0)


async def test_a_session_can_be_stopped_while_the_database_is_away(
    world: World, service: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.start("alice", "", T4, launch())

    async def away(*_: object, **__: object) -> None:
        raise StoreError("The database is away.")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "announce", away)
        await asyncio.wait_for(service.end_server("alice", "", "stopped"), 20)

    assert await nothing_is_left(world, service)
    assert (await last(world)).reason == "stopped"


def running(instance: str) -> set[UUID]:
    return set(procs.sessions_of(instance))


@asynccontextmanager
async def hub(folder: Path, instance: str) -> AsyncIterator[tuple[World, SessionService]]:
    """One hub after another over the same folder."""
    world = World(folder, instance_id=instance)
    use_fake_servers(world)
    service = a_service(world)
    try:
        await world.backend.recover()
        await service.recover()
        yield world, service
    finally:
        await service.close(end_sessions=False)
        await world.close()


async def test_who_watches_from_the_beginning_is_told_every_step(
    world: World, service: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = world.queue.submit

    async def slowly(grant: Grant) -> Ticket:
        await asyncio.sleep(0.3)
        return await submit(grant)

    monkeypatch.setattr(world.queue, "submit", slowly)
    starting = asyncio.create_task(service.start("alice", "", T4, launch()))
    await asyncio.sleep(0)
    said = [event.message async for event in service.progress("alice", "")]
    await starting
    assert said[0] == "Asking the identity provider what you may use."
    assert "Making your folders ready." in said
    assert said[-1] == "Your notebook server is ready."


async def last(world: World) -> Ended:
    account = (await People(world).known("alice")).account_id
    found = await world.store.last_ended(account, "")
    assert found is not None
    return found


async def test_what_a_server_said_before_it_failed_to_start_is_kept_without_secrets(
    world: World, service: SessionService
) -> None:
    token = uuid4().hex
    words = f"No module named torch, with JUPYTERHUB_API_TOKEN={token} and {token}"
    with pytest.raises(StartFailed) as caught:
        await service.start("alice", "", T4, launch(FAKE_EXIT="3", FAKE_LAST_WORDS=words))
    ended = await last(world)
    assert (ended.reason, ended.message) == ("start_failed", str(caught.value))
    assert "No module named torch" in ended.details
    assert token not in ended.details


async def test_what_a_killed_session_said_last_is_kept(
    world: World, service: SessionService
) -> None:
    session = await service.start("alice", "", T4, launch())
    record = await world.store.session(session.id)
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    await asyncio.wait_for(service.ended(session.id), 20)
    ended = await last(world)
    assert ended.reason == "killed"
    assert "fake server begins" in ended.details


@pytest.mark.parametrize("reason", ["admin", "stopped"])
async def test_of_an_end_that_was_asked_for_nothing_raw_is_kept(
    world: World, service: SessionService, reason: str
) -> None:
    session = await service.start("alice", "", T4, launch(FAKE_STUBBORN="1"))
    [row] = await world.store.live_requests()
    running = service._running._runs[session.id]
    # It will not end when it is asked to, and so ends with a signal.
    running.grant = replace(row.grant, stop=timedelta(milliseconds=200))
    await service.end(session.id, reason)
    ended = await last(world)
    assert (ended.reason, ended.details) == (reason, "")


async def test_of_a_server_that_crashed_later_it_is_said_what_to_do(
    world: World, service: SessionService
) -> None:
    session = await service.start("alice", "", T4, launch(FAKE_CRASH="4"))
    os.kill(int(facts(session)["pid"]), signal.SIGTERM)
    await asyncio.wait_for(service.ended(session.id), 20)
    ended = await last(world)
    assert ended.reason == "exited"
    assert ended.message.startswith(
        "The notebook server ended with an error (exit status 4). Start again."
    )
    assert "fake server begins" in ended.details


async def test_of_a_session_that_ended_in_order_nothing_raw_is_kept(
    world: World, service: SessionService
) -> None:
    session = await service.start("alice", "", T4, launch())
    os.kill(int(facts(session)["pid"]), signal.SIGTERM)
    await asyncio.wait_for(service.ended(session.id), 20)
    ended = await last(world)
    assert (ended.reason, ended.details) == ("exited", "")


async def test_what_was_said_is_kept_also_of_a_session_that_ended_while_the_hub_was_away(
    tmp_path: Path,
) -> None:
    instance = uuid4().hex
    try:
        async with hub(tmp_path, instance) as (first, before):
            session = await before.start("alice", "", T4, launch())
            record = await first.store.session(session.id)
            assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        async with hub(tmp_path, instance) as (second, _):
            ended = await last(second)
            assert ended.reason == "lost"
            assert "fake server begins" in ended.details
    finally:
        end_instance(instance, grace=0.0)
