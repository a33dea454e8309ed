"""The starts under way: from a decision to a session that runs, or to nothing left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Backend, Launch, Queue, Session, Ticket, TicketState
from arcetri_spawner.changes import Changes
from arcetri_spawner.chores import Chores
from arcetri_spawner.ending import Ends
from arcetri_spawner.errors import ArcetriError, Busy
from arcetri_spawner.gate import Gate
from arcetri_spawner.live import ServiceObserver, choice_of, outcome_of
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.model import Grant, Reason
from arcetri_spawner.running import RunningSessions
from arcetri_spawner.waiting.room import WaitingRoom
from arcetri_spawner.waiting.unopened import Unopened

if TYPE_CHECKING:
    from arcetri_spawner.store import Store
    from arcetri_spawner.waiting.model import Entry

log = structlog.get_logger(__name__)

Server = tuple[str, str]
"""A user's name and a server's."""


class Starts:
    """Starts sessions; what fails or is cancelled on the way leaves nothing."""

    def __init__(
        self,
        *,
        store: Store,
        queue: Queue,
        backend: Backend,
        gate: Gate,
        waiting: WaitingRoom,
        running: RunningSessions,
        unopened: Unopened,
        ends: Ends,
        observer: ServiceObserver,
        changes: Changes,
    ) -> None:
        """Begin with none.

        Args:
            store: The requests.
            queue: Holds their places.
            backend: What runs sessions.
            gate: Decides.
            waiting: Who has asked already.
            running: Takes what has started.
            unopened: Keeps what started by itself, and nobody has opened yet.
            ends: Records the end of a request.
            observer: Told what becomes of requests.
            changes: Told when a start was recorded or is over.
        """
        self._store = store
        self._queue = queue
        self._backend = backend
        self._gate = gate
        self._waiting = waiting
        self._running = running
        self._unopened = unopened
        self._ends = ends
        self._observer = observer
        self._changes = changes
        self._starting: set[Server] = set()
        self._handed: set[Server] = set()
        """Of these, the servers whose start the backend has, and tells the steps of."""
        self._by_server: dict[Server, UUID] = {}
        """The requests that were recorded, until they run or nothing is left of them."""
        self._cancelled: dict[Server, str] = {}
        """Servers whose start is being cancelled, with a message for its user."""
        self._begun: dict[UUID, Grant] = {}
        """What was granted to those that were written to start, until they run or are undone."""
        self._unsettled: set[UUID] = set()
        """Requests whose start is under way."""
        self._chores = Chores()

    # What is known of them

    def __contains__(self, request_id: UUID) -> bool:
        return request_id in self._unsettled

    def holding(self) -> Mapping[UUID, Grant]:
        """Those that start on what they were given."""
        return self._begun

    def starts(self, server: Server) -> bool:
        """Whether a start is under way for a server."""
        return server in self._starting

    def of(self, server: Server) -> UUID | None:
        """The request of a server's start, once it was recorded."""
        return self._by_server.get(server)

    async def settled(self, request_id: UUID) -> None:
        """Return when a request's start is over, if one is under way."""
        while request_id in self._unsettled:
            await self._changes.next()

    async def handed_over(self, server: Server) -> None:
        """Return when the backend has a server's start, or none is under way."""
        # Before that the backend knows of no start, and would tell of none.
        while server in self._starting and server not in self._handed:
            await self._changes.next()

    # Cancelling them

    def cancelling(self, server: Server, message: str) -> None:
        """Note that somebody wants a server's start undone, and what its user reads."""
        self._cancelled[server] = message

    def cancelled(self, server: Server) -> str | None:
        """What is read by the user whose start somebody wants undone; None where nobody does."""
        return self._cancelled.get(server)

    def forget_cancel(self, server: Server) -> None:
        """Nothing starts for the server any more that could be cancelled."""
        self._cancelled.pop(server, None)

    # The way of one

    async def start(self, username: str, server_name: str, raw: object, launch: Launch) -> Session:
        """Decide, from groups asked for just now, and start what is granted.

        Raises:
            Denied: Policy refuses.
            Busy: It waits in line, or would have to; nothing was started.
            StoreError: It could not be recorded.
            BackendError: It could not be started; nothing of it remains.
        """
        server = (username, server_name)
        self._cancelled.pop(server, None)
        self._starting.add(server)
        try:
            session = await self._start(server, raw, launch)
        except ArcetriError as error:
            self._observer.request_decided(outcome_of(error), error.code)
            raise
        except BaseException:
            if server in self._cancelled:
                self._observer.request_decided("cancelled", "")
            else:
                self._observer.request_decided("failed", "interrupted")
            raise
        finally:
            # Nothing is awaited after a success: a cancel could come there.
            self._starting.discard(server)
            self._handed.discard(server)
            self._cancelled.pop(server, None)
            self._changes.tell()
        self._observer.request_decided("started", "")
        return session

    async def _start(self, server: Server, raw: object, launch: Launch) -> Session:
        waited = self._waiting.take(*server)
        if waited is None:
            grant = await self._gate.decide_anew(*server, raw)
        else:
            grant = await self._decide_again(waited)
        session: Session | None = None
        self._unsettled.add(grant.request_id)
        try:
            if waited is None:
                # Inside, because the store finishes a write that nobody waits for any more.
                await self._store.open_request(grant)
                killpoints.reach("request.opened")
            self._by_server[server] = grant.request_id
            self._changes.tell()
            # One that has waited has the ticket that was admitted.
            ticket = (waited and waited.ticket) or await self._queue.submit(grant)
            if ticket.state is not TicketState.ADMITTED:
                raise _busy(ticket.reason)
            by_itself = waited is not None and waited.by_itself
            await self._store.begin(grant, by_itself=by_itself)
            self._begun[grant.request_id] = grant
            killpoints.reach("request.starting")
            if waited is not None:
                self._waiting.begun(waited)
            self._handed.add(server)
            self._changes.tell()
            session = await self._backend.start(grant, ticket, launch)
            hold = self._unopened.hold() if by_itself else None
            await self._store.started(grant.request_id, grant.account_id, choice_of(grant), hold)
            killpoints.reach("request.running")
            await self._queue.ready(ticket)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._backend.closing:
                raise  # The next hub goes on with it.
            # A cancelled start (JupyterHub's timeout, a closing hub) must be undone all the same.
            if waited is not None:
                self._waiting.begun(waited)
            tried = asyncio.Event()
            details = error.details if isinstance(error, ArcetriError) else ""
            why = (*self._why(grant, error), details)
            self._begun.pop(grant.request_id, None)
            self._chores.start(self._abandon(grant, session, why, error, tried))
            await tried.wait()
            if isinstance(error, ArcetriError) and self._ends.returns(grant, error):
                raise Busy(
                    error.message,
                    code=error.code,
                    remedy="Your request is back in line, at its place, and is tried again.",
                ) from error
            raise
        finally:
            self._unsettled.discard(grant.request_id)
        self._running.keep(grant, ticket, session)
        self._begun.pop(grant.request_id, None)
        self._waiting.over(grant)
        self._forget(grant)
        if hold is not None:
            self._unopened.keep(grant, hold)
        log.info("session started", session=str(session.id), flavor=grant.flavor)
        return session

    async def _decide_again(self, waited: Entry) -> Grant:
        try:
            return await self._waiting.decide(waited)
        except asyncio.CancelledError as error:
            if waited.server in self._cancelled:
                why = self._why(waited.grant, error)
                self._chores.start(self._waiting.leave(waited, *why))
            raise

    def _why(self, grant: Grant, error: BaseException) -> tuple[str, str]:
        """The reason for which a start is undone, and the message that goes with it."""
        if isinstance(error, ArcetriError):
            return error.code, str(error)
        cancelled = self._cancelled.get((grant.username, grant.server_name))
        return ("start_interrupted", "") if cancelled is None else ("cancelled", cancelled)

    async def _abandon(
        self,
        grant: Grant,
        session: Session | None,
        why: tuple[str, str, str],
        error: BaseException,
        tried: asyncio.Event,
    ) -> None:
        """Leave nothing of a start that failed; sets ``tried`` after the first attempt."""
        try:
            if session is not None:
                await self._backend.stop(session, timedelta(seconds=1), reason=why[0])
            # A lease may have been taken by a submit that nobody saw the answer of.
            ticket = Ticket(grant.request_id, TicketState.GONE)
            await self._ends.failed(ticket, grant, why, error, tried)
        finally:
            tried.set()
            self._forget(grant)

    def _forget(self, grant: Grant) -> None:
        server = (grant.username, grant.server_name)
        if self._by_server.get(server) == grant.request_id:
            del self._by_server[server]

    def tasks(self) -> list[asyncio.Task[None]]:
        """What goes on in the background, for who ends it."""
        return self._chores.running()


def _busy(reason: Reason | None) -> Busy:
    if reason is None:
        return Busy("This flavour is busy.", remedy="Choose another one, or try again later.")
    return reasons.busy(reason)
