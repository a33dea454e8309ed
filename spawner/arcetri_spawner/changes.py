"""A change that any number may wait for."""

from __future__ import annotations

import asyncio


class Changes:
    """Wakes those who wait at each change; may be made before there is an event loop."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Something is another now."""
        self._next.set()
        self._next = asyncio.Event()

    async def next(self) -> None:
        """Return at the next change. Between a look and this nothing may be awaited."""
        await self.coming().wait()

    def coming(self) -> asyncio.Event:
        """The next change, for who looks, and awaits something else before waiting for it."""
        return self._next
