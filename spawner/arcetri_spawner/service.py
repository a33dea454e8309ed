"""The way of a session, strung together in one place: choice, grant, request, ticket, session, end.

Nothing else starts or ends a session. Forms, links and REST handlers come before ``start``; the
JupyterHub spawner is a thin adapter over it; the reaper and the admins' page end sessions through
``end``. Whatever fails or is cancelled on the way leaves no lease, no process and no live request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from arcetri_spawner.backends.base import (
    Away,
    Backend,
    Event,
    Exited,
    Launch,
    Queue,
    Session,
    Unknown,
)
from arcetri_spawner.changes import Changes
from arcetri_spawner.chores import Chores
from arcetri_spawner.ending import Ends
from arcetri_spawner.errors import Busy, Denied, InDoubt, StoreError
from arcetri_spawner.gate import Gate
from arcetri_spawner.live import LiveRow, ServiceObserver, Silent, outcome_of
from arcetri_spawner.policy.model import Grant, Identity, Offers
from arcetri_spawner.recovery import Recovery
from arcetri_spawner.running import RunningSessions
from arcetri_spawner.starting import Server, Starts
from arcetri_spawner.store.records import BEFORE_START
from arcetri_spawner.waiting.reconciler import Reconciler
from arcetri_spawner.waiting.room import WaitingRoom
from arcetri_spawner.waiting.unopened import Unopened
from arcetri_spawner.waiting.wanted import Demands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.identity import IdentitySource
    from arcetri_spawner.store import Store
    from arcetri_spawner.store.records import Standing
    from arcetri_spawner.waiting.model import Asked

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
        gate = Gate(catalogs, store, backend, identities, clock)
        watched: dict[str, Any] = {
            "store": store,
            "queue": queue,
            "gate": gate,
            "observer": observer or Silent(),
        }
        self.waiting = WaitingRoom(catalogs=catalogs, clock=clock, **watched)
        """Who has asked and not started yet."""
        self.demands = Demands(lambda: catalogs.current.catalog, clock)
        """What running sessions hold and somebody else wants back."""
        self.reconciler = Reconciler(
            self.waiting,
            runs=self._has,
            holding=self._holding,
            answers=lambda session_id: session_id in self._running,
            demands=self.demands,
            clock=clock,
            **watched,
        )
        """What moves them on."""
        self.unopened = Unopened(store, catalogs, self.end, clock)
        """What started by itself, and nobody has opened yet."""
        self._gate = gate
        self._store = store
        self._backend = backend
        self._observer = observer or Silent()
        self._clock = clock
        self._recovered = asyncio.Event()
        self._chores = Chores()
        self._changes = Changes()
        """Told when a start was recorded or is over, or a doubt is."""
        ends = Ends(store, queue, self.waiting.go_back)
        self._running = RunningSessions(store, backend, ends, self.demands)
        self._starts = Starts(
            backend=backend,
            waiting=self.waiting,
            running=self._running,
            unopened=self.unopened,
            ends=ends,
            changes=self._changes,
            **watched,
        )
        self._recovery = Recovery(
            store,
            queue,
            backend,
            keep=self._running.keep,
            unopened=self.unopened,
            ends=ends,
            changed=self._changes.tell,
        )

    async def offers(self, identity: Identity, server_name: str = "") -> Offers:
        """Every flavour this person's groups grant, and why one would not start now.

        Where the provider says nothing of them, it is of the groups that it named last.
        """
        return await self._gate.offers(identity.as_before(), server_name)

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
            self._observer.request_decided(outcome_of(error), error.code)
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
        return await self._starts.start(username, server_name, raw, launch)

    async def cancelling(self, username: str, server_name: str, message: str = "") -> None:
        """Note that somebody wants a start undone, just before its task is cancelled.

        Without this a cancelled task is one that JupyterHub gave up or a closing hub interrupted:
        a failure. Where nothing starts, nothing is noted. It is written, too: a hub that is
        restarted before the start is undone undoes it then.

        Args:
            username: Whose start.
            server_name: Of which server.
            message: What its user reads, where it was not the user who cancelled it.
        """
        key = (username, server_name)
        if self._starts.starts(key) or self.in_doubt(*key):
            self._starts.cancelling(key, message)
            await self._promise(key, "cancelled", message)

    async def _promise(self, key: Server, reason: str, message: str) -> None:
        """Write what a server has an end, though it cannot be brought yet."""
        session_id = self._recovery.of(*key) or self._starts.of(key)
        if session_id is None:
            return
        self._recovery.promise(session_id, reason, message)
        try:
            await self._store.announce(session_id, reason, message)
        except StoreError as error:
            log.warning("a stop is not written", session=str(session_id), why=error.code)

    async def end_server(self, username: str, server_name: str, reason: str) -> None:
        """End whatever a server has; wait where it cannot be told whether it has anything.

        A start that goes on after a restart, and that somebody cancels, ends as any cancelled one.

        Raises:
            BackendError: It could not be ended, and runs on as if nobody had asked.
        """
        await self._recovered.wait()
        key = (username, server_name)
        cancelled = self._starts.cancelled(key)
        why = (reason, "") if cancelled is None else ("cancelled", cancelled)
        while (session_id := self._recovery.of(*key) or self._of(key)) is not None:
            try:
                await self.end(session_id, *why)
                break
            except InDoubt:
                changed = self._changes.coming()
                await self._promise(key, *why)
                await changed.wait()
        self._starts.forget_cancel(key)

    def stop_unattended(self, username: str, server_name: str) -> asyncio.Event | None:
        """Have ended, in the background, what a server has of which JupyterHub knows nothing.

        Returns:
            Set when that is over, whatever came of it; None where the server has nothing.
        """
        key = (username, server_name)
        known = self._recovered.is_set()
        if known and (self._recovery.of(*key) or self._of(key)) is None:
            return None
        over = asyncio.Event()
        self._chores.start(self._stop_unattended(key, over))
        return over

    async def _stop_unattended(self, key: Server, over: asyncio.Event) -> None:
        log.info("stopping what JupyterHub has no server for", user=key[0], server=key[1])
        try:
            await self.end_server(*key, "stopped")
        finally:
            over.set()

    def stops(self, username: str, server_name: str) -> bool:
        """Whether what a server has was promised an end, and has not ended yet."""
        key = (username, server_name)
        session_id = self._recovery.of(*key) or self._of(key)
        return session_id is not None and self.ends(session_id)

    def ends(self, session_id: UUID) -> bool:
        """Whether a session was promised an end, and has not ended yet."""
        return self._running.ends(session_id) or self._recovery.ends(session_id)

    async def ended(self, session_id: UUID) -> None:
        """Return when the session has ended and is recorded so; at once for one not live."""
        await self._running.ended(session_id)

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
        await self._starts.settled(session_id)
        await self._running.end(session_id, reason, message)

    def holds(self, session_id: UUID) -> bool:
        """Whether a session waits, starts, runs, or may be running for all that is known."""
        return self._has(session_id) or self.waiting.get(session_id) is not None

    def _has(self, session_id: UUID) -> bool:
        return (
            session_id in self._running
            or session_id in self._starts
            or self._recovery.holds(session_id)
        )

    def _holding(self) -> Mapping[UUID, Grant]:
        """What starts or runs, and must hold what it was given."""
        parts = (self._recovery, self._starts, self._running)
        return {key: grant for part in parts for key, grant in part.holding().items()}

    def _of(self, key: Server) -> UUID | None:
        """What a server has that starts or runs."""
        return self._starts.of(key) or self._running.of(*key)

    def request_of(self, username: str, server_name: str) -> UUID | None:
        """The request of what a server has that waits, starts or runs; None where it has none."""
        key = (username, server_name)
        return self._recovery.of(*key) or self._of(key) or self.waiting.request_of(*key)

    async def find(self, username: str, server_name: str) -> Session | Unknown | None:
        """The live session of a server, also after the hub was restarted.

        Returns:
            None when there is none; Unknown while it cannot be told whether there is.
        """
        await self._recovered.wait()
        doubt = self._recovery.doubt(username, server_name)
        if doubt is not None:
            return doubt
        session_id = self._of((username, server_name))
        return self._running.get(session_id) if session_id else None

    async def find_surely(self, username: str, server_name: str) -> Session | None:
        """As ``find``, but waits while it cannot be told."""
        while isinstance(found := await self.find(username, server_name), Unknown):
            await self._changes.next()
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
        return await self._running.poll(session_id)

    async def progress(self, username: str, server_name: str) -> AsyncIterator[Event]:
        """The steps of the start that runs for a server; none when none does."""
        key = (username, server_name)
        if self._starts.starts(key) and self._of(key) is None:
            yield Event(self._clock(), 5, "Asking the identity provider what you may use.")
        await self._starts.handed_over(key)
        session_id = self._of(key)
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
                session=self._running.get(row.id),
                asked=row.asked,
                open_by=self.unopened.until(row.id),
                away=self._running.away(row.id),
                ending=bool(row.reason) or self.ends(row.id),
            )
            for row in await self._store.live_requests()
        ]
        return sorted(rows, key=lambda row: row.asked)

    def follower(self, request_id: UUID) -> UUID | None:
        """The live request that has an ended one's place, if there is one; from memory."""
        grants = [waits.grant for waits in self.waiting.entries()]
        grants += [grant for grant, _ in self._running.all().values()]
        return next((one.request_id for one in grants if request_id in one.earlier), None)

    async def wish(self, session_id: UUID, *, returns: bool) -> None:
        """Say whether a session's user wants it back in line, should it be ended for others.

        Raises:
            StoreError: It could not be written; what held before holds.
        """
        if session_id in self._running:
            await self._store.wish(session_id, returns=returns)
            self.demands.wish(session_id, returns=returns)

    def away_of(self, session_id: UUID) -> Away | None:
        """What to say of what a session runs on, while that gives no answer."""
        return self._running.away(session_id)

    def away(self, username: str) -> dict[str, Away]:
        """What runs of a person on what gives no answer: what is known of it, by server name."""
        return {
            grant.server_name: away
            for grant, session in self._running.all().values()
            if grant.username == username and (away := self._running.away(session.id)) is not None
        }

    def running(self) -> Mapping[UUID, tuple[Grant, Session]]:
        """The started sessions, from memory."""
        return self._running.all()

    async def recover(self) -> None:
        """Find again what lived before the hub was restarted; once, before anything else.

        The backend has made its own records agree before this is called.
        """
        rows = await self._store.live_requests()
        await self.waiting.recover(row for row in rows if row.state in BEFORE_START)
        self.unopened.recover(rows)
        self.demands.recover(rows)
        await self._recovery.run(
            row for row in rows if row.state not in BEFORE_START and row.id not in self._running
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
            await asyncio.gather(*(self.end(key, "shutdown") for key in self._running.all()))
        await self.reconciler.close()
        await self.waiting.close()
        tasks = [
            *self._running.tasks(),
            *self._starts.tasks(),
            *self._recovery.tasks(),
            *self._chores.running(),
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
