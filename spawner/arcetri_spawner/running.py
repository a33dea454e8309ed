"""The sessions that run, each watched until it has ended and what it held is free."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Away, Backend, Exited, Session, Ticket, Unknown
from arcetri_spawner.chores import Chores
from arcetri_spawner.ending import Ends
from arcetri_spawner.errors import ArcetriError, StoreError
from arcetri_spawner.policy.model import Grant

if TYPE_CHECKING:
    from arcetri_spawner.store import Store
    from arcetri_spawner.waiting.wanted import Demands

log = structlog.get_logger(__name__)


class PromisedEnd(NamedTuple):
    """An end that somebody wants, and was told will come."""

    reason: str = ""
    """A stable code, as in the lease journal; empty where nobody wants one."""
    message: str = ""
    """Shown to its user on their next page."""
    returns: bool = False
    """Whether its request goes back in line when it has ended."""


NOT_PROMISED: Final = PromisedEnd()


@dataclass(slots=True)
class _Run:
    grant: Grant
    ticket: Ticket
    session: Session
    watcher: asyncio.Task[None] | None = None
    exited: Exited | None = None
    end: PromisedEnd = NOT_PROMISED
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class RunningSessions:
    """Keeps in memory what has started, and records each end, whoever or whatever brought it."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        ends: Ends,
        demands: Demands,
    ) -> None:
        """Begin with none.

        Args:
            store: Where it is written beforehand how one ends.
            backend: What runs them.
            ends: Records the end of a request.
            demands: What they hold and somebody else wants back.
        """
        self._store = store
        self._backend = backend
        self._ends = ends
        self._demands = demands
        self._chores = Chores()
        self._runs: dict[UUID, _Run] = {}
        self._by_server: dict[tuple[str, str], UUID] = {}

    def keep(
        self, grant: Grant, ticket: Ticket, session: Session, promised: PromisedEnd = NOT_PROMISED
    ) -> None:
        """Watch a session that has started, or was found again.

        Args:
            grant: What was granted.
            ticket: What holds its place.
            session: What runs.
            promised: The end that a hub before this one was about to bring; it is seen through.
        """
        run = _Run(grant, ticket, session, end=promised)
        self._runs[session.id] = run
        self._by_server[grant.username, grant.server_name] = session.id
        run.watcher = asyncio.create_task(self._watch(run), name=f"session {session.id}")
        if promised.reason:
            log.info("a stop goes on", session=str(session.id), reason=promised.reason)
            self._chores.start(self._stop_again(run))

    async def _watch(self, run: _Run) -> None:
        """Free what the session held as soon as it is gone, whoever or whatever ended it."""
        exited = await self._backend.wait(run.session)
        run.exited = exited
        reason = run.end.reason or exited.reason
        # Of an end that was asked for it is known why.
        message = run.end.message or exited.message
        details = "" if run.end.reason else exited.details
        back = run.grant if run.end.returns else None
        await self._ends.record(run.ticket, reason, message, details, back=back)
        killpoints.reach("request.ended")
        self._runs.pop(run.session.id, None)
        self._demands.forget(run.session.id)
        key = (run.grant.username, run.grant.server_name)
        if self._by_server.get(key) == run.session.id:
            del self._by_server[key]
        log.info("session ended", session=str(run.session.id), reason=reason)
        run.ended.set()

    def __contains__(self, session_id: UUID) -> bool:
        return session_id in self._runs

    def away(self, session_id: UUID) -> Away | None:
        """What to say of what a session runs on, while that gives no answer."""
        run = self._runs.get(session_id)
        return self._backend.away(run.session) if run is not None and run.exited is None else None

    def all(self) -> Mapping[UUID, tuple[Grant, Session]]:
        """All of them, as they are now."""
        return {key: (run.grant, run.session) for key, run in self._runs.items()}

    def holding(self) -> Mapping[UUID, Grant]:
        """Those that have not ended, with what they were granted."""
        return {key: run.grant for key, run in self._runs.items() if run.exited is None}

    def get(self, session_id: UUID) -> Session | None:
        """One of them; None where it does not run."""
        run = self._runs.get(session_id)
        return run.session if run else None

    def of(self, username: str, server_name: str) -> UUID | None:
        """The session of a server; None where none runs."""
        return self._by_server.get((username, server_name))

    def ends(self, session_id: UUID) -> bool:
        """Whether somebody wants a session ended that has not ended yet."""
        run = self._runs.get(session_id)
        return run is not None and bool(run.end.reason)

    async def poll(self, session_id: UUID) -> Exited | Unknown | None:
        """None while the session runs."""
        run = self._runs.get(session_id)
        if run is None:
            return Exited(0, "ended")
        if run.exited is not None:
            return run.exited
        state = await self._backend.poll(run.session)
        return state if isinstance(state, Exited | Unknown) else None

    async def ended(self, session_id: UUID) -> None:
        """Return when the session has ended and is recorded so; at once for one that is none."""
        run = self._runs.get(session_id)
        if run is not None:
            await run.ended.wait()

    async def end(self, session_id: UUID, reason: str, message: str = "") -> None:
        """End a session; return when everything it held is free. One that has ended is left alone.

        That it ends is written first: whatever becomes of this hub, the next one sees it through.

        Args:
            session_id: Which one.
            reason: A stable code, as in the lease journal.
            message: Shown to the user on their next page.

        Raises:
            StoreError: The message could not be written; the session runs on.
            BackendError: It could not be ended, and runs on as if nobody had asked.
        """
        run = self._runs.get(session_id)
        if run is None:
            return
        if message or not run.end.reason:
            # JupyterHub stops what it sees end; that says nothing of why it ended.
            demand = self._demands.of(run.grant)
            returns = demand is not None and demand.back == reason and demand.returns
            await self._announce(run, PromisedEnd(reason, message, returns))
        await self._stop(run)
        await self.ended(session_id)

    async def _announce(self, run: _Run, promised: PromisedEnd) -> None:
        before, run.end = run.end, promised
        try:
            await self._write(run)
        except StoreError as error:
            if promised.message:
                run.end = before
                raise
            # Who wants it ended must not wait for the database.
            session = str(run.session.id)
            log.warning(
                "a stop is not written: only this hub knows", session=session, why=error.code
            )
        killpoints.reach("end.told")

    async def _stop(self, run: _Run) -> None:
        try:
            await self._backend.stop(run.session, run.grant.stop, reason=run.end.reason)
        except ArcetriError:
            # Its own end, later, must not be told as this one.
            run.end = NOT_PROMISED
            await self._write(run)
            raise

    async def _stop_again(self, run: _Run) -> None:
        try:
            await self._stop(run)
        except ArcetriError as error:
            session = str(run.session.id)
            log.error("a stop that went on has failed: it runs on", session=session, why=str(error))

    async def _write(self, run: _Run) -> None:
        reason, message, returns = run.end
        stays = True if returns else self._demands.wished(run.session.id)
        await self._store.announce(run.session.id, reason, message, returns=stays)

    def tasks(self) -> list[asyncio.Task[None]]:
        """What watches and ends them, for who ends that; they run on."""
        watchers = (run.watcher for run in self._runs.values() if run.watcher)
        return [*watchers, *self._chores.running()]
