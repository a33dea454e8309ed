"""Who holds which device: the store's leases, and the copy of them that pages are served from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from arcetri_spawner.store import Store


class Leases:
    """A copy of the store's leases in memory, which follows every change."""

    def __init__(self, store: Store, changed: Callable[[], None]) -> None:
        self._store = store
        self._changed = changed
        self.held: Mapping[str, UUID] = {}
        """Request ids by device uuid, as last read."""

    async def free(self, request_id: UUID) -> None:
        """Give back what a request holds, if anything."""
        await self._store.free(request_id)
        await self.refresh()

    async def refresh(self) -> None:
        """Read the leases again."""
        held = await self._store.leases()
        if held != self.held:
            self.held = held
            self._changed()
