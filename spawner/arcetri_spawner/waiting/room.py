"""The waiting room: every request between being asked and being started, and whose turn it is.

It holds nothing that the store does not: a restarted hub fills it from there. What moves it is the
reconciler.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID
from weakref import WeakValueDictionary

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Position, Queue, Ticket, TicketState
from arcetri_spawner.chores import Chores
from arcetri_spawner.ending import IN_VAIN
from arcetri_spawner.errors import ArcetriError, Busy, Conflict, Denied
from arcetri_spawner.gate import Gate
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.model import Grant, Identity, Reason, ReasonKind
from arcetri_spawner.policy.sizes import in_size
from arcetri_spawner.store.waiting import waits_no_more
from arcetri_spawner.waiting.model import RETRY, Asked, Entry, Estimator, Wait, now
from arcetri_spawner.waiting.why import end_with_sessions, instead_of, offer_of, waits_for

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.estimates.model import ExpectedWait
    from arcetri_spawner.live import ServiceObserver
    from arcetri_spawner.store import RequestRow, Store

log = structlog.get_logger(__name__)

AGAIN: Final = 15.0
"""Seconds until a request is tried again whose turn was in vain; twice as long each time."""
AGAIN_MOST: Final = 240.0
"""Seconds after which it is tried again however often it was in vain."""

CLAIM: Final = 60.0
"""Seconds in which who asked, and was admitted at once, has to have begun the start."""

UNDECIDED: Final = frozenset({"identity_unknown", "not_admitted", "session_limit", "flavor_limit"})
"""Refusals that may not hold in a minute: IAM answers again, somebody who is away logs in again, or
stops another session of theirs. Whose turn has come is kept for a while."""

_TRIED_AGAIN: Final = "It starts by itself as soon as IAM answers."

LEFT: Final = "left"
"""How a request ended whose user left the queue."""


class WaitingRoom:
    """Asks for tickets, and knows what became of them."""

    def __init__(
        self,
        *,
        store: Store,
        queue: Queue,
        gate: Gate,
        catalogs: CatalogHolder,
        observer: ServiceObserver,
        clock: Callable[[], datetime],
    ) -> None:
        """Begin empty.

        Args:
            store: Where requests are kept.
            queue: Who is next.
            gate: Decides.
            catalogs: For ``hold``.
            observer: Told what becomes of requests.
            clock: Tells the time, aware.
        """
        self._store = store
        self._queue = queue
        self._gate = gate
        self._catalogs = catalogs
        self._observer = observer
        self._clock = clock
        self.estimator: Estimator | None = None
        """Says how long one will wait; None where nothing is estimated."""
        self.admitted: Callable[[Entry], None] = lambda _entry: None
        """Told of each request whose turn has come, and that nobody else is about to start."""
        self._entries: dict[UUID, Entry] = {}
        self._by_server: dict[tuple[str, str], Entry] = {}
        self._asking: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._in_vain: Counter[UUID] = Counter()
        """How often the turn of who stands at a place was in vain, by its first request."""
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

    def known(self, request_id: UUID) -> Entry | None:
        """A request that has not started yet, or that a start has just taken."""
        return self._entries.get(request_id)

    def entries(self) -> list[Entry]:
        """Everybody, oldest first."""
        return list(self._entries.values())

    # Coming and going

    async def ask(self, username: str, server_name: str, raw: object) -> Asked:
        """Ask for a session; who asks again for the same server is where they were.

        One that is admitted at once is left to the asker to start, for a minute.

        Raises:
            Denied: Policy refuses.
            Busy: It could only wait for ever; nothing is kept.
            StoreError: It could not be recorded.
        """
        # One at a time, so that who asks twice at once is found by the second.
        async with self._alone(username, server_name):
            if known := self.find(username, server_name):
                return Asked(known, starts=False)
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
        await self.submit(entry)
        if entry.stage == "waiting" and (why := _endless(entry.ticket)):
            await self.leave(entry, why.code, str(reasons.busy(why)))
            raise reasons.busy(why)
        if entry.stage != "admitted":
            self.unclaim(entry)
            self._observer.request_decided("queued", "")
        return Asked(entry, starts=entry.stage == "admitted")

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
        self.over(entry.grant)
        await self._give_up(entry)

    async def move(self, entry: Entry, raw: object) -> Entry:
        """Exchange a request that waits for one that starts now, or keep it where it is.

        Raises:
            Denied: Policy refuses the other one; the first keeps its place.
            Busy: The other one would have to wait as well; the first keeps its place.
            Conflict: The first one waits no more.
            StoreError: It could not be recorded.
        """
        # Until it has its place or is back: an ask or another move meanwhile would lose one.
        async with self._alone(*entry.server):
            return await self._move(entry, raw)

    async def _move(self, entry: Entry, raw: object) -> Entry:
        username, server_name = entry.server
        self._still_waits(entry)
        grant = await self._gate.decide_soon(username, server_name, raw, instead_of=entry.id)
        self._still_waits(entry)
        await self._store.exchange(entry.id, grant)
        killpoints.reach("request.moved")
        other = Entry(grant, self._clock())
        self._drop(entry)
        self._add(other)
        self._claim(other)
        try:
            await self.submit(other)
            why = (other.ticket and other.ticket.reason) or other.trouble
        finally:
            if other.stage != "admitted":
                await self._take_back(entry, other)
        if other.stage != "admitted":
            raise Busy(
                f"{grant.flavor_title or grant.flavor} was taken a moment ago."
                if why is None or end_with_sessions((why,))
                else why.sentence,
                code=why.code if why else None,
                remedy="Your request keeps its place.",
            )
        await self._give_up(entry)
        return other

    def _still_waits(self, entry: Entry) -> None:
        if self.get(entry.id) is not entry or entry.stage == "admitted":
            raise waits_no_more()

    async def go_back(self, grant: Grant, asked: datetime, in_vain: str = "") -> None:
        """Have a request stand in line that the store has at its old place.

        Where the queue gives no answer, it is asked again.

        Args:
            grant: What it was granted.
            asked: When it was asked for.
            in_vain: Why its turn was in vain, where it was: then it is not tried again at once, and
                each time later.
        """
        entry = self._entries.get(grant.request_id)
        if entry is None:
            entry = Entry(grant, asked, counted=True)
            self._add(entry)
            if in_vain:
                place = grant.earlier[0]
                self._in_vain[place] += 1
                wait = min(AGAIN * 2 ** (self._in_vain[place] - 1), AGAIN_MOST)
                entry.not_before = now() + wait
                remedy = f"It is tried again in {wait:.0f} seconds, or as soon as it can be."
                entry.in_vain = Reason(IN_VAIN, ReasonKind.WAIT, in_vain, remedy, remedy)
        await self.submit(entry)

    async def _take_back(self, entry: Entry, instead: Entry) -> None:
        await self._store.take_back(entry.id, instead.id)
        self._drop(instead)
        self._add(entry)
        await self.finish(Ticket(instead.id, TicketState.GONE))
        await self.submit(entry)

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
            reason = (entry.ticket and entry.ticket.reason) or entry.trouble
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
                self.put_back(entry, told(error))
            else:
                await self.deny(entry, error)
            raise
        except BaseException:
            self.put_back(entry)
            raise

    def put_back(self, entry: Entry, trouble: Reason | None = None) -> None:
        """Keep a request that was taken and has not begun to start."""
        entry.starting = False
        entry.trouble = trouble
        entry.try_after = now() + RETRY

    def over(self, grant: Grant) -> None:
        """Forget how often a request's turn was in vain, since it runs or has left."""
        if grant.earlier:
            self._in_vain.pop(grant.earlier[0], None)

    def begun(self, entry: Entry) -> None:
        """Forget a request that starts: it is a session's from now on."""
        self._drop(entry)

    # What is told

    async def tell(self, entry: Entry, identity: Identity) -> Wait:
        """Say everything that there is to say of a request."""
        grant = entry.grant
        offered = await self._gate.offers(identity, grant.server_name, ignoring=entry.id)
        waits = entry.stage != "admitted"
        said = entry.ticket.reason if entry.ticket else None
        catalog = self._catalogs.current.catalog
        sized = in_size(offered, catalog, grant.size)
        found = waits_for(grant, said, sized, catalog) if waits else ()
        position = await self._position(entry)
        expected = await self._expected(entry) if end_with_sessions(found) else None
        if entry.stage == "admitted":
            # It may have come to be its turn while that was asked.
            found, position, expected = (), None, None
        return Wait(
            grant=grant,
            asked=entry.asked,
            stage=entry.stage,
            position=position,
            offer=offer_of(grant, offered),
            reasons=found,
            alternatives=instead_of(grant, offered, sized),
            expected=expected,
            trouble=entry.trouble,
            hold_until=entry.hold_until,
        )

    async def _expected(self, entry: Entry) -> ExpectedWait | None:
        if self.estimator is None or entry.stage != "waiting":
            return None
        return await self.estimator(entry.grant)

    async def _position(self, entry: Entry) -> Position | None:
        if entry.ticket is None or entry.stage != "waiting":
            return None
        try:
            return await self._queue.position(entry.ticket)
        except ArcetriError as error:
            log.warning("the queue does not say who is ahead", why=error.code)
            return None

    # Following the queue

    @property
    def catalog(self) -> object:
        """The catalog of the moment, to see whether it is another."""
        return self._catalogs.current

    async def ask_again(self) -> None:
        """Have those that wait ask for what another catalog says of their flavours, in order."""
        for entry in self.entries():
            if entry.stage == "waiting" and self.get(entry.id) is entry:
                await self.submit(entry)

    async def recover(self, rows: Iterable[RequestRow]) -> None:
        """Take up again who waited or was admitted when the last hub ended, in their order."""
        answers = True
        for row in rows:
            if row.id in self._entries:
                continue
            counted = row.admitted is not None or bool(row.grant.earlier)
            entry = Entry(row.grant, row.asked, counted=counted)
            self._add(entry)
            # One silence is enough to know: the others are asked for later.
            answers = answers and await self.submit(entry)

    async def close(self) -> None:
        """Give up what is under way; all of it is taken up again by the next hub."""
        await self._chores.close()

    async def submit(self, entry: Entry) -> bool:
        """Have a request stand in line; False when the queue could not be asked, and is later."""
        try:
            ticket = await self._queue.submit(entry.grant)
        except Conflict:
            # It ended while this was asked.
            self._drop(entry)
            return True
        except ArcetriError as error:
            log.warning("the queue cannot be asked", request=str(entry.id), why=error.code)
            entry.trouble = told(error)
            entry.try_after = now() + RETRY
            return False
        await self.note(entry, ticket)
        return True

    async def note(self, entry: Entry, ticket: Ticket) -> None:
        """Keep what the queue says of a request, and act on it."""
        before, entry.ticket = entry.stage, ticket
        if ticket.state is TicketState.ADMITTED and now() >= entry.not_before:
            if before != "admitted":
                await self._admit(entry)
            return
        entry.stage, entry.hold_until = "waiting", None
        if ticket.state is TicketState.ADMITTED:
            # It has another turn, and would have it in vain as before.
            entry.trouble = entry.in_vain
            return
        if before != "waiting":
            entry.trouble = None
            await self._store.mark(entry.id, "waiting")
            killpoints.reach("request.waiting")

    async def _admit(self, entry: Entry) -> None:
        at = self._clock()
        entry.stage, entry.trouble = "admitted", None
        entry.hold_until = at + self._catalogs.current.catalog.defaults.hold
        if not entry.counted:
            entry.counted = True
            self._observer.request_admitted(entry.grant, at - entry.asked)
        if entry.is_claimed:
            # Its start comes at once, and writes where it is.
            return
        await self._store.admitted(entry.id, entry.hold_until)
        killpoints.reach("request.admitted")
        self.admitted(entry)

    async def deny(self, entry: Entry, error: Denied) -> None:
        """End a request that policy refuses by now."""
        await self.leave(entry, error.code, str(error))

    async def _give_up(self, entry: Entry) -> None:
        """Have a request's ticket taken away, also where it has yet to take over another's."""
        for request in (entry.id, *entry.grant.earlier):
            await self.finish(Ticket(request, TicketState.GONE))

    async def finish(self, ticket: Ticket) -> None:
        """Have a ticket taken away; where the queue gives no answer, when it does."""
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
            # One that came first, and is still there, is found again.
            others = (one for one in self._entries.values() if one.server == entry.server)
            if other := next(others, None):
                self._by_server[entry.server] = other

    def _alone(self, username: str, server_name: str) -> asyncio.Lock:
        """Held by who asks or exchanges for a server; gone when nobody does."""
        return self._asking.setdefault((username, server_name), asyncio.Lock())

    def _claim(self, entry: Entry) -> None:
        entry.claimed_until = now() + CLAIM

    def unclaim(self, entry: Entry) -> None:
        """Who asked will not start it: the platform does, when its turn comes."""
        entry.claimed_until = 0.0


def _endless(ticket: Ticket | None) -> Reason | None:
    reason = ticket.reason if ticket else None
    return reason if reason and reason.endless else None


def told(error: ArcetriError) -> Reason:
    """Why something has to wait, as it was said."""
    # Who asks for a start is told to do so again; whose turn has come need not.
    own = _TRIED_AGAIN if error.code == "identity_unknown" else error.remedy
    return Reason(error.code, ReasonKind.WAIT, error.message, own, own)


def _cannot_say(sentence: str) -> Reason:
    return Reason("busy", ReasonKind.WAIT, sentence, "Look again in a minute.")
