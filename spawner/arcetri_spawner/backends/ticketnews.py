"""Tells whoever follows a queue of each ticket that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from arcetri_spawner.backends.base import Ticket


class TicketNews:
    """Those who follow one queue; each hears of every change, in its order."""

    def __init__(self) -> None:
        self._followers: set[asyncio.Queue[Ticket]] = set()

    def tell(self, ticket: Ticket) -> None:
        """A ticket is as given now."""
        for changes in self._followers:
            changes.put_nowait(ticket)

    @contextmanager
    def follow(self, tickets: Iterable[Ticket]) -> Iterator[asyncio.Queue[Ticket]]:
        """Have the tickets as they are, and then each as it changes, until the block ends."""
        changes: asyncio.Queue[Ticket] = asyncio.Queue()
        for ticket in tickets:
            changes.put_nowait(ticket)
        self._followers.add(changes)
        try:
            yield changes
        finally:
            self._followers.discard(changes)
