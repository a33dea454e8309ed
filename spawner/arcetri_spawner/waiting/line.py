"""The waiting room's side of the queue: asking it for tickets, and following what it says of them.

A ticket that was admitted makes it a request's turn; one that was taken back has it wait again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Queue, Ticket, TicketState
from arcetri_spawner.chores import Chores
from arcetri_spawner.ending import IN_VAIN
from arcetri_spawner.errors import ArcetriError, Conflict
from arcetri_spawner.policy.model import Grant, Reason, ReasonKind
from arcetri_spawner.waiting.model import RETRY, Entry, now
from arcetri_spawner.waiting.roster import Roster
from arcetri_spawner.waiting.why import told

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.live import ServiceObserver
    from arcetri_spawner.store import RequestRow, Store

log = structlog.get_logger(__name__)

AGAIN: Final = 15.0
"""Seconds until a request is tried again whose turn was in vain; twice as long each time."""
AGAIN_MOST: Final = 240.0
"""Seconds after which it is tried again however often it was in vain."""


class Line(Roster):
    """Has requests stand in the queue's line, and keeps what it says of each."""

    def __init__(
        self,
        *,
        store: Store,
        queue: Queue,
        catalogs: CatalogHolder,
        observer: ServiceObserver,
        clock: Callable[[], datetime],
    ) -> None:
        """Begin empty.

        Args:
            store: Where requests are kept.
            queue: Who is next.
            catalogs: For ``hold``.
            observer: Told what becomes of requests.
            clock: Tells the time, aware.
        """
        super().__init__()
        self._store = store
        self._queue = queue
        self._catalogs = catalogs
        self._observer = observer
        self._clock = clock
        self.admitted: Callable[[Entry], None] = lambda _entry: None
        """Told of each request whose turn has come, and that nobody else is about to start."""
        self._in_vain: Counter[UUID] = Counter()
        """How often the turn of who stands at a place was in vain, by its first request."""
        self._chores = Chores()

    @property
    def catalog(self) -> object:
        """The catalog of the moment, to see whether it is another."""
        return self._catalogs.current

    async def ask_again(self) -> None:
        """Have those that wait ask for what another catalog says of their flavours, in order.

        With whom that fails stays behind, and is to be submitted again.
        """
        waiting = [entry for entry in self.entries() if entry.stage == "waiting"]
        for entry in waiting:
            entry.behind = True
        for entry in waiting:
            if entry.stage != "waiting" or self.get(entry.id) is not entry:
                continue
            try:
                await self.submit(entry)
            except Exception:
                # A fault with one must not keep the others behind.
                entry.try_after = now() + RETRY
                log.exception("a request is asked for again later", request=str(entry.id))

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

    # Asking

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
            entry.trouble = entry.unasked = told(error)
            entry.try_after = now() + RETRY
            return False
        entry.behind = False
        if entry.trouble is entry.unasked:
            entry.trouble = None
        await self.note(entry, ticket)
        return True

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

    async def _give_up(self, entry: Entry) -> None:
        """Have a request's ticket taken away, also where it has yet to take over another's."""
        for request in (entry.id, *entry.grant.earlier):
            await self.finish(Ticket(request, TicketState.GONE))

    # What it says

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
        await self._its_turn(entry)

    async def _its_turn(self, entry: Entry) -> None:
        """Have the platform start an admitted request, and write until when it is kept."""
        assert entry.hold_until is not None  # noqa: S101 - an admitted one has it; for mypy
        await self._store.admitted(entry.id, entry.hold_until)
        killpoints.reach("request.admitted")
        self.admitted(entry)

    def over(self, grant: Grant) -> None:
        """Forget how often a request's turn was in vain, since it runs or has left."""
        if grant.earlier:
            self._in_vain.pop(grant.earlier[0], None)

    def begun(self, entry: Entry) -> None:
        """Forget a request that starts: it is a session's from now on."""
        self._drop(entry)
