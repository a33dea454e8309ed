"""Ending somebody's session from a request, without making a browser wait for a slow one."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

import structlog

log = structlog.get_logger(__name__)

REASON: Final = "admin"
"""The end's code, as in the lease journal."""


class Outcome(StrEnum):
    """What came of it, by the time the answer is sent."""

    ENDED = "ended"
    ENDING = "ending"
    """It was told to end and has not yet."""
    GONE = "gone"
    """There is no such session, or not any more."""


class Ends(Protocol):
    """The part of the service that is needed."""

    def holds(self, session_id: UUID) -> bool:
        """Whether a session starts or runs."""
        ...

    async def end(self, session_id: UUID, reason: str, message: str = "") -> None:
        """End one."""
        ...


_under_way: set[asyncio.Task[None]] = set()


async def end_session(
    service: Ends, session_id: UUID, message: str, *, by: str, patience: float = 8.0
) -> Outcome:
    """End a session; after ``patience`` seconds it goes on in the background.

    Args:
        service: The platform's.
        session_id: Which one.
        message: What its user reads.
        by: The admin's account or service name, for the log.
        patience: Seconds to wait.

    Raises:
        ArcetriError: It could not be ended, and that was known in time.
    """
    if not service.holds(session_id):
        return Outcome.GONE
    log.info("session ended by an admin", session=str(session_id), by=by)
    task = asyncio.create_task(service.end(session_id, REASON, message))
    done, _ = await asyncio.wait({task}, timeout=patience)
    if not done:
        _under_way.add(task)
        task.add_done_callback(_finished)
        return Outcome.ENDING
    task.result()
    return Outcome.ENDED


def _finished(task: asyncio.Task[None]) -> None:
    _under_way.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("session could not be ended", why=str(error))
