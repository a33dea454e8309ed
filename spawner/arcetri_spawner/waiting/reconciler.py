"""Keeps requests and the queue's tickets in agreement, and has started what is admitted.

Whatever either side forgets is found and mended here: a request whose ticket is gone, a ticket
whose request is over, one that was admitted and is not started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner.backends.base import Queue, Ticket, TicketState
from arcetri_spawner.chores import Chores
from arcetri_spawner.errors import ArcetriError, Denied
from arcetri_spawner.gate import Gate
from arcetri_spawner.live import choice_of
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.waiting.model import RETRY, Entry, Starter, now
from arcetri_spawner.waiting.room import UNDECIDED, WaitingRoom
from arcetri_spawner.waiting.why import told

if TYPE_CHECKING:
    from arcetri_spawner.live import ServiceObserver
    from arcetri_spawner.store import RequestRow, Store
    from arcetri_spawner.waiting.wanted import Demands

log = structlog.get_logger(__name__)

SWEEP: Final = 2.0
"""Seconds between two looks at everybody."""
RESYNC: Final = 60.0
"""Seconds between two comparisons with the store."""
FIRST: Final = 10.0
"""Seconds until the first: what went wrong while no hub was there is found soon."""

MAINTAINED: Final = "maintenance"
"""The refusal of what is under maintenance; see ``reasons.maintenance``."""
HOLD_OVER: Final = "hold_over"
"""How a request ended whose turn had come, and that could not be started within ``hold``."""


class Reconciler:
    """Follows the queue for a waiting room; one of a hub."""

    def __init__(
        self,
        room: WaitingRoom,
        *,
        store: Store,
        queue: Queue,
        gate: Gate,
        observer: ServiceObserver,
        clock: Callable[[], datetime],
        runs: Callable[[UUID], bool],
        holding: Callable[[], Mapping[UUID, Grant]],
        answers: Callable[[UUID], bool],
        demands: Demands,
    ) -> None:
        """Make one; it does nothing before ``run``.

        Args:
            room: Who waits.
            store: Where requests are kept.
            queue: Who is next.
            gate: Decides, before a server is started.
            observer: Told what becomes of requests.
            clock: Tells the time, aware.
            runs: Whether a request starts or runs: its ticket is then no concern of the room's.
            holding: What starts or runs, and must hold what it was given.
            answers: Whether a session has started.
            demands: Told what the queue wants back.
        """
        self._room = room
        self._store = store
        self._queue = queue
        self._gate = gate
        self._observer = observer
        self._clock = clock
        self._runs = runs
        self._demands = demands
        self._holding = holding
        self._answers = answers
        self._tickets: set[UUID] = set()
        """Requests of which the queue has said that they have one."""
        self._held_again: set[UUID] = set()
        """Of these, who are put in line again at the moment."""
        self._starter: Starter | None = None
        self._chores = Chores()

    async def run(self, starter: Starter) -> None:
        """Follow the queue and have started what it admits, for ever."""
        await starter.ready()
        self._starter = starter
        self._room.admitted = lambda entry: self._chores.start(self._start(entry))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._sweep())

    async def _follow(self) -> None:
        while True:
            try:
                async for ticket in self._queue.watch():
                    try:
                        await self._moved(ticket)
                    except ArcetriError as error:
                        log.warning("a ticket's change waits", why=error.code)
            except Exception:
                log.exception("the queue cannot be followed")
            await asyncio.sleep(RETRY)

    async def _moved(self, ticket: Ticket) -> None:
        if ticket.state is TicketState.GONE:
            self._tickets.discard(ticket.request_id)
        else:
            self._tickets.add(ticket.request_id)
        if self._demands.note(ticket) and ticket.reason is not None:
            self._observer.ticket_evicted(ticket.reason.code)
        entry = self._room.known(ticket.request_id)
        if entry is None:
            await self._stray(ticket)
        elif entry.starting:
            return
        elif ticket.state is TicketState.EVICTED:
            await self._give_back(ticket)
        elif ticket.state is TicketState.GONE:
            entry.ticket = None
            if self._queue.apart and entry.stage == "waiting":
                entry.trouble = queueing.removed()
            await self._room.submit(entry)
        else:
            await self._room.note(entry, ticket)

    async def _give_back(self, ticket: Ticket) -> None:
        """Have an evicted request that has not started wait at its place: nothing can be lost."""
        await self._queue.release(ticket, requeue=True)
        self._demands.forget(ticket.request_id)

    async def _stray(self, ticket: Ticket) -> None:
        """Take away the ticket of a request that is over, unless another one has its place.

        One that runs must have one, and the queue know that it does.
        """
        if ticket.state is TicketState.GONE:
            self._chores.start(self._hold_again(ticket.request_id))
            return
        if self._runs(ticket.request_id):
            if ticket.state is TicketState.ADMITTED and self._answers(ticket.request_id):
                await self._queue.ready(ticket)
            return
        await self._take_away({ticket.request_id}, await self._store.live_requests())

    async def _take_away(self, tickets: Iterable[UUID], rows: Iterable[RequestRow]) -> None:
        """Take away those of some tickets whose request is over.

        Args:
            tickets: Whose; they were there before the rows were read.
            rows: What has not ended.
        """
        live = {one for row in rows for one in (row.id, *row.grant.earlier)}
        for request_id in set(tickets) - live:
            here = self._room.known(request_id) or self._room.keeps_place_of(request_id)
            if here or self._runs(request_id):
                continue
            log.warning("a ticket without a request is taken away", request=str(request_id))
            self._tickets.discard(request_id)
            await self._room.finish(Ticket(request_id, TicketState.GONE))

    async def _hold_again(self, request_id: UUID) -> None:
        """Have what starts or runs hold its place again, if it lost its ticket.

        What it has is not taken from it, whatever the queue says: until it is admitted again it
        runs without.
        """
        grant = self._holding().get(request_id)
        if grant is None or not self._queue.apart or request_id in self._held_again:
            return
        self._held_again.add(request_id)
        log.warning("a session without a ticket is put in line", session=str(request_id))
        try:
            ticket = await self._queue.submit(grant)
            self._tickets.add(request_id)
            if ticket.state is TicketState.ADMITTED and self._answers(request_id):
                await self._queue.ready(ticket)
            while request_id not in self._holding():
                if not self._runs(request_id):
                    # It ended meanwhile, and the end may have come before the ticket.
                    await self._room.finish(ticket)
                    return
                await asyncio.sleep(RETRY)
        except ArcetriError as error:
            log.warning("a session has no ticket yet", session=str(request_id), why=error.code)
        finally:
            self._held_again.discard(request_id)

    async def _start(self, entry: Entry) -> None:
        """Have a server started whose turn has come; what cannot be decided is tried again."""
        if self._starter is None or self._room.get(entry.id) is not entry or entry.is_claimed:
            return
        entry.by_itself = True
        entry.try_after = now() + RETRY
        try:
            await self._gate.decide_again(entry.grant)
            if self._room.get(entry.id) is entry:
                entry.trouble = None
                await self._starter.start(*entry.server, choice_of(entry.grant))
        except Denied as error:
            if self._room.get(entry.id) is not entry:
                return
            if error.code in UNDECIDED:
                entry.trouble = told(error)
                return
            if error.code == MAINTAINED:
                # Its turn comes again when that is over.
                await self._queue.release(Ticket(entry.id, TicketState.ADMITTED), requeue=True)
                return
            self._observer.request_decided("denied", error.code)
            await self._room.deny(entry, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one gets their turn
            log.warning("a start did not begin", request=str(entry.id), why=str(error))
        finally:
            entry.try_after = now() + RETRY

    async def _sweep(self) -> None:
        """See to whom nobody else sees to: no ticket, no start, or kept for too long."""
        loop = asyncio.get_running_loop()
        resync = loop.time() + min(FIRST, RESYNC)
        catalog = self._room.catalog
        while True:
            if self._room.catalog is not catalog:
                catalog = self._room.catalog
                await self._room.ask_again()
            for entry in self._room.entries():
                # Most only wait, and there can be hundreds.
                if self._only_waits(entry):
                    continue
                try:
                    await self._see_to(entry)
                except ArcetriError as error:
                    log.warning("a request waits", request=str(entry.id), why=error.code)
                except Exception:
                    # A fault of ours with one must not stop the others.
                    entry.try_after = now() + RETRY
                    log.exception("a request waits", request=str(entry.id))
            if loop.time() > resync:
                resync = loop.time() + RESYNC
                try:
                    await self._resync()
                except ArcetriError as error:
                    log.warning("requests and tickets are not compared", why=error.code)
            await asyncio.sleep(SWEEP)

    def _only_waits(self, entry: Entry) -> bool:
        """Whether nothing is to be done for a request but to wait for the queue's word."""
        if entry.stage != "waiting" or entry.ticket is None or entry.behind:
            return False
        return entry.ticket.state is TicketState.WAITING and not self._demands.is_evicted(entry.id)

    async def _see_to(self, entry: Entry) -> None:
        if entry.starting or entry.is_claimed:
            return
        if self._demands.is_evicted(entry.id):
            # It was starting when that was said, or the queue could not be told.
            await self._give_back(Ticket(entry.id, TicketState.EVICTED))
        elif entry.stage == "admitted" and entry.hold_until and self._clock() >= entry.hold_until:
            await self._let_go(entry)
        elif now() >= entry.try_after:
            if entry.ticket is None or (entry.behind and entry.stage == "waiting"):
                await self._room.submit(entry)
            elif entry.stage == "waiting" and entry.ticket.state is TicketState.ADMITTED:
                await self._room.note(entry, entry.ticket)
            elif entry.stage == "admitted":
                await self._start(entry)

    async def _let_go(self, entry: Entry) -> None:
        why = f" {entry.trouble.sentence}" if entry.trouble else ""
        log.info("an admitted request was not started in time", request=str(entry.id))
        await self._room.leave(
            entry,
            HOLD_OVER,
            "It was your turn, but your session could not be started in time, and the device went"
            f" to the next in line.{why} Ask again.",
        )

    async def _resync(self) -> None:
        """Find requests that this room forgot or that ended behind its back, and stray tickets."""
        for request_id in self._holding().keys() - self._tickets:
            self._chores.start(self._hold_again(request_id))
        for waits in self._room.entries():
            if waits.stage == "waiting" and _unheard(waits.ticket):
                # The queue may have refused it when it was told of it later: it is asked again.
                waits.ticket = None
        before, tickets = [entry.id for entry in self._room.entries()], set(self._tickets)
        rows = {row.id: row for row in await self._store.live_requests()}
        for row in rows.values():
            # The rows may be older than an exchange.
            here = self._room.known(row.id) or self._room.keeps_place_of(row.id)
            lost = not here and not self._runs(row.id)
            if lost and row.state in ("waiting", "admitted"):
                log.warning("a request without a ticket is put in line", request=str(row.id))
                await self._room.recover([row])
        over = [one for one in before if one not in rows and self._room.get(one)]
        # One that was exchanged when the rows were read, and has come back, is there by now.
        live = {row.id for row in await self._store.live_requests()} if over else set()
        for request_id in over:
            if request_id not in live and (entry := self._room.get(request_id)):
                self._room.begun(entry)
                await self._room.finish(Ticket(request_id, TicketState.GONE))
        await self._take_away(tickets, rows.values())

    async def close(self) -> None:
        """Give up what is under way; the next hub takes it up again."""
        await self._chores.close()


def _unheard(ticket: Ticket | None) -> bool:
    """Whether nobody knows that the queue has heard of a request."""
    reason = ticket.reason if ticket is not None else None
    return reason is not None and reason.code == "queue_silent"
