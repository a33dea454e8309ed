"""The way of a session, strung together in one place: choice, grant, request, ticket, session, end.

Nothing else starts or ends a session. Forms, links and REST handlers come before ``start``; the
JupyterHub spawner is a thin adapter over it; the reaper and the admins' page end sessions through
``end``. Whatever fails or is cancelled on the way leaves no lease, no process and no live request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import UUID, uuid4

import structlog

from arcetri_spawner.backends.base import (
    Backend,
    Event,
    Exited,
    Launch,
    Queue,
    Session,
    Ticket,
    TicketState,
    Unknown,
)
from arcetri_spawner.errors import ArcetriError, BackendError, Busy, Denied
from arcetri_spawner.policy import authorize, offers, parse_options
from arcetri_spawner.policy.model import Grant, Identity, Offers, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.identity import IdentitySource
    from arcetri_spawner.store import RequestRow, Store

log = structlog.get_logger(__name__)


class ServiceObserver(Protocol):
    """Told what happens, for metrics."""

    def request_decided(self, outcome: str, code: str) -> None:
        """``outcome`` is started, denied, busy or failed; ``code`` is empty when it started."""
        ...


class _Silent:
    def request_decided(self, outcome: str, code: str) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A live session as pages show it."""

    grant: Grant
    state: str
    session: Session | None
    asked: datetime

    @property
    def started(self) -> datetime | None:
        """When its process started; None before."""
        return self.session.started if self.session else None

    @property
    def gpu_hours(self) -> float:
        """Share times hours so far."""
        if self.session is None:
            return 0.0
        hours = (datetime.now(UTC) - self.session.started) / timedelta(hours=1)
        return float(self.grant.share) * max(hours, 0.0)


