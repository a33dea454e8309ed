"""Sessions that started by themselves, until somebody opens them or they are let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

import structlog

from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.policy.model import Grant

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import RequestRow, Store

log = structlog.get_logger(__name__)

LOOK: Final = 5.0
"""Seconds between two looks."""
AFTER_RESTART: Final = timedelta(minutes=2)
"""For how long nothing is let go after a restart: who came while the hub was away is seen first."""

NOT_OPENED: Final = "not_opened"
"""How a session ended that started by itself and that nobody opened."""


class Opened(Protocol):
    """Tells whether somebody has opened a session; the hub does."""

    def __call__(self, username: str, server_name: str, since: datetime) -> bool:
        """Whether anything was seen of a person in the session since it was ready."""
        ...


class End(Protocol):
    """What ends a session; ``SessionService.end`` does."""

    def __call__(self, session_id: UUID, reason: str, message: str = "") -> Awaitable[None]:
        """End it, with a message for its user."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    grant: Grant
    since: datetime
    until: datetime


class Unopened:
    """Keeps what started by itself for ``hold``, and ends what nobody opens."""

    def __init__(
        self, store: Store, catalogs: CatalogHolder, end: End, clock: Callable[[], datetime]
    ) -> None:
        """Begin with nothing.

        Args:
            store: Where it is written that somebody came.
            catalogs: For ``hold``.
            end: Ends one.
            clock: Tells the time, aware.
        """
        self._store = store
        self._catalogs = catalogs
        self._end = end
        self._clock = clock
        self._kept: dict[UUID, _Kept] = {}

    def hold(self) -> datetime:
        """Until when a session that is ready now is kept for somebody to open it."""
        return self._clock() + self._catalogs.current.catalog.defaults.hold

    def keep(self, grant: Grant, until: datetime) -> None:
        """Keep a session that is ready until then."""
        self._kept[grant.request_id] = _Kept(grant, self._clock(), until)

    def recover(self, rows: Iterable[RequestRow]) -> None:
        """Take up again what a hub before this one kept."""
        now = self._clock()
        for row in rows:
            if row.state == "running" and row.hold_until and row.session:
                until = max(row.hold_until, now + AFTER_RESTART)
                self._kept[row.id] = _Kept(row.grant, row.session.started, until)

    def until(self, session_id: UUID) -> datetime | None:
        """Until when a session is kept for somebody to open it; None where that is no matter."""
        kept = self._kept.get(session_id)
        return kept.until if kept else None

    async def run(self, opened: Opened, runs: Callable[[UUID], bool]) -> None:
        """Look again and again, for ever.

        Args:
            opened: Whether somebody has opened one.
            runs: Whether one still runs.
        """
        while True:
            for session_id, kept in list(self._kept.items()):
                try:
                    await self._look(session_id, kept, opened, runs)
                except ArcetriError as error:
                    log.warning("an unopened session waits", why=error.code)
                except Exception:
                    log.exception("it cannot be told whether a session was opened")
            await asyncio.sleep(LOOK)

    async def _look(
        self, session_id: UUID, kept: _Kept, opened: Opened, runs: Callable[[UUID], bool]
    ) -> None:
        grant = kept.grant
        if not runs(session_id):
            self._kept.pop(session_id, None)
        elif opened(grant.username, grant.server_name, kept.since):
            await self._store.hold(session_id, None)
            self._kept.pop(session_id, None)
        elif self._clock() >= kept.until:
            log.info("a session that nobody opened is ended", session=str(session_id))
            await self._end(
                session_id,
                NOT_OPENED,
                "Your session started when it was your turn, and was ended because nobody opened"
                " it. Ask again when you can use it.",
            )
            self._kept.pop(session_id, None)
