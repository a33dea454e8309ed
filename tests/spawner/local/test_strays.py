"""What a queue that keeps its tickets elsewhere can lose, or give in vain; and what comes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from arcetri_spawner.backends.base import Session, Ticket, TicketState
from arcetri_spawner.backends.leasequeue import LeaseQueue
from arcetri_spawner.errors import BackendError
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.waiting import Entry, line, reconciler
from tests.spawner.local.test_service import until
from tests.spawner.local.test_waiting import Hub, a_hub, hurry, text
from tests.spawner.local.test_wanted import hub, instance, session_of

__all__ = ["hub", "instance"]

FULL = "No node has room for this session now: 1 has no free device."


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a queue whose tickets somebody can delete behind the platform's back."""
    hurry(monkeypatch)
    monkeypatch.setattr(LeaseQueue, "apart", True)


def watched(hub: Hub) -> tuple[list[UUID], list[UUID]]:
    """Who is submitted from now on, and who is said to be ready."""
    queue, submitted, ready = hub.world.queue, [], []
    submit = queue.submit

    async def submits(grant: Grant) -> Ticket:
        submitted.append(grant.request_id)
        return await submit(grant)

    async def is_ready(ticket: Ticket) -> None:
        ready.append(ticket.request_id)

    queue.submit = submits  # type: ignore[method-assign]
    queue.ready = is_ready  # type: ignore[method-assign]
    return submitted, ready


async def test_a_session_whose_ticket_vanishes_is_put_in_line_and_runs_on(hub: Hub) -> None:
    await hub.ask("alice")
    session = await session_of(hub, "alice")
    submitted, ready = watched(hub)

    hub.world.queue._news.tell(Ticket(session.id, TicketState.GONE))

    await until(lambda: ready == [session.id])
    assert submitted == [session.id]
    assert hub.starts == []
    assert (await session_of(hub, "alice")).id == session.id
    # Where somebody else has its place meanwhile, it waits for another, and runs on.
    hub.world.queue._news.tell(Ticket(session.id, TicketState.WAITING))
    await asyncio.sleep(0.3)
    assert await hub.states() == {"alice": "running"}
    hub.world.queue._news.tell(Ticket(session.id, TicketState.ADMITTED))
    await until(lambda: ready == [session.id, session.id])
    assert hub.starts == []


async def test_one_that_ends_is_not_put_in_line_again(hub: Hub) -> None:
    await hub.ask("alice")
    submitted, _ = watched(hub)

    await hub.end("alice")
    await asyncio.sleep(0.3)

    assert submitted == []
    assert await hub.world.store.leases() == {}


async def test_what_ends_while_it_is_put_in_line_leaves_no_ticket(hub: Hub) -> None:
    await hub.ask("alice")
    session = await session_of(hub, "alice")
    go_on, asked = asyncio.Event(), asyncio.Event()
    finished: list[UUID] = []
    finish = hub.world.queue.finish

    async def slow(grant: Grant) -> Ticket:
        asked.set()
        await go_on.wait()
        return Ticket(grant.request_id, TicketState.ADMITTED)

    async def finishes(ticket: Ticket) -> None:
        finished.append(ticket.request_id)
        await finish(ticket)

    hub.world.queue.submit = slow  # type: ignore[method-assign]
    hub.world.queue.finish = finishes  # type: ignore[method-assign]
    hub.world.queue._news.tell(Ticket(session.id, TicketState.GONE))
    await asked.wait()
    await hub.end("alice")
    assert finished == [session.id]
    go_on.set()
    await until(lambda: finished == [session.id, session.id])


async def test_who_waits_is_told_that_somebody_removed_the_request(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    await hub.world.queue.finish(Ticket(bob.id, TicketState.GONE))
    await until(lambda: bob.trouble is not None)
    assert bob.trouble is not None
    assert bob.trouble.code == "queue_removed"
    await until(lambda: bob.ticket is not None)
    assert bob.stage == "waiting"
    # Once it is their turn there is nothing to tell.
    await hub.end("alice")
    await until(lambda: bob.trouble is None)


async def test_one_that_lost_it_while_the_hub_was_away_is_found(
    tmp_path: Path, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_hub(tmp_path, instance, text(t4=1)) as first:
        await first.ask("alice")
        session = await session_of(first, "alice")
    monkeypatch.setattr(reconciler, "RESYNC", 0.05)
    async with a_hub(tmp_path, instance, text(t4=1)) as second:
        submitted, ready = watched(second)
        await until(lambda: ready == [session.id])
        await asyncio.sleep(0.3)
        # Once is enough.
        assert submitted == [session.id]


async def test_whose_turn_is_in_vain_keeps_the_place_and_is_tried_again_later(hub: Hub) -> None:
    backend, start = hub.world.backend, hub.world.backend.start
    full = True

    async def starts(grant: Grant, *more: Any) -> Session:
        if full:
            raise BackendError(FULL, code="no_room", remedy="Or stop it.")
        return await start(grant, *more)

    backend.start = starts  # type: ignore[method-assign]
    with pytest.raises(BackendError) as caught:
        await hub.ask("alice")
    assert caught.value.code == "no_room"
    assert "is back in line, at its place" in caught.value.remedy
    reason, message = await hub.last("alice")
    assert (reason, message.startswith(FULL)) == ("no_room", True)
    bob = await hub.ask("bob")

    def waits() -> Entry:
        found = hub.service.waiting.find("alice", "")
        assert found is not None
        return found

    first = waits()
    wait = await hub.service.waiting.tell(first, await hub.people.known("alice"))
    assert (wait.stage, wait.trouble and wait.trouble.code) == ("waiting", "no_room")
    assert wait.trouble is not None
    assert wait.trouble.sentence.startswith(FULL)
    loop = asyncio.get_running_loop()
    assert loop.time() + 5 < first.not_before <= loop.time() + line.AGAIN
    # It is not tried before that, and then; each time the wait is longer.
    await asyncio.sleep(0.3)
    assert hub.starts == []
    first.not_before = 0.0
    await until(lambda: hub.starts and hub.service.waiting.find("alice", "") not in (None, first))
    second = waits()
    assert second.grant.earlier == (*first.grant.earlier, first.id)
    assert loop.time() + line.AGAIN < second.not_before <= loop.time() + 2 * line.AGAIN
    full = False
    second.not_before = 0.0
    await until(lambda: hub.runs("alice"))
    # Nobody came before her.
    assert bob.stage == "waiting"
    assert not hub.service.waiting._in_vain


async def test_whose_turn_is_in_vain_may_leave(hub: Hub) -> None:
    async def full(*_: Any) -> Session:
        raise BackendError(FULL, code="no_room", remedy="Or stop it.")

    hub.world.backend.start = full  # type: ignore[method-assign]
    with pytest.raises(BackendError):
        await hub.ask("alice")
    entry = hub.service.waiting.find("alice", "")
    assert entry is not None

    await hub.service.waiting.leave(entry)

    assert await hub.states() == {}
    assert await hub.world.store.leases() == {}
    assert not hub.service.waiting._in_vain
