"""The end of a request: what it held is free, and why it ended is written, whatever is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from arcetri_spawner.backends.base import Queue, Ticket
from arcetri_spawner.errors import ArcetriError

if TYPE_CHECKING:
    from arcetri_spawner.store import Store

log = structlog.get_logger(__name__)

RETRY: Final = 2.0
"""Seconds between two tries to record an end while the database is away."""


class Ends:
    """Ends requests."""

    def __init__(self, store: Store, queue: Queue) -> None:
        self._store = store
        self._queue = queue

    async def record(
        self, ticket: Ticket, reason: str, message: str, tried: asyncio.Event | None = None
    ) -> None:
        """Free what a request held and write its end, again and again while the database is away.

        Another try changes nothing of what the one before did.

        Args:
            ticket: The request's.
            reason: A stable code, as in the lease journal.
            message: Shown to its user on their next page.
            tried: Set after the first try that failed.
        """
        while True:
            try:
                await self._queue.finish(ticket)
                await self._store.mark(ticket.request_id, "ended", reason=reason, message=message)
                return
            except ArcetriError as error:
                log.warning("end not recorded yet", session=str(ticket.request_id), why=error.code)
            if tried is not None:
                tried.set()
            await asyncio.sleep(RETRY)
