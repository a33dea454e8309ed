"""A queue without Kueue: first in, first out, over what the cluster has room for.

A place is a lease in the store on a numbered slot of the flavour, so that limits, quotas and the
last free device are counted in one transaction, and a restarted hub finds who holds what.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count, islice
from typing import TYPE_CHECKING
from uuid import UUID

from arcetri_spawner.backends.base import Device
from arcetri_spawner.backends.leasequeue import LeaseQueue
from arcetri_spawner.policy.model import Grant, Reason, ReasonKind

if TYPE_CHECKING:
    from arcetri_spawner.backends.kubernetes.backend import KubernetesBackend
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import Store


class SlotQueue(LeaseQueue):
    """Admits to a slot where the cluster's nodes have room for the flavour and the size."""

    def __init__(self, backend: KubernetesBackend, store: Store, catalogs: CatalogHolder) -> None:
        super().__init__(store, catalogs, backend.current_inventory, backend.inventory)
        self._availability = backend.availability

    def _free(self, grant: Grant, held: Mapping[str, UUID]) -> list[Device]:
        """As many free slots as sessions of this flavour and size would start now."""
        # What has a place and no pod yet is not in the cluster's numbers.
        coming = sum(
            not self._availability.is_placed(session)
            for slot, session in held.items()
            if slot.startswith(f"{grant.flavor}#")
        )
        room = self._availability.startable(grant.flavor, grant.size) - coming
        names = (f"{grant.flavor}#{number}" for number in count())
        free = islice((name for name in names if name not in held), max(room, 0))
        return [Device(name, grant.flavor, grant.flavor_title, simulated=False) for name in free]

    async def _leased(self) -> None:
        """The cluster's own numbers follow its pods."""

    def _otherwise(self, grant: Grant) -> Reason:
        return Reason(
            "no_room_for_size",
            ReasonKind.WAIT,
            f"No node has room for a session of the size {grant.size} on {grant.flavor_title}.",
            "It waits in line, and starts by itself; a smaller size may start earlier.",
        )
