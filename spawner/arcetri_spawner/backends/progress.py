"""The steps of a start, told to whoever watches, from the first one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from arcetri_spawner.backends.base import Event
from arcetri_spawner.changes import Changes
from arcetri_spawner.details import kept

KEPT: Final = 60.0
"""Seconds for which the steps of a start that is over can still be read."""


class Progress:
    """What has happened so far in one start; any number may watch it."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._done = False
        self._changes = Changes()

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._done

    def tell(self, percent: int, message: str, details: str = "", *, last: bool = False) -> None:
        """Add a step, unless it was the last one; the percentage never goes back."""
        if self._done:
            return
        if self._events:
            if self._events[-1].message == message and not last:
                return
            percent = max(percent, self._events[-1].percent)
        self._events.append(Event(datetime.now(UTC), percent, message, kept(details)))
        self._done = last
        self._changes.tell()

    def finish(self) -> None:
        """Nothing more will come."""
        self._done = True
        self._changes.tell()

    async def watch(self) -> AsyncIterator[Event]:
        """Every step so far, and each further one until the start is over."""
        told = 0
        while True:
            for event in self._events[told:]:
                told += 1
                yield event
            if self._done and told == len(self._events):
                return
            if told == len(self._events):
                await self._changes.next()


class ProgressRegistry:
    """The steps of every start of a backend, by session."""

    def __init__(self) -> None:
        self._starts: dict[UUID, Progress] = {}

    def begin(self, session_id: UUID) -> Progress:
        """Let the steps of a start be told; who watches it already goes on doing so."""
        progress = self._starts.get(session_id)
        if progress is None or progress.done:
            progress = self._starts[session_id] = Progress()
        return progress

    def over(self, session_id: UUID) -> None:
        """Nothing more will come of a start; it can still be read for a while."""
        progress = self._starts[session_id]
        progress.finish()
        asyncio.get_running_loop().call_later(KEPT, self._forget, session_id, progress)

    def _forget(self, session_id: UUID, progress: Progress) -> None:
        if self._starts.get(session_id) is progress:
            del self._starts[session_id]

    async def watch(self, session_id: UUID) -> AsyncIterator[Event]:
        """The steps of a start, from its first one, until it is over; none where none is known."""
        progress = self._starts.get(session_id)
        if progress is not None:
            async for event in progress.watch():
                yield event
