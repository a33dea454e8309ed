"""Tells whoever watches a backend's inventory of each change, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from arcetri_spawner.changes import Changes
from arcetri_spawner.policy.model import Inventory


class InventoryNews:
    """Wakes those who watch; may be made before there is an event loop."""

    def __init__(self, current: Callable[[], Inventory]) -> None:
        """Watch what ``current`` says."""
        self._current = current
        self._changes = Changes()

    def changed(self, *_: object) -> None:
        """Something may be another now; whatever is given besides is of no interest."""
        self._changes.tell()

    async def watch(self) -> AsyncIterator[Inventory]:
        """What there is, at once and then at every change, for ever."""
        told: Inventory | None = None
        while True:
            change = self._changes.coming()
            now = self._current()
            if told is None or replace(now, as_of=told.as_of) != told:
                told = now
                yield now
            await change.wait()
