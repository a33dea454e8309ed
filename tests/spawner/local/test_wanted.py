"""What running sessions hold and others want back, in every order of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from arcetri_spawner.backends.base import Session, Ticket, TicketState
from arcetri_spawner.backends.local import end_instance
from arcetri_spawner.errors import BackendError
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.model import Grant, Reason, Standing
from arcetri_spawner.store import RequestRow
from arcetri_spawner.waiting import Back, Wanted
from arcetri_spawner.waiting.wanted import wanted_back
from tests.spawner.local.test_service import until
from tests.spawner.local.test_waiting import Hub, a_hub, hurry, text
from tests.spawner.local.world import CMS

LENT = queueing.returned("NVIDIA T4")
WHY = "Your group had borrowed it."


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def instance() -> Any:
    found = uuid4().hex
    yield found
    end_instance(found, grace=0.0)


@pytest.fixture
async def hub(tmp_path: Path, instance: str) -> AsyncIterator[Hub]:
    async with a_hub(tmp_path, instance, text(t4=1)) as made:
        yield made


def evict(hub: Hub, request: UUID, reason: Reason = LENT) -> None:
    """Have the queue want back what a request holds; a queue on one machine never does."""
    hub.world.queue._news.tell(Ticket(request, TicketState.EVICTED, reason=reason))


def take_back(hub: Hub, request: UUID) -> None:
    """Have it think otherwise."""
    hub.world.queue._news.tell(Ticket(request, TicketState.ADMITTED))


async def session_of(hub: Hub, name: str) -> Session:
    found = await hub.service.find(name, "")
    assert isinstance(found, Session)
    return found


def wanted(hub: Hub, session: UUID) -> Wanted | None:
    return hub.service.demands.of(hub.service.running()[session][0])


async def evicted(hub: Hub, name: str = "alice", reason: Reason = LENT) -> Grant:
    """Somebody's session runs, and what it holds is wanted back."""
    await hub.ask(name)
    session = (await session_of(hub, name)).id
    evict(hub, session, reason)
    await until(lambda: hub.service.demands.is_evicted(session))
    return hub.service.running()[session][0]


async def row_of(hub: Hub, name: str) -> RequestRow | None:
    rows = await hub.world.store.live_requests()
    return next((row for row in rows if row.grant.username == name), None)


async def test_it_ends_as_told_and_its_request_goes_back_to_its_place(hub: Hub) -> None:
    told: list[str] = []
    hub.service.reconciler._observer.ticket_evicted = told.append  # type: ignore[method-assign]
    one = await evicted(hub)
    assert wanted(hub, one.request_id) == Wanted(Back.PREEMPTED, LENT, True, True)
    assert told == ["evicted_returned"]
    younger = await hub.ask("bob")
    before = await row_of(hub, "alice")
    assert before is not None
    place = (await hub.world.store.in_line(before.id)).place
    # Meanwhile nothing is released, and it runs.
    assert await hub.runs("alice")
    assert younger.stage == "waiting"

    await hub.service.end(one.request_id, "preempted", WHY)

    assert await hub.last("alice") == ("preempted", WHY)
    after = await row_of(hub, "alice")
    assert after is not None
    assert after.id != before.id
    assert (after.grant.earlier, after.asked) == ((before.id,), before.asked)
    assert (await hub.world.store.in_line(after.id)).place == place
    assert hub.service.follower(before.id) == after.id
    assert not hub.service.demands.is_evicted(one.request_id)
    # It is first in line, and starts by itself; who came later waits.
    await until(lambda: hub.runs("alice"))
    assert (await session_of(hub, "alice")).id == after.id
    assert hub.service.unopened.until(after.id) is not None
    assert (await hub.states())["bob"] == "waiting"
    assert hub.service.running()[after.id][0].earlier == (before.id,)
    assert hub.service.follower(before.id) == after.id


async def test_who_stops_it_in_the_grace_is_not_put_back(hub: Hub) -> None:
    await evicted(hub)
    await hub.service.end_server("alice", "", "stopped")
    assert await row_of(hub, "alice") is None
    assert (await hub.last("alice"))[0] == "stopped"


async def test_an_eviction_that_is_taken_back_is_forgotten(hub: Hub) -> None:
    one = await evicted(hub)
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    hub.service.demands.changed = changed
    take_back(hub, one.request_id)
    await until(lambda: wanted(hub, one.request_id) is None)
    assert changes == 1
    # An end that was decided a moment before is one, but nothing goes back in line for it.
    await hub.service.end(one.request_id, "preempted", WHY)
    assert await row_of(hub, "alice") is None