@dataclass(slots=True)
class _Live:
    """What the service keeps in memory of a started session."""

    grant: Grant
    ticket: Ticket
    session: Session
    watcher: asyncio.Task[None] | None = None
    exited: Exited | None = None
    end_reason: str = ""
    end_message: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class SessionService:
    """Starts, ends and recovers sessions over a queue and a backend."""

    def __init__(
        self,
        *,
        catalogs: CatalogHolder,
        store: Store,
        queue: Queue,
        backend: Backend,
        identities: IdentitySource,
        observer: ServiceObserver | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._catalogs = catalogs
        self._store = store
        self._queue = queue
        self._backend = backend
        self._identities = identities
        self._observer = observer or _Silent()
        self._clock = clock
        self._live: dict[UUID, _Live] = {}
        self._by_server: dict[tuple[str, str], UUID] = {}
        self._starting: set[tuple[str, str]] = set()
        self._recovered = asyncio.Event()
        self._moved = asyncio.Condition()
        """Notified when a start was recorded or is over."""
        self._retries: set[asyncio.Task[None]] = set()

    async def offers(self, identity: Identity, server_name: str = "") -> Offers:
        """Every flavour this person's groups grant, and why one would not start now."""
        return offers(
            self._catalogs.current.catalog,
            identity,
            self._backend.current_inventory(),
            await self._store.live_sessions(),
            self._clock(),
            server_name=server_name,
        )

    async def precheck(self, identity: Identity, server_name: str, raw: object) -> None:
        """Refuse early what ``start`` would refuse anyway; writes nothing.

        Raises:
            Denied: Policy refuses.
        """
        try:
            await self._decide(identity, server_name, raw, uuid4())
        except Denied as error:
            self._observer.request_decided("denied", error.code)
            raise

    async def start(self, username: str, server_name: str, raw: object, launch: Launch) -> Session:
        """Decide, from groups asked for just now, and start what is granted.

        Raises:
            Denied: Policy refuses.
            Busy: It would have to wait; nothing was started.
            StoreError: It could not be recorded.
            BackendError: It could not be started; nothing of it remains.
        """
        await self._recovered.wait()
        self._starting.add((username, server_name))
        try:
            session = await self._start(username, server_name, raw, launch)
        except Denied as error:
            self._observer.request_decided("denied", error.code)
            raise
        except Busy as error:
            self._observer.request_decided("busy", error.code)
            raise
        except ArcetriError as error:
            self._observer.request_decided("failed", error.code)
            raise
        except BaseException:
            self._observer.request_decided("failed", "interrupted")
            raise
        finally:
            self._starting.discard((username, server_name))
            await self._tell()
        self._observer.request_decided("started", "")
        return session

    async def _decide(
        self, identity: Identity, server_name: str, raw: object, request_id: UUID
    ) -> Grant:
        return authorize(
            self._catalogs.current,
            identity,
            parse_options(raw),
            self._backend.current_inventory(),
            await self._store.live_sessions(),
            self._clock(),
            request_id=request_id,
            server_name=server_name,
        )

    async def _start(self, username: str, server_name: str, raw: object, launch: Launch) -> Session:
        identity = await self._identities.fresh(username)
        grant = await self._decide(identity, server_name, raw, uuid4())
        await self._store.open_request(grant)
        self._by_server[username, server_name] = grant.request_id
        await self._tell()
        ticket: Ticket | None = None
        session: Session | None = None
        try:
            ticket = await self._queue.submit(grant)
            if ticket.state is not TicketState.ADMITTED:
                raise _busy(ticket.reason)
            await self._store.mark(grant.request_id, "starting")
            session = await self._backend.start(grant, ticket, launch)
            await self._store.mark(grant.request_id, "running")
            await self._queue.ready(ticket)
        except BaseException as error:
            # A cancelled start (JupyterHub's timeout, a closing hub) must be undone all the same.
            await asyncio.shield(
                asyncio.ensure_future(self._abandon(grant, ticket, session, error))
            )
            raise
        self._keep(grant, ticket, session)
        await self._store.remember_choice(
            grant.account_id,
            {
                "group": grant.group,
                "flavor": grant.flavor,
                "environment": grant.environment,
                "size": grant.size,
            },
        )
        log.info("session started", session=str(session.id), flavor=grant.flavor)
        return session

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _abandon(
        self,
        grant: Grant,
        ticket: Ticket | None,
        session: Session | None,
        error: BaseException,
    ) -> None:
        reason = error.code if isinstance(error, ArcetriError) else "start_interrupted"
        message = str(error) if isinstance(error, ArcetriError) else ""
        if session is not None:
            await self._backend.stop(session, timedelta(seconds=1), reason=reason)
        if ticket is not None:
            await self._queue.finish(ticket)
        await self._store.mark(grant.request_id, "ended", reason=reason, message=message)
        if self._by_server.get((grant.username, grant.server_name)) == grant.request_id:
            del self._by_server[grant.username, grant.server_name]

    def _keep(self, grant: Grant, ticket: Ticket, session: Session) -> None:
        live = _Live(grant, ticket, session)
        self._live[session.id] = live
        self._by_server[grant.username, grant.server_name] = session.id
        live.watcher = asyncio.create_task(self._watch(live), name=f"session {session.id}")

    async def _watch(self, live: _Live) -> None:
        """Free what the session held as soon as it is gone, whoever or whatever ended it."""
        exited = await self._backend.wait(live.session)
        live.exited = exited
        reason = live.end_reason or exited.reason
        while True:
            try:
                await self._queue.finish(live.ticket)
                await self._store.mark(
                    live.session.id, "ended", reason=reason, message=live.end_message
                )
                break
            except ArcetriError as error:
                # The process is gone but the database is not there to say so: try until it is.
                log.warning(
                    "session end not recorded yet", session=str(live.session.id), why=error.code
                )
                await asyncio.sleep(2)
        self._live.pop(live.session.id, None)
        key = (live.grant.username, live.grant.server_name)
        if self._by_server.get(key) == live.session.id:
            del self._by_server[key]
        log.info("session ended", session=str(live.session.id), reason=reason)
        live.ended.set()

    async def ended(self, session_id: UUID) -> None:
        """Return when the session has ended and is recorded so; at once for one not live."""
        live = self._live.get(session_id)
        if live is not None:
            await live.ended.wait()

    async def end(self, session_id: UUID, reason: str, message: str = "") -> None:
        """End a session, with a message for its user; return when everything it held is free.

        Args:
            session_id: Which one; one that has ended already is left as it is.
            reason: A stable code, as in the lease journal.
            message: Shown to the user on their next page.
        """
        live = self._live.get(session_id)
        if live is None:
            return
        live.end_reason = reason
        live.end_message = message
        if message:
            # Written before the end, so that a hub killed meanwhile still tells the user.
            await self._store.mark(session_id, "running", reason=reason, message=message)
        await self._backend.stop(live.session, live.grant.stop, reason=reason)
        await self.ended(session_id)

    async def find(self, username: str, server_name: str) -> Session | None:
        """The live session of a server, also after the hub was restarted."""
        await self._recovered.wait()
        session_id = self._by_server.get((username, server_name))
        live = self._live.get(session_id) if session_id else None
        return live.session if live else None

    async def poll(self, session_id: UUID) -> Exited | Unknown | None:
        """None while the session runs."""
        await self._recovered.wait()
        live = self._live.get(session_id)
        if live is None:
            return Exited(0, "ended")
        if live.exited is not None:
            return live.exited
        state = await self._backend.poll(live.session)
        return state if isinstance(state, Exited | Unknown) else None

    async def progress(self, username: str, server_name: str) -> AsyncIterator[Event]:
        """The steps of the start that runs for a server; none when none does."""
        key = (username, server_name)
        if key in self._starting and key not in self._by_server:
            yield Event(self._clock(), 5, "Asking the identity provider what you may use.")
        async with self._moved:
            await self._moved.wait_for(lambda: key in self._by_server or key not in self._starting)
        session_id = self._by_server.get(key)
        if session_id is not None:
            async for event in self._backend.progress(session_id):
                yield event

    async def live(self) -> list[LiveRow]:
        """Everything that waits, starts or runs, oldest first."""
        rows = [
            LiveRow(
                grant=row.grant,
                state=row.state,
                session=live.session if (live := self._live.get(row.id)) else None,
                asked=row.asked,
            )
            for row in await self._store.live_requests()
        ]
        return sorted(rows, key=lambda row: row.asked)

    def running(self) -> Mapping[UUID, tuple[Grant, Session]]:
        """The started sessions, from memory."""
        return {key: (live.grant, live.session) for key, live in self._live.items()}

    async def recover(self) -> None:
        """Find again what ran before the hub was restarted; once, before anything else.

        The backend has made leases and processes agree before this is called. A request that never
        became a session is ended as ``interrupted``: its user asks again with one click.
        """
        for row in await self._store.live_requests():
            await self._recover_one(row)
        self._recovered.set()

    async def _recover_one(self, row: RequestRow) -> None:
        ticket = Ticket(row.id, TicketState.ADMITTED)
        try:
            found = await self._backend.restore(row.id)
        except BackendError as error:
            found = Unknown(str(error))
        if isinstance(found, Session):
            await self._store.mark(row.id, "running")
            self._keep(row.grant, ticket, found)
            return
        if isinstance(found, Unknown):
            log.warning("session could not be asked for", session=str(row.id), why=found.why)
            task = asyncio.create_task(self._recover_later(row))
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)
            return
        await self._queue.finish(ticket)
        await self._store.mark(row.id, "ended", reason=found.reason)

    async def _recover_later(self, row: RequestRow) -> None:
        await asyncio.sleep(5)
        await self._recover_one(row)

    async def close(self, *, end_sessions: bool) -> None:
        """Stop watching; with ``end_sessions``, end every session first."""
        if end_sessions:
            await asyncio.gather(*(self.end(key, "shutdown") for key in list(self._live)))
        watchers = [live.watcher for live in self._live.values() if live.watcher]
        watchers += self._retries
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)


def _busy(reason: Reason | None) -> Busy:
    if reason is None:
        return Busy("This flavour is busy.", remedy="Choose another one, or try again later.")
    return Busy(reason.sentence, code=reason.code, remedy=reason.remedy)
