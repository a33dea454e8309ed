"""The queue of one machine: first in, first out, over the leases of its devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from arcetri_spawner.backends.base import Device, Placement
from arcetri_spawner.backends.leasequeue import LeaseQueue
from arcetri_spawner.policy.model import Grant

if TYPE_CHECKING:
    from arcetri_spawner.backends.local.backend import LocalBackend
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import Store


class LocalQueue(LeaseQueue):
    """Admits to a device of the flavour that nobody holds."""

    def __init__(self, backend: LocalBackend, store: Store, catalogs: CatalogHolder) -> None:
        super().__init__(store, catalogs, backend.current_inventory, backend.inventory)
        self._backend = backend

    def _may_have(self, grant: Grant, held: Mapping[str, UUID]) -> bool:
        return bool(self._choose(grant, held))

    def _choose(self, grant: Grant, held: Mapping[str, UUID]) -> list[Device]:
        return [d for d in self._backend.devices_of(grant.flavor) if d.uuid not in held]

    def _placement(self, grant: Grant, device: Device) -> Placement:
        # The place of a CPU-only session is a lease, but no device that anybody could use.
        return Placement(() if grant.flavor_type == "cpu" else (device,))

    async def _leased(self) -> None:
        await self._backend.leases.refresh()