async def test_what_is_wanted_back_while_it_starts_is_so_when_it_runs(hub: Hub) -> None:
    start = hub.world.backend.start

    async def slow(grant: Grant, *more: Any) -> Session:
        evict(hub, grant.request_id)
        await until(lambda: hub.service.demands.is_evicted(grant.request_id))
        return await start(grant, *more)

    hub.world.backend.start = slow  # type: ignore[method-assign]
    await hub.ask("alice")
    session = (await session_of(hub, "alice")).id
    assert wanted(hub, session) == Wanted(Back.PREEMPTED, LENT, True, True)


async def test_who_does_not_want_to_wait_is_not_put_back_also_after_a_restart(
    tmp_path: Path, instance: str
) -> None:
    async with a_hub(tmp_path, instance, text(t4=1)) as first:
        one = await evicted(first)
        await first.service.wish(one.request_id, returns=False)
        assert wanted(first, one.request_id) == Wanted(Back.PREEMPTED, LENT, False, True)
    async with a_hub(tmp_path, instance, text(t4=1)) as second:
        assert wanted(second, one.request_id) is None
        # The queue says it of every ticket when somebody begins to listen.
        await until(lambda: second.world.queue._news._followers)
        evict(second, one.request_id)
        await until(lambda: wanted(second, one.request_id) is not None)
        assert wanted(second, one.request_id) == Wanted(Back.PREEMPTED, LENT, False, True)
        await second.service.wish(one.request_id, returns=True)
        assert wanted(second, one.request_id) == Wanted(Back.PREEMPTED, LENT, True, True)
        await second.service.wish(one.request_id, returns=False)
        await second.service.end(one.request_id, "preempted", WHY)
        assert await second.last("alice") == ("preempted", WHY)
        assert await row_of(second, "alice") is None


async def test_what_the_catalog_grants_no_more_does_not_go_back(hub: Hub) -> None:
    one = await evicted(hub)
    world = hub.world
    world.edit(world.profiles.read_text().replace("{t4: {}, a100: {}", "{a100: {}"))
    assert wanted(hub, one.request_id) == Wanted(Back.PREEMPTED, LENT, False, False)
    await hub.service.end(one.request_id, "preempted", WHY)
    assert await row_of(hub, "alice") is None


async def test_an_end_that_comes_first_is_told_as_that_and_goes_nowhere(hub: Hub) -> None:
    one = await evicted(hub)
    await hub.service.end(one.request_id, "idle", "It did nothing.")
    assert await hub.last("alice") == ("idle", "It did nothing.")
    assert await row_of(hub, "alice") is None


async def test_jupyterhub_that_stops_what_ends_takes_nobodys_place_away(hub: Hub) -> None:
    one = await evicted(hub)
    stop = hub.world.backend.stop

    async def slowly(*told: Any, **more: Any) -> None:
        await asyncio.sleep(0.2)
        await stop(*told, **more)

    hub.world.backend.stop = slowly  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        group.create_task(hub.service.end(one.request_id, "preempted", WHY))
        await asyncio.sleep(0.05)
        group.create_task(hub.service.end_server("alice", "", "stopped"))
    assert await hub.last("alice") == ("preempted", WHY)
    assert await row_of(hub, "alice") is not None


async def test_a_hub_that_ends_before_the_session_did_sees_it_through(
    tmp_path: Path, instance: str
) -> None:
    async with a_hub(tmp_path, instance, text(t4=1)) as first:
        one = await evicted(first)
        session = await session_of(first, "alice")
        # As far as ``end`` comes before the session has ended.
        await first.world.store.announce(one.request_id, "preempted", WHY, returns=True)
    end_instance(instance, grace=0.0)
    async with a_hub(tmp_path, instance, text(t4=1)) as second:
        assert await second.last("alice") == ("preempted", WHY)
        await until(lambda: second.runs("alice"))
        again = await session_of(second, "alice")
        assert again.id != session.id
        assert second.service.running()[again.id][0].earlier == (session.id,)
        assert len(await second.world.store.live_requests()) == 1


