"""What there is: requests and sessions that wait, start, run, or may be running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from arcetri_spawner.backends.base import Away, Backend, Event, Exited, Session, Unknown
from arcetri_spawner.changes import Changes
from arcetri_spawner.live import LiveRow
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.recovery import Recovery
from arcetri_spawner.running import RunningSessions
from arcetri_spawner.starting import Server, Starts
from arcetri_spawner.waiting.room import WaitingRoom
from arcetri_spawner.waiting.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from arcetri_spawner.store import Store
    from arcetri_spawner.store.records import Standing


class Lookups:
    """Finds what there is over the parts that ``SessionService`` wires; it changes nothing."""

    waiting: WaitingRoom
    unopened: Unopened
    _store: Store
    _backend: Backend
    _running: RunningSessions
    _starts: Starts
    _recovery: Recovery
    _changes: Changes
    _recovered: asyncio.Event
    _clock: Callable[[], datetime]

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

    async def recovered(self) -> None:
        """Return when it is known what ran and who waited before the hub was restarted."""
        await self._recovered.wait()

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
                kept=(waits := self.waiting.get(row.id)) is not None and waits.is_kept,
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

    def ends(self, session_id: UUID) -> bool:
        """Whether a session was promised an end, and has not ended yet."""
        return self._running.ends(session_id) or self._recovery.ends(session_id)

    def stops(self, username: str, server_name: str) -> bool:
        """Whether what a server has was promised an end, and has not ended yet."""
        key = (username, server_name)
        session_id = self._recovery.of(*key) or self._of(key)
        return session_id is not None and self.ends(session_id)

    async def ended(self, session_id: UUID) -> None:
        """Return when the session has ended and is recorded so; at once for one not live."""
        await self._running.ended(session_id)
