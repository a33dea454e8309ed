"""The end of a request: what it held is free, and why it ended is written, whatever is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Queue, Ticket
from arcetri_spawner.errors import ArcetriError, BackendError
from arcetri_spawner.returning import successor

if TYPE_CHECKING:
    from arcetri_spawner.policy.model import Grant
    from arcetri_spawner.store import Store

log = structlog.get_logger(__name__)

IN_VAIN: Final = "no_room"
"""How a start failed for which the node had nothing that was free."""

INTERRUPTED: Final = "interrupted"
"""How a start failed that a hub had begun, and that the next one cannot go on with."""

RETRY: Final = 2.0
"""Seconds between two tries to record an end while the database is away."""


class Ends:
    """Ends requests.

    Args:
        store: Where it is written.
        queue: What they hold.
        enter: Has a request stand in line that goes back there, with what was in vain before, if
            anything was; the waiting room's.
    """

    def __init__(
        self, store: Store, queue: Queue, enter: Callable[[Grant, datetime, str], Awaitable[None]]
    ) -> None:
        self._store = store
        self._queue = queue
        self._enter = enter

    def returns(self, grant: Grant, error: BaseException) -> Grant | None:
        """What goes back in line though its start has failed; None where nothing does.

        That the queue had taken a device for free that somebody has is no reason to lose one's
        place, nor is a restart.
        """
        returns = isinstance(error, BackendError) and error.code in (IN_VAIN, INTERRUPTED)
        return grant if returns and self._queue.apart else None

    async def failed(
        self,
        ticket: Ticket,
        grant: Grant,
        why: tuple[str, str, str],
        error: BaseException,
        tried: asyncio.Event | None = None,
    ) -> None:
        """Record that a start has failed, of which nothing is left.

        Args:
            ticket: The request's.
            grant: What it was granted.
            why: Reason, message and details.
            error: What went wrong.
            tried: As for ``record``.
        """
        back = self.returns(grant, error)
        reason, message, details = why
        if back is not None and isinstance(error, ArcetriError):
            message = f"{error.message} Your request is back in line, at its place."
        await self.record(ticket, reason, message, details, tried=tried, back=back)

    async def record(
        self,
        ticket: Ticket,
        reason: str,
        message: str,
        details: str = "",
        *,
        tried: asyncio.Event | None = None,
        back: Grant | None = None,
    ) -> None:
        """Free what a request held and write its end, again and again while the database is away.

        Another try changes nothing of what the one before did.

        Args:
            ticket: The request's.
            reason: A stable code, as in the lease journal.
            message: Shown to its user on their next page.
            details: What was said of it, word for word.
            tried: Set after the first try that failed.
            back: What it was granted, where it goes back to its place in line.
        """
        again = successor(back) if back is not None else None
        while True:
            try:
                if again is not None:
                    await self._go_back(ticket, again, reason, message)
                    return
                await self._queue.finish(ticket)
                await self._store.mark(
                    ticket.request_id, "ended", reason=reason, message=message, details=details
                )
                return
            except ArcetriError as error:
                log.warning("end not recorded yet", session=str(ticket.request_id), why=error.code)
            if tried is not None:
                tried.set()
            await asyncio.sleep(RETRY)

    async def _go_back(self, ticket: Ticket, again: Grant, reason: str, message: str) -> None:
        # Written first: who stands in line for it finds its ticket, also after a restart.
        asked = await self._store.go_back(ticket.request_id, again, reason, message)
        killpoints.reach("request.returned")
        if asked is None:
            await self._queue.finish(ticket)
            return
        # What stands in line takes over the ticket, now or when the queue answers.
        await self._enter(again, asked, message if reason == IN_VAIN else "")
        killpoints.reach("request.back_in_line")