async def test_a_hub_that_ends_before_it_is_in_line_finds_it_at_its_place(
    tmp_path: Path, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_hub(tmp_path, instance, text(t4=1)) as first:
        one = await evicted(first)
        bob = await first.ask("bob")

        async def never(*_: Any) -> None:
            await asyncio.Event().wait()

        # As a hub that dies there: the store has it, and nobody else has been told.
        monkeypatch.setattr(first.service._running._ends, "_enter", never)
        ending = asyncio.create_task(first.service.end(one.request_id, "preempted", WHY))
        await until(lambda: _is_back(first))
        assert await first.last("alice") == ("preempted", WHY)
        ending.cancel()
    async with a_hub(tmp_path, instance, text(t4=1)) as second:
        await until(lambda: second.runs("alice"))
        assert (await second.states()) == {"alice": "running", "bob": "waiting"}
        (row,) = [r for r in await second.world.store.live_requests() if r.id != bob.id]
        assert row.grant.earlier == (one.request_id,)


async def _is_back(hub: Hub) -> bool:
    row = await row_of(hub, "alice")
    return row is not None and bool(row.grant.earlier)


async def test_an_evicted_ticket_of_what_has_not_started_waits_again(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    released: list[UUID] = []

    async def release(ticket: Ticket, *, requeue: bool) -> None:
        assert requeue
        if not released:
            released.append(ticket.request_id)
            raise _away()
        released.append(ticket.request_id)

    hub.world.queue.release = release  # type: ignore[method-assign]
    evict(hub, bob.id)
    # It is tried again where the queue gave no answer.
    await until(lambda: released == [bob.id, bob.id])
    assert not hub.service.demands.is_evicted(bob.id)


def _away() -> Exception:
    return BackendError("The queue does not answer.", code="queue_away", remedy="Wait.")


async def test_a_session_of_a_flavor_in_maintenance_is_told_in_time(hub: Hub) -> None:
    await hub.ask("alice")
    session = (await session_of(hub, "alice")).id
    begin = hub.now + timedelta(hours=1)
    world = hub.world
    title = "title: NVIDIA T4, "
    when = "maintenance: {from: %s, until: %s, message: dust}, "
    until_then = begin + timedelta(hours=2)
    said = when % (begin.isoformat(), until_then.isoformat())
    plain = world.profiles.read_text()
    world.edit(plain.replace(title, f"{title}{said}"))

    assert wanted(hub, session) is None
    hub.now = begin - timedelta(minutes=5)
    found = wanted(hub, session)
    assert found is not None
    assert (found.back, found.returns, found.optional) == (Back.MAINTENANCE, True, True)
    assert found.reason.sentence.startswith("NVIDIA T4 goes into maintenance until")
    assert found.reason.sentence.endswith(": dust.")
    hub.now = until_then
    assert wanted(hub, session) is None
    # One without a beginning leaves alone what runs.
    hub.now = datetime.now(UTC)
    world.edit(plain.replace(title, f"{title}maintenance: {{message: dust}}, "))
    assert wanted(hub, session) is None


async def test_who_was_ended_for_maintenance_waits_until_it_is_over(hub: Hub) -> None:
    await hub.ask("alice")
    session = (await session_of(hub, "alice")).id
    plain = hub.world.profiles.read_text()
    title = "title: NVIDIA T4, "
    begun = datetime.now(UTC) - timedelta(minutes=1)
    said = f"maintenance: {{from: {begun.isoformat()}, message: dust}}, "
    hub.world.edit(plain.replace(title, f"{title}{said}"))
    await hub.service.end(session, "maintenance", WHY)
    entry = hub.service.waiting.find("alice", "")
    assert entry is not None
    assert (entry.stage, entry.grant.earlier) == ("waiting", (session,))
    assert entry.ticket is not None
    assert entry.ticket.reason is not None
    assert entry.ticket.reason.code == "queue_maintenance"
    assert entry.ticket.reason.sentence == "NVIDIA T4 is under maintenance: dust."
    hub.world.edit(plain)
    await until(lambda: hub.runs("alice"))


async def test_whose_turn_comes_in_a_maintenance_waits_for_its_end(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    hub.people.standing["bob"] = Standing.UNKNOWN
    await hub.end("alice")
    await until(lambda: bob.stage == "admitted")
    plain = hub.world.profiles.read_text()
    title = "title: NVIDIA T4, "
    hub.world.edit(plain.replace(title, f"{title}maintenance: {{message: dust}}, "))
    del hub.people.standing["bob"]
    await until(lambda: bob.stage == "waiting")
    assert (await hub.states())["bob"] == "waiting"
    hub.world.edit(plain)
    await until(lambda: hub.runs("bob"))


@pytest.mark.parametrize(
    ("reason", "back", "returns"),
    [
        (LENT, Back.PREEMPTED, True),
        (queueing.priority("T4"), Back.PREEMPTED, True),
        (queueing.drained(CMS), Back.DRAINED, True),
        (queueing.unstarted(), Back.RECLAIMED, True),
        (queueing.wanted_back("It rains"), Back.RECLAIMED, True),
        (queueing.lifetime(7200), Back.RECLAIMED, False),
        (queueing.deactivated(), Back.RECLAIMED, False),
    ],
)
def test_what_an_eviction_asks_of_a_session(reason: Reason, back: Back, returns: bool) -> None:
    found = wanted_back(reason)
    assert found is not None
    assert (found.back, found.returns) == (back, returns)


def test_a_failed_node_asks_nothing_of_its_session() -> None:
    assert wanted_back(queueing.node_failed("node-7")) is None
