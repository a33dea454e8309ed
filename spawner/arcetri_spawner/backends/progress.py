"""The steps of a start, told to whoever watches, from the first one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from arcetri_spawner.backends.base import Event


class Progress:
    """What has happened so far in one start; any number may watch it."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._done = False
        self._changed = asyncio.Event()

    def tell(self, percent: int, message: str, details: str = "", *, last: bool = False) -> None:
        """Add a step; the percentage never goes back."""
        if self._done:
            return
        if self._events:
            percent = max(percent, self._events[-1].percent)
        self._events.append(Event(datetime.now(UTC), percent, message, details))
        self._done = last
        self._wake()

    def finish(self) -> None:
        """Nothing more will come."""
        self._done = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self) -> AsyncIterator[Event]:
        """Every step so far, and each further one until the start is over."""
        told = 0
        while True:
            changed = self._changed
            for event in self._events[told:]:
                told += 1
                yield event
            if self._done and told == len(self._events):
                return
            if told == len(self._events):
                await changed.wait()
