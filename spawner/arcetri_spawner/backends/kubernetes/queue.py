"""A queue without Kueue: first in, first out, over what the cluster has room for.

A place is a lease in the store on a numbered slot of a node, so that limits, quotas and the last
free device are counted in one transaction, and a restarted hub finds who holds what, and where.
Which node is decided by ``Claims``, before the lease is written, and counts from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Final
from uuid import UUID

from arcetri_spawner.backends.base import Device
from arcetri_spawner.backends.leasequeue import LeaseQueue
from arcetri_spawner.policy.model import Grant, Reason, ReasonKind

if TYPE_CHECKING:
    from arcetri_spawner.backends.kubernetes.backend import KubernetesBackend
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import Store

_ON: Final = "@"
"""Between a slot's number and its node; slots of earlier versions have no node."""


class SlotQueue(LeaseQueue):
    """Admits to a node that has room for the flavour and the size."""

    def __init__(self, backend: KubernetesBackend, store: Store, catalogs: CatalogHolder) -> None:
        super().__init__(store, catalogs, backend.current_inventory, backend.inventory)
        self._claims = backend.claims

    def _may_have(self, grant: Grant, held: Mapping[str, UUID]) -> bool:  # noqa: ARG002
        return self._claims.has_room(grant.flavor, self._claims.need_of(grant))

    def _choose(self, grant: Grant, held: Mapping[str, UUID]) -> list[Device]:
        need = self._claims.need_of(grant)
        node = self._claims.take(grant.request_id, grant.flavor, need)
        if node is None:
            return []
        slots = (f"{number}{_ON}{node}" for number in count())
        slot = next(name for name in slots if name not in held)
        return [Device(slot, grant.flavor, grant.flavor_title, simulated=False)]

    def _not_taken(self, grant: Grant) -> None:
        self._claims.drop(grant.request_id)

    def _given(self, grant: Grant, device: Device) -> None:
        """Hold the place that the lease names: another hub, or an earlier try, may have chosen."""
        self._hold(grant, device.uuid)

    def _hold(self, grant: Grant, slot: str) -> None:
        _, on, node = slot.partition(_ON)
        if not on:
            return  # it is chosen at its start
        claims = self._claims
        if claims.node(grant.request_id) != node:
            claims.hold(grant.request_id, grant.flavor, claims.need_of(grant), node)

    async def _recall(self, held: Mapping[str, UUID]) -> None:
        """Count what was admitted by the hub before and has no pod yet, before anything else is."""
        forgotten = {
            session: slot for slot, session in held.items() if not self._claims.counts(session)
        }
        if not forgotten:
            return
        for row in await self._store.live_requests():
            slot = forgotten.get(row.id)
            if slot is not None and not self._claims.counts(row.id):
                self._hold(row.grant, slot)

    async def _leased(self) -> None:
        """Give back the places of those that hold no lease any more."""
        self._claims.keep(frozenset((await self._store.leases()).values()))

    def _otherwise(self, grant: Grant) -> Reason:
        return Reason(
            "no_room_for_size",
            ReasonKind.WAIT,
            f"No node has room for a session of the size {grant.size} on {grant.flavor_title}.",
            "It waits in line, and starts by itself; a smaller size may start earlier.",
        )
