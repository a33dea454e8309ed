"""The waiting room: every request between being asked and being started, and whose turn it is.

It holds nothing that the store does not: a restarted hub fills it from there. What moves it is the
reconciler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID
from weakref import WeakValueDictionary

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Position, Queue, Ticket, TicketState
from arcetri_spawner.errors import ArcetriError, Busy, Denied, Kept
from arcetri_spawner.gate import Gate
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.model import Grant, Identity, Reason, ReasonKind
from arcetri_spawner.policy.sizes import in_size
from arcetri_spawner.store.waiting import waits_no_more
from arcetri_spawner.waiting.line import Line
from arcetri_spawner.waiting.model import RETRY, Asked, Entry, Estimator, Wait, now
from arcetri_spawner.waiting.why import end_with_sessions, instead_of, offer_of, told, waits_for

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.estimates.model import ExpectedWait
    from arcetri_spawner.live import ServiceObserver
    from arcetri_spawner.store import Store

log = structlog.get_logger(__name__)

CLAIM: Final = 60.0
"""Seconds in which who asked, and was admitted at once, has to have begun the start."""

UNDECIDED: Final = frozenset({"identity_unknown", "not_admitted", "session_limit", "flavor_limit"})
"""Refusals that may not hold in a minute: IAM answers again, somebody who is away logs in again, or
stops another session of theirs. Whose turn has come is kept for a while."""

SILENT: Final = "identity_unknown"
"""The refusal that nobody means: IAM has said nothing."""

LEFT: Final = "left"
"""How a request ended whose user left the queue."""


class WaitingRoom(Line):
    """Takes requests in, exchanges them, hands them to their starts, and tells of them."""

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
        super().__init__(
            store=store, queue=queue, catalogs=catalogs, observer=observer, clock=clock
        )
        self._gate = gate
        self.estimator: Estimator | None = None
        """Says how long one will wait; None where nothing is estimated."""
        self._asking: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._moving: set[UUID] = set()
        """Requests instead of which another one is tried."""

    def keeps_place_of(self, request_id: UUID) -> bool:
        """Whether a request is out while another one is tried, and may come back to its place."""
        return request_id in self._moving and request_id not in self._entries

    # Coming and going

    async def ask(self, username: str, server_name: str, raw: object) -> Asked:
        """Ask for a session; who asks again for the same server is where they were.

        One that is admitted at once is left to the asker to start, for a minute; where IAM says
        nothing, it is kept for ``hold``, and the platform starts it when IAM answers.

        Raises:
            Denied: Policy refuses.
            Busy: It could only wait for ever; nothing is kept.
            StoreError: It could not be recorded.
        """
        # One at a time, so that who asks twice at once is found by the second.
        async with self._alone(username, server_name):
            if known := self.find(username, server_name):
                return Asked(known, starts=False)
            grant, unsure = await self._gate.decide_soon(username, server_name, raw)
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
        starts = entry.stage == "admitted" and unsure is None
        if not starts:
            self.unclaim(entry)
            self._observer.request_decided("queued", "")
        if entry.stage == "admitted" and unsure is not None:
            entry.trouble = told(unsure)
            await self._its_turn(entry)
        return Asked(entry, starts)

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
            Denied: Policy refuses the other one, or IAM says nothing, so that nothing would start
                now; the first keeps its place.
            Busy: The other one would have to wait as well; the first keeps its place.
            Conflict: The first one waits no more.
            StoreError: It could not be recorded.
        """
        # Until it has its place or is back: an ask or another move meanwhile would lose one.
        async with self._alone(*entry.server):
            self._moving.add(entry.id)
            try:
                return await self._move(entry, raw)
            finally:
                self._moving.discard(entry.id)

    async def _move(self, entry: Entry, raw: object) -> Entry:
        username, server_name = entry.server
        self._still_waits(entry)
        decision = await self._gate.decide_soon(username, server_name, raw, instead_of=entry.id)
        if (unsure := decision.unsure) is not None:
            keeps = "Your request keeps its place. Try again when IAM answers."
            raise Denied(unsure.message, code=unsure.code, remedy=keeps, status=unsure.status)
        grant = decision.grant
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

    async def _take_back(self, entry: Entry, instead: Entry) -> None:
        await self._store.take_back(entry.id, instead.id)
        self._drop(instead)
        self._add(entry)
        await self.finish(Ticket(instead.id, TicketState.GONE))
        if not await self.submit(entry):
            # What the queue said of it meanwhile was not heard: it is asked again.
            entry.ticket = None

    def _alone(self, username: str, server_name: str) -> asyncio.Lock:
        """Held by who asks or exchanges for a server; gone when nobody does."""
        return self._asking.setdefault((username, server_name), asyncio.Lock())

    def _claim(self, entry: Entry) -> None:
        entry.claimed_until = now() + CLAIM

    def unclaim(self, entry: Entry) -> None:
        """Who asked will not start it: the platform does, when its turn comes."""
        entry.claimed_until = 0.0

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
            Kept: IAM says nothing any more to who has just asked. The request is kept for a while,
                and the platform starts it.
        """
        try:
            return await self._gate.decide_again(entry.grant)
        except Denied as error:
            if entry.by_itself and error.code in UNDECIDED:
                self.put_back(entry, told(error))
            elif error.code == SILENT:
                self.put_back(entry, why := told(error))
                self.unclaim(entry)
                await self._its_turn(entry)
                raise Kept(why.sentence, code=why.code, remedy=why.remedy) from error
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

    async def deny(self, entry: Entry, error: Denied) -> None:
        """End a request that policy refuses by now."""
        await self.leave(entry, error.code, str(error))

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


def _endless(ticket: Ticket | None) -> Reason | None:
    reason = ticket.reason if ticket else None
    return reason if reason and reason.endless else None


def _cannot_say(sentence: str) -> Reason:
    return Reason("busy", ReasonKind.WAIT, sentence, "Look again in a minute.")
