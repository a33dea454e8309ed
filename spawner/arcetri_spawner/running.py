"""The sessions that run, each watched until it has ended and what it held is free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Backend, Exited, Session, Ticket, Unknown
from arcetri_spawner.ending import Ends
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.policy.model import Grant

if TYPE_CHECKING:
    from arcetri_spawner.store import Store
    from arcetri_spawner.waiting.wanted import Demands

log = structlog.get_logger(__name__)

ENDING: Final = timedelta(seconds=15)
"""Besides its ``stop``, how long a session may take to be seen ended that was asked to end."""


@dataclass(slots=True)
class _Run:
    grant: Grant
    ticket: Ticket
    session: Session
    announced_until: datetime
    """Until when an end that was announced before this hub is what ended it."""
    watcher: asyncio.Task[None] | None = None
    exited: Exited | None = None
    end_reason: str = ""
    end_message: str = ""
    returns: bool = False
    """Whether its request goes back in line when it has ended."""
    announced: str = ""
    """The reason for which a hub before this one was about to end it, and put it back in line."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class RunningSessions:
    """Keeps in memory what has started, and records each end, whoever or whatever brought it."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        ends: Ends,
        demands: Demands,
        clock: Callable[[], datetime],
    ) -> None:
        """Begin with none.

        Args:
            store: Where it is written beforehand how one ends.
            backend: What runs them.
            ends: Records the end of a request.
            demands: What they hold and somebody else wants back.
            clock: Tells the time, aware.
        """
        self._store = store
        self._backend = backend
        self._ends = ends
        self._demands = demands
        self._clock = clock
        self._runs: dict[UUID, _Run] = {}
        self._by_server: dict[tuple[str, str], UUID] = {}

    def keep(self, grant: Grant, ticket: Ticket, session: Session, announced: str = "") -> None:
        """Watch a session that has started, or was found again.

        Args:
            grant: What was granted.
            ticket: What holds its place.
            session: What runs.
            announced: The reason for which a hub before this one was about to end it, and put it
                back in line; empty where none was.
        """
        until = self._clock() + grant.stop + ENDING
        run = _Run(grant, ticket, session, announced_until=until, announced=announced)
        self._runs[session.id] = run
        self._by_server[grant.username, grant.server_name] = session.id
        run.watcher = asyncio.create_task(self._watch(run), name=f"session {session.id}")

    async def _watch(self, run: _Run) -> None:
        """Free what the session held as soon as it is gone, whoever or whatever ended it."""
        exited = await self._backend.wait(run.session)
        run.exited = exited
        reason, returns = run.end_reason or exited.reason, run.returns
        # Of an end that was asked for it is known why.
        details = "" if run.end_reason else exited.details
        if run.announced and not run.end_reason and self._clock() < run.announced_until:
            # A hub before this one had asked it to end, as far as that can be known.
            reason, returns, details = run.announced, True, ""
        back = run.grant if returns else None
        await self._ends.record(run.ticket, reason, run.end_message, details, back=back)
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
        wanted = self._demands.of(run.grant)
        returns = wanted is not None and wanted.back == reason and wanted.returns
        if message:
            # Written before the end, so that a hub killed meanwhile still tells the user.
            stays = True if returns else self._demands.wished(session_id)
            await self._store.announce(session_id, reason, message, returns=stays)
            killpoints.reach("end.told")
        if message or not run.end_reason:
            # JupyterHub stops what it sees end; that says nothing of why it ended.
            run.end_reason, run.end_message, run.returns = reason, message, returns
        try:
            await self._backend.stop(run.session, run.grant.stop, reason=reason)
        except ArcetriError:
            # Its own end, later, must not be told as this one.
            run.end_reason, run.end_message, run.returns = "", "", False
            if message:
                stays = self._demands.wished(session_id)
                await self._store.announce(session_id, "", "", returns=stays)
            raise
        await self.ended(session_id)

    def tasks(self) -> list[asyncio.Task[None]]:
        """What watches them, for who ends that; they run on."""
        return [run.watcher for run in self._runs.values() if run.watcher]
