"""Who holds which device: the store's leases, and the copy of them that pages are served from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Device
from arcetri_spawner.policy.model import Grant

if TYPE_CHECKING:
    from arcetri_spawner.store import Store


class Leases:
    """Takes and frees leases in the store; the copy in memory follows every change."""

    def __init__(self, store: Store, changed: Callable[[], None]) -> None:
        self._store = store
        self._changed = changed
        self.held: Mapping[str, UUID] = {}
        """Request ids by device uuid, as last read."""

    async def take(self, grant: Grant, devices: Sequence[Device]) -> Device | None:
        """Take the first free one of ``devices``; None when none is, or the quota is used up."""
        quota = (grant.group, grant.quota) if grant.quota is not None else None
        device = await self._store.lease(grant.request_id, grant.flavor, devices, quota=quota)
        killpoints.reach("queue.leased")
        await self.refresh()
        return device

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
