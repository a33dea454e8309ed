"""The way of a session, strung together in one place: choice, grant, request, ticket, session, end.

Nothing else starts or ends a session. Forms, links and REST handlers come before ``start``; the
JupyterHub spawner is a thin adapter over it; the reaper and the admins' page end sessions through
``end``. Whatever fails or is cancelled on the way leaves no lease, no process and no live request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
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
from arcetri_spawner.chores import Chores
from arcetri_spawner.ending import Ends
from arcetri_spawner.errors import ArcetriError, Busy, Denied, InDoubt
from arcetri_spawner.gate import Gate
from arcetri_spawner.live import Live, LiveRow, ServiceObserver, Silent, choice_of
from arcetri_spawner.policy.model import Grant, Identity, Offers, Reason
from arcetri_spawner.recovery import Recovery
from arcetri_spawner.store.records import BEFORE_START
from arcetri_spawner.waiting.reconciler import Reconciler
from arcetri_spawner.waiting.room import WaitingRoom
from arcetri_spawner.waiting.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.identity import IdentitySource
    from arcetri_spawner.store import Store
    from arcetri_spawner.store.records import Standing
    from arcetri_spawner.waiting.model import Asked, Entry

log = structlog.get_logger(__name__)


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
        self._gate = Gate(catalogs, store, backend, identities, clock)
        watched: dict[str, Any] = {
            "store": store,
            "queue": queue,
            "gate": self._gate,
            "observer": observer or Silent(),
            "clock": clock,
        }
        self.waiting = WaitingRoom(catalogs=catalogs, **watched)
        """Who has asked and not started yet."""
        self.reconciler = Reconciler(self.waiting, runs=self._has, **watched)
        """What moves them on."""
        self.unopened = Unopened(store, self.end, clock)
        """What started by itself, and nobody has opened yet."""
        self._catalogs = catalogs
        self._store = store
        self._queue = queue
        self._ends = Ends(store, queue)
        self._backend = backend
        self._observer = observer or Silent()
        self._clock = clock
        self._live: dict[UUID, Live] = {}
        self._by_server: dict[tuple[str, str], UUID] = {}
        self._starting: set[tuple[str, str]] = set()
        self._handed: set[tuple[str, str]] = set()
        """Of these, the servers whose start the backend has, and tells the steps of."""
        self._cancelled: dict[tuple[str, str], str] = {}
        """Servers whose start is being cancelled, with a message for its user."""
        self._unsettled: set[UUID] = set()
        """Requests whose start is under way."""
        self._recovered = asyncio.Event()
        self._moved = asyncio.Event()
        """Set, and replaced, when a start was recorded or is over, or a doubt is."""
        self._chores = Chores()
        self._recovery = Recovery(
            store,
            queue,
            backend,
            keep=self._keep,
            ends=self._ends,
            changed=self._tell,
        )

    async def offers(self, identity: Identity, server_name: str = "") -> Offers:
        """Every flavour this person's groups grant, and why one would not start now."""
        return await self._gate.offers(identity, server_name)

    async def ask(self, username: str, server_name: str, raw: object) -> Asked:
        """Ask for a session: it is admitted now, or waits in line and starts by itself.

        Whoever is admitted at once is expected to ``start`` it; else the platform does.

        Raises:
            Denied: Policy refuses.
            Busy: It could only wait for ever; nothing is kept.
            StoreError: It could not be recorded.
        """
        await self._recovered.wait()
        try:
            return await self.waiting.ask(username, server_name, raw)
        except (Denied, Busy) as error:
            self._observer.request_decided(_outcome(error), error.code)
            raise

    async def start(self, username: str, server_name: str, raw: object, launch: Launch) -> Session:
        """Decide, from groups asked for just now, and start what is granted.

        What was asked for before and is admitted is what starts; ``raw`` is then not looked at.
        Where nothing was asked for, it is now.

        Raises:
            Denied: Policy refuses.
            Busy: It waits in line, or would have to; nothing was started.
            StoreError: It could not be recorded.
            BackendError: It could not be started; nothing of it remains.
        """
        await self._recovered.wait()
        self._cancelled.pop((username, server_name), None)
        self._starting.add((username, server_name))
        try:
            session = await self._start(username, server_name, raw, launch)
        except ArcetriError as error:
            self._observer.request_decided(_outcome(error), error.code)
            raise
        except BaseException:
            if (username, server_name) in self._cancelled:
                self._observer.request_decided("cancelled", "")
            else:
                self._observer.request_decided("failed", "interrupted")
            raise
        finally:
            # Nothing is awaited after a success: a cancel could come there.
            self._starting.discard((username, server_name))
            self._handed.discard((username, server_name))
            self._cancelled.pop((username, server_name), None)
            self._tell()
        self._observer.request_decided("started", "")
        return session

    async def _start(self, username: str, server_name: str, raw: object, launch: Launch) -> Session:
        waited = self.waiting.take(username, server_name)
        if waited is None:
            grant = await self._gate.decide_anew(username, server_name, raw)
        else:
            grant = await self._decide_again(waited)
        session: Session | None = None
        self._unsettled.add(grant.request_id)
        try:
            if waited is None:
                # Inside, because the store finishes a write that nobody waits for any more.
                await self._store.open_request(grant)
                killpoints.reach("request.opened")
            self._by_server[username, server_name] = grant.request_id
            self._tell()
            # One that has waited has the ticket that was admitted.
            ticket = (waited and waited.ticket) or await self._queue.submit(grant)
            if ticket.state is not TicketState.ADMITTED:
                raise _busy(ticket.reason)
            await self._store.begin(grant)
            killpoints.reach("request.starting")
            if waited is not None:
                self.waiting.begun(waited)
            self._handed.add((username, server_name))
            self._tell()
            session = await self._backend.start(grant, ticket, launch)
            hold = self._hold() if waited and waited.by_itself else None
            await self._store.started(grant.request_id, grant.account_id, choice_of(grant), hold)
            killpoints.reach("request.running")
            await self._queue.ready(ticket)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._backend.closing:
                raise  # The next hub goes on with it.
            # A cancelled start (JupyterHub's timeout, a closing hub) must be undone all the same.
            if waited is not None:
                self.waiting.begun(waited)
            tried = asyncio.Event()
            self._chores.start(self._abandon(grant, session, *self._why(grant, error), tried))
            await tried.wait()
            raise
        finally:
            self._unsettled.discard(grant.request_id)
        self._keep(grant, ticket, session)
        if hold is not None:
            self.unopened.keep(grant, hold)
        log.info("session started", session=str(session.id), flavor=grant.flavor)
        return session

    def _hold(self) -> datetime:
        """Until when a session that starts by itself now is kept for somebody to open it."""
        return self._clock() + self._catalogs.current.catalog.defaults.hold

    async def _decide_again(self, waited: Entry) -> Grant:
        try:
            return await self.waiting.decide(waited)
        except asyncio.CancelledError as error:
            if waited.server in self._cancelled:
                why = self._why(waited.grant, error)
                self._chores.start(self.waiting.leave(waited, *why))
            raise

    def cancelling(self, username: str, server_name: str, message: str = "") -> None:
        """Note that somebody wants a start undone, just before its task is cancelled.

        Without this a cancelled task is one that JupyterHub gave up or a closing hub interrupted:
        a failure. Where nothing starts, nothing is noted.

        Args:
            username: Whose start.
            server_name: Of which server.
            message: What its user reads, where it was not the user who cancelled it.
        """
        key = (username, server_name)
        if key in self._starting or self.in_doubt(*key):
            self._cancelled[key] = message

    def _tell(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

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
        reason: str,
        message: str,
        tried: asyncio.Event,
    ) -> None:
        """Leave nothing of a start that failed; sets ``tried`` after the first attempt."""
        try:
            if session is not None:
                await self._backend.stop(session, timedelta(seconds=1), reason=reason)
            # A lease may have been taken by a submit that nobody saw the answer of.
            ticket = Ticket(grant.request_id, TicketState.GONE)
            await self._ends.record(ticket, reason, message, tried)
        finally:
            tried.set()
            if self._by_server.get((grant.username, grant.server_name)) == grant.request_id:
                del self._by_server[grant.username, grant.server_name]

    def _keep(self, grant: Grant, ticket: Ticket, session: Session) -> None:
        live = Live(grant, ticket, session)
        self._live[session.id] = live
        self._by_server[grant.username, grant.server_name] = session.id
        live.watcher = asyncio.create_task(self._watch(live), name=f"session {session.id}")

    async def _watch(self, live: Live) -> None:
        """Free what the session held as soon as it is gone, whoever or whatever ended it."""
        exited = await self._backend.wait(live.session)
        live.exited = exited
        reason = live.end_reason or exited.reason
        await self._ends.record(live.ticket, reason, live.end_message)
        killpoints.reach("request.ended")
        self._live.pop(live.session.id, None)
        key = (live.grant.username, live.grant.server_name)
        if self._by_server.get(key) == live.session.id:
            del self._by_server[key]
        log.info("session ended", session=str(live.session.id), reason=reason)
        live.ended.set()

    async def end_server(self, username: str, server_name: str, reason: str) -> None:
        """End whatever a server has; wait where it cannot be told whether it has anything.

        A start that goes on after a restart, and that somebody cancels, ends as any cancelled one.

        Raises:
            BackendError: It could not be ended, and runs on as if nobody had asked.
        """
        await self._recovered.wait()
        key = (username, server_name)
        cancelled = self._cancelled.get(key)
        why = (reason, "") if cancelled is None else ("cancelled", cancelled)
        while (session_id := self._recovery.of(*key) or self._by_server.get(key)) is not None:
            try:
                await self.end(session_id, *why)
                break
            except InDoubt:
                await self._moved.wait()
        self._cancelled.pop(key, None)

    async def ended(self, session_id: UUID) -> None:
        """Return when the session has ended and is recorded so; at once for one not live."""
        live = self._live.get(session_id)
        if live is not None:
            await live.ended.wait()

    async def end(self, session_id: UUID, reason: str, message: str = "") -> None:
        """End a session or a request; return when everything it held is free.

        Args:
            session_id: Which one. One that has ended already is left as it is; one that waits
                leaves the queue; one that still starts is ended when that is over, and at once
                where the hub was restarted meanwhile.
            reason: A stable code, as in the lease journal.
            message: Shown to the user on their next page.

        Raises:
            StoreError: The message could not be written; the session runs on.
            InDoubt: It is not known whether it runs; nothing was done.
            BackendError: It could not be ended, and runs on as if nobody had asked.
        """
        if waits := self.waiting.get(session_id):
            await self.waiting.leave(waits, reason, message)
            return
        await self._recovery.end(session_id, reason, message)
        while session_id in self._unsettled:
            await self._moved.wait()
        live = self._live.get(session_id)
        if live is None:
            return
        if message:
            # Written before the end, so that a hub killed meanwhile still tells the user.
            await self._store.announce(session_id, reason, message)
            killpoints.reach("end.told")
        live.end_reason, live.end_message = reason, message
        try:
            await self._backend.stop(live.session, live.grant.stop, reason=reason)
        except ArcetriError:
            # Its own end, later, must not be told as this one.
            live.end_reason = live.end_message = ""
            if message:
                await self._store.announce(session_id, "", "")
            raise
        await self.ended(session_id)

    def holds(self, session_id: UUID) -> bool:
        """Whether a session waits, starts, runs, or may be running for all that is known."""
        return self._has(session_id) or self.waiting.get(session_id) is not None

    def _has(self, session_id: UUID) -> bool:
        return (
            session_id in self._live
            or session_id in self._unsettled
            or self._recovery.holds(session_id)
        )

    async def find(self, username: str, server_name: str) -> Session | Unknown | None:
        """The live session of a server, also after the hub was restarted.

        Returns:
            None when there is none; Unknown while it cannot be told whether there is.
        """
        await self._recovered.wait()
        doubt = self._recovery.doubt(username, server_name)
        if doubt is not None:
            return doubt
        session_id = self._by_server.get((username, server_name))
        live = self._live.get(session_id) if session_id else None
        return live.session if live else None

    async def find_surely(self, username: str, server_name: str) -> Session | None:
        """As ``find``, but waits while it cannot be told."""
        while isinstance(found := await self.find(username, server_name), Unknown):
            await self._moved.wait()
        return found

    def in_doubt(self, username: str, server_name: str) -> bool:
        """Whether the platform was restarted and it is not known yet what a server has."""
        known = self._recovered.is_set()
        return not known or self._recovery.doubt(username, server_name) is not None

    async def outcome(self, username: str, server_name: str) -> None:
        """Return when it is known what became of a server's session after a restart.

        Raises:
            BackendError: Its start went on, and failed.
        """
        await self._recovered.wait()
        await self._recovery.outcome(username, server_name)

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
        # Before that the backend knows of no start, and would tell of none.
        while key in self._starting and key not in self._handed:
            await self._moved.wait()
        session_id = self._by_server.get(key)
        steps = (
            self._recovery.progress(username, server_name)
            if session_id is None
            else self._backend.progress(session_id)
        )
        async for event in steps:
            yield event

    async def standing(self, request_id: UUID) -> Standing | None:
        """Where a request is, live or ended; None where there is none."""
        return await self._store.standing(request_id)

    async def live(self) -> list[LiveRow]:
        """Everything that waits, starts or runs, oldest first."""
        rows = [
            LiveRow(
                grant=row.grant,
                state=row.state,
                session=live.session if (live := self._live.get(row.id)) else None,
                asked=row.asked,
                open_by=self.unopened.until(row.id),
            )
            for row in await self._store.live_requests()
        ]
        return sorted(rows, key=lambda row: row.asked)

    def running(self) -> Mapping[UUID, tuple[Grant, Session]]:
        """The started sessions, from memory."""
        return {key: (live.grant, live.session) for key, live in self._live.items()}

    async def recover(self) -> None:
        """Find again what lived before the hub was restarted; once, before anything else.

        The backend has made its own records agree before this is called.
        """
        rows = await self._store.live_requests()
        await self.waiting.recover(row for row in rows if row.state in BEFORE_START)
        self.unopened.recover(rows)
        await self._recovery.run(
            row for row in rows if row.state not in BEFORE_START and row.id not in self._live
        )
        self._recovered.set()

    async def recovered(self) -> None:
        """Return when it is known what ran and who waited before the hub was restarted."""
        await self._recovered.wait()

    async def close(self, *, end_sessions: bool) -> None:
        """Stop watching; with ``end_sessions``, end everything that waits or runs first."""
        if end_sessions:
            for waits in self.waiting.entries():
                await self.waiting.leave(waits, "shutdown")
            await asyncio.gather(*(self.end(key, "shutdown") for key in list(self._live)))
        await self.reconciler.close()
        await self.waiting.close()
        tasks = [live.watcher for live in self._live.values() if live.watcher]
        tasks += [*self._chores.running(), *self._recovery.tasks()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _busy(reason: Reason | None) -> Busy:
    if reason is None:
        return Busy("This flavour is busy.", remedy="Choose another one, or try again later.")
    return Busy(reason.sentence, code=reason.code, remedy=reason.remedy)


def _outcome(error: ArcetriError) -> str:
    """What a request that ended so is counted as."""
    if isinstance(error, Denied):
        return "denied"
    return "busy" if isinstance(error, Busy) else "failed"
