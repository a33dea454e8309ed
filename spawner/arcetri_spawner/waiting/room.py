"""The waiting room: every request between being asked and being started, and whose turn it is.

It keeps requests and the queue's tickets in agreement, whatever either forgets, and has the hub
start what the queue admits. It holds nothing that the store does not: a restarted hub fills it from
there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Position, Queue, Ticket, TicketState
from arcetri_spawner.chores import Chores
from arcetri_spawner.errors import ArcetriError, Busy, Conflict, Denied
from arcetri_spawner.gate import Gate
from arcetri_spawner.live import choice_of
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.model import Grant, Identity, Reason, ReasonKind
from arcetri_spawner.waiting.model import Entry, Estimator, Starter, Wait

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.live import ServiceObserver
    from arcetri_spawner.store import RequestRow, Store

log = structlog.get_logger(__name__)

CLAIM: Final = 60.0
"""Seconds in which who asked, and was admitted at once, has to have begun the start."""
SWEEP: Final = 2.0
"""Seconds between two looks at everybody."""
RETRY: Final = 5.0
"""Seconds after which a start that could not be decided or begun is tried again."""
RESYNC: Final = 60.0
"""Seconds between two comparisons with the store."""

UNDECIDED: Final = frozenset({"identity_unknown", "not_admitted", "session_limit", "flavor_limit"})
"""Refusals that may not hold in a minute: IAM answers again, somebody who is away logs in again, or
stops another session of theirs. Whose turn has come is kept for a while."""

HOLD_OVER: Final = "hold_over"
"""How a request ended whose turn had come, and that could not be started within ``hold``."""
LEFT: Final = "left"
"""How a request ended whose user left the queue."""


class WaitingRoom:
    """Asks for tickets, follows them, and has started what is admitted."""

    def __init__(
        self,
        *,
        store: Store,
        queue: Queue,
        gate: Gate,
        catalogs: CatalogHolder,
        observer: ServiceObserver,
        clock: Callable[[], datetime],
        runs: Callable[[UUID], bool],
    ) -> None:
        """Begin empty.

        Args:
            store: Where requests are kept.
            queue: Who is next.
            gate: Decides.
            catalogs: For ``hold``.
            observer: Told what becomes of requests.
            clock: Tells the time, aware.
            runs: Whether a request starts or runs: its ticket is then no concern of this room's.
        """
        self._store = store
        self._queue = queue
        self._gate = gate
        self._catalogs = catalogs
        self._observer = observer
        self._clock = clock
        self._runs = runs
        self._starter: Starter | None = None
        self.estimator: Estimator | None = None
        """Says how long one will wait; None where nothing is estimated."""
        self._entries: dict[UUID, Entry] = {}
        self._by_server: dict[tuple[str, str], Entry] = {}
        self._chores = Chores()

    # Who is there

    def find(self, username: str, server_name: str) -> Entry | None:
        """The request of a server that has not started yet, if there is one."""
        entry = self._by_server.get((username, server_name))
        return None if entry is None or entry.starting else entry

    def get(self, request_id: UUID) -> Entry | None:
        """A request that has not started yet, if it is one."""
        entry = self._entries.get(request_id)
        return None if entry is None or entry.starting else entry

    def entries(self) -> list[Entry]:
        """Everybody, oldest first."""
        return list(self._entries.values())

    # Coming and going

    async def ask(self, username: str, server_name: str, raw: object) -> Entry:
        """Ask for a session; who asks again for the same server is where they were.

        One that is admitted at once is left to the asker to start, for a minute.

        Raises:
            Denied: Policy refuses.
            Busy: It could only wait for ever; nothing is kept.
            StoreError: It could not be recorded.
        """
        if known := self.find(username, server_name):
            self._claim(known)
            return known
        grant = await self._gate.decide_soon(username, server_name, raw)
        entry = Entry(grant, self._clock())
        # First, so that a ticket that comes in between is known.
        self._add(entry)
        try:
            await self._store.open_request(grant)
        except BaseException:
            self._drop(entry)
            raise
        killpoints.reach("request.opened")
        self._claim(entry)
        await self._submit(entry)
        if entry.stage == "waiting" and (why := _endless(entry.ticket)):
            await self.leave(entry, why.code, str(reasons.busy(why)))
            raise reasons.busy(why)
        if entry.stage != "admitted":
            self.unclaim(entry)
            self._observer.request_decided("queued", "")
        return entry

    async def leave(self, entry: Entry, reason: str = LEFT, message: str = "") -> None:
        """Leave the queue; the request is over.

        Raises:
            StoreError: It could not be recorded; everything is as it was.
        """
        # Written first: a ticket without a request is taken away, but a request without a ticket
        # would be put in line again.
        await self._store.mark(entry.id, "ended", reason=reason, message=message)
        killpoints.reach("request.left")
        self._drop(entry)
        await self._finish(Ticket(entry.id, TicketState.GONE))

    async def move(self, entry: Entry, raw: object) -> Entry:
        """Exchange a request that waits for one that starts now, or keep it where it is.

        Raises:
            Denied: Policy refuses the other one; the first keeps its place.
            Busy: The other one would have to wait as well; the first keeps its place.
            Conflict: The first one waits no more.
            StoreError: It could not be recorded.
        """
        username, server_name = entry.server
        grant = await self._gate.decide_soon(username, server_name, raw, instead_of=entry.id)
        if self.get(entry.id) is not entry or entry.stage == "admitted":
            raise _waits_no_more()
        await self._store.exchange(entry.id, grant)
        killpoints.reach("request.moved")
        other = Entry(grant, self._clock())
        self._drop(entry)
        self._add(other)
        self._claim(other)
        try:
            await self._submit(other)
        finally:
            if other.stage != "admitted":
                await self._take_back(entry, other)
        if other.stage != "admitted":
            why = other.ticket.reason if other.ticket else None
            raise Busy(
                f"{grant.flavor_title or grant.flavor} was taken a moment ago.",
                code=why.code if why else None,
                remedy="Your request keeps its place.",
            )
        await self._finish(Ticket(entry.id, TicketState.GONE))
        return other

    async def _take_back(self, entry: Entry, instead: Entry) -> None:
        await self._store.take_back(entry.id, instead.id)
        self._drop(instead)
        self._add(entry)
        await self._finish(Ticket(instead.id, TicketState.GONE))
        await self._submit(entry)

    # Starting

    def take(self, username: str, server_name: str) -> Entry | None:
        """Have a server's admitted request, to start it; None where there is none.

        Raises:
            Busy: It still waits.
        """
        entry = self.find(username, server_name)
        if entry is None:
            return None
        if entry.stage != "admitted":
            reason = entry.ticket.reason if entry.ticket else entry.trouble
            raise reasons.busy(reason or _cannot_say("The queue gives no answer."))
        entry.starting = True
        return entry

    async def decide(self, entry: Entry) -> Grant:
        """Decide once more about a request that was taken, from fresh groups.

        Raises:
            Denied: Policy refuses. The request is over, or, where that may change soon and its user
                is not there, is kept for a while.
        """
        try:
            return await self._gate.decide_again(entry.grant)
        except Denied as error:
            if entry.by_itself and error.code in UNDECIDED:
                self.put_back(entry, _told(error))
            else:
                await self._deny(entry, error)
            raise
        except BaseException:
            self.put_back(entry)
            raise

    def put_back(self, entry: Entry, trouble: Reason | None = None) -> None:
        """Keep a request that was taken and has not begun to start."""
        entry.starting = False
        entry.trouble = trouble
        entry.try_after = _now() + RETRY

    def begun(self, entry: Entry) -> None:
        """Forget a request that starts: it is a session's from now on."""
        self._drop(entry)

    # What is told

    async def tell(self, entry: Entry, identity: Identity) -> Wait:
        """Say everything that there is to say of a request."""
        grant = entry.grant
        offered = await self._gate.offers(identity, grant.server_name, ignoring=entry.id)
        offer = next((one for one in offered.offers if one.flavor == grant.flavor), None)
        group = next((g for g in offer.groups if g.group == grant.group), None) if offer else None
        waits_for = tuple(r for r in group.reasons if r.kind is ReasonKind.WAIT) if group else ()
        if not waits_for and entry.ticket and entry.ticket.reason:
            waits_for = (entry.ticket.reason,)
        position = await self._position(entry)
        estimate = self.estimator
        return Wait(
            grant=grant,
            asked=entry.asked,
            stage=entry.stage,
            position=position,
            offer=offer,
            reasons=waits_for if entry.stage != "admitted" else (),
            alternatives=tuple(
                one for one in offered.offers if one.startable and one.flavor != grant.flavor
            ),
            expected=await estimate(grant) if estimate and entry.stage == "waiting" else None,
            trouble=entry.trouble,
            hold_until=entry.hold_until,
        )

    async def _position(self, entry: Entry) -> Position | None:
        if entry.ticket is None or entry.stage != "waiting":
            return None
        try:
            return await self._queue.position(entry.ticket)
        except ArcetriError as error:
            log.warning("the queue does not say who is ahead", why=error.code)
            return None

    # Following the queue

    async def recover(self, rows: Iterable[RequestRow]) -> None:
        """Take up again who waited or was admitted when the last hub ended, in their order."""
        answers = True
        for row in rows:
            if row.id in self._entries:
                continue
            entry = Entry(row.grant, row.asked)
            self._add(entry)
            # One silence is enough to know: the others are asked for later.
            answers = answers and await self._submit(entry)

    async def run(self, starter: Starter) -> None:
        """Follow the queue and have started what it admits, for ever."""
        await starter.ready()
        self._starter = starter
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._sweep())

    async def close(self) -> None:
        """Give up what is under way; all of it is taken up again by the next hub."""
        tasks = self._chores.running()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
        entry = self._entries.get(ticket.request_id)
        if entry is None:
            await self._stray(ticket)
        elif entry.starting:
            return
        elif ticket.state is TicketState.EVICTED:
            # It holds nothing yet that could be lost: it goes back to its place.
            await self._queue.release(ticket, requeue=True)
        elif ticket.state is TicketState.GONE:
            entry.ticket = None
            await self._submit(entry)
        else:
            await self._note(entry, ticket)

    async def _stray(self, ticket: Ticket) -> None:
        """Take away the ticket of a request that is over."""
        if ticket.state is TicketState.GONE or self._runs(ticket.request_id):
            return
        live = {row.id for row in await self._store.live_requests()}
        if ticket.request_id not in live and not self._runs(ticket.request_id):
            log.warning("a ticket without a request is taken away", request=str(ticket.request_id))
            await self._finish(ticket)

    async def _submit(self, entry: Entry) -> bool:
        """Have a request stand in line; False when the queue could not be asked, and is later."""
        try:
            ticket = await self._queue.submit(entry.grant)
        except Conflict:
            # It ended while this was asked.
            self._drop(entry)
            return True
        except ArcetriError as error:
            log.warning("the queue cannot be asked", request=str(entry.id), why=error.code)
            entry.trouble = _told(error)
            entry.try_after = _now() + RETRY
            return False
        await self._note(entry, ticket)
        return True

    async def _note(self, entry: Entry, ticket: Ticket) -> None:
        """Keep what the queue says of a request, and act on it."""
        before, entry.ticket = entry.stage, ticket
        if ticket.state is TicketState.ADMITTED:
            if before != "admitted":
                await self._admit(entry)
            return
        entry.stage, entry.hold_until = "waiting", None
        if before != "waiting":
            entry.trouble = None
            await self._store.mark(entry.id, "waiting")
            killpoints.reach("request.waiting")

    async def _admit(self, entry: Entry) -> None:
        now = self._clock()
        entry.stage, entry.trouble = "admitted", None
        entry.hold_until = now + self._catalogs.current.catalog.defaults.hold
        self._observer.request_admitted(entry.grant, now - entry.asked)
        if self._is_claimed(entry):
            # Its start comes at once, and writes where it is.
            return
        await self._store.admitted(entry.id, entry.hold_until)
        killpoints.reach("request.admitted")
        self._chores.start(self._start(entry))

    async def _start(self, entry: Entry) -> None:
        """Have a server started whose turn has come; what cannot be decided is tried again."""
        if self._starter is None or self.get(entry.id) is not entry or self._is_claimed(entry):
            return
        entry.by_itself = True
        entry.try_after = _now() + RETRY
        try:
            await self._gate.decide_again(entry.grant)
            if self.get(entry.id) is entry:
                entry.trouble = None
                await self._starter.start(*entry.server, choice_of(entry.grant))
        except Denied as error:
            if self.get(entry.id) is not entry:
                return
            if error.code in UNDECIDED:
                entry.trouble = _told(error)
                return
            self._observer.request_decided("denied", error.code)
            await self._deny(entry, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one gets their turn
            log.warning("a start did not begin", request=str(entry.id), why=str(error))
        finally:
            entry.try_after = _now() + RETRY

    async def _deny(self, entry: Entry, error: Denied) -> None:
        await self.leave(entry, error.code, str(error))

    async def _sweep(self) -> None:
        """See to whom nobody else sees to: no ticket, no start, or kept for too long."""
        loop = asyncio.get_running_loop()
        resync = loop.time() + RESYNC
        while True:
            for entry in self.entries():
                try:
                    await self._see_to(entry)
                except ArcetriError as error:
                    log.warning("a request waits", request=str(entry.id), why=error.code)
            if loop.time() > resync:
                resync = loop.time() + RESYNC
                try:
                    await self._resync()
                except ArcetriError as error:
                    log.warning("requests and tickets are not compared", why=error.code)
            await asyncio.sleep(SWEEP)

    async def _see_to(self, entry: Entry) -> None:
        if entry.starting or self._is_claimed(entry):
            return
        if entry.stage == "admitted" and entry.hold_until and self._clock() >= entry.hold_until:
            await self._let_go(entry)
        elif _now() >= entry.try_after:
            if entry.ticket is None:
                await self._submit(entry)
            elif entry.stage == "admitted":
                await self._start(entry)

    async def _let_go(self, entry: Entry) -> None:
        why = f" {entry.trouble.sentence}" if entry.trouble else ""
        log.info("an admitted request was not started in time", request=str(entry.id))
        await self.leave(
            entry,
            HOLD_OVER,
            "It was your turn, but your session could not be started in time, and the device went"
            f" to the next in line.{why} Ask again.",
        )

    async def _resync(self) -> None:
        """Find requests that this room forgot or that ended behind its back."""
        before = set(self._entries)
        rows = {row.id: row for row in await self._store.live_requests()}
        for row in rows.values():
            lost = row.id not in self._entries and not self._runs(row.id)
            if lost and row.state in ("waiting", "admitted"):
                log.warning("a request without a ticket is put in line", request=str(row.id))
                await self.recover([row])
        for request_id in before - rows.keys():
            if (entry := self.get(request_id)) is not None:
                self._drop(entry)
                await self._finish(Ticket(request_id, TicketState.GONE))

    async def _finish(self, ticket: Ticket) -> None:
        try:
            await self._queue.finish(ticket)
        except ArcetriError as error:
            log.warning("a ticket is not taken away yet", why=error.code)
            self._chores.start(self._finish_later(ticket))

    async def _finish_later(self, ticket: Ticket) -> None:
        while True:
            await asyncio.sleep(RETRY)
            try:
                await self._queue.finish(ticket)
                return
            except ArcetriError as error:
                log.warning("a ticket is not taken away yet", why=error.code)

    # Keeping

    def _add(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        self._by_server[entry.server] = entry

    def _drop(self, entry: Entry) -> None:
        self._entries.pop(entry.id, None)
        if self._by_server.get(entry.server) is entry:
            del self._by_server[entry.server]

    def _claim(self, entry: Entry) -> None:
        entry.claimed_until = _now() + CLAIM

    def unclaim(self, entry: Entry) -> None:
        """Who asked will not start it: the platform does, when its turn comes."""
        entry.claimed_until = 0.0

    @staticmethod
    def _is_claimed(entry: Entry) -> bool:
        return _now() < entry.claimed_until


def _now() -> float:
    return asyncio.get_running_loop().time()


def _endless(ticket: Ticket | None) -> Reason | None:
    reason = ticket.reason if ticket else None
    return reason if reason and reason.endless else None


def _told(error: ArcetriError) -> Reason:
    return Reason(error.code, ReasonKind.WAIT, error.message, error.remedy, error.remedy)


def _cannot_say(sentence: str) -> Reason:
    return Reason("busy", ReasonKind.WAIT, sentence, "Look again in a minute.")


def _waits_no_more() -> Conflict:
    return Conflict(
        "This request waits no more: it is about to start.",
        code="waits_no_more",
        remedy="Look at it again.",
    )
