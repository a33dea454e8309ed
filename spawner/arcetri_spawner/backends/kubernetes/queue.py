"""A queue without Kueue: what the cluster has room for is admitted, else one is told why not.

A place is a lease in the store on a numbered slot of the flavour, so that limits, quotas and the
last free device are counted in one transaction, and a restarted hub finds who holds what.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count, islice
from typing import TYPE_CHECKING
from uuid import UUID

from arcetri_spawner.backends.base import Device, Placement, Position, Ticket, TicketState
from arcetri_spawner.policy import waiting_reason
from arcetri_spawner.policy.model import Grant, Reason, ReasonKind

if TYPE_CHECKING:
    from arcetri_spawner.backends.kubernetes.backend import KubernetesBackend
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import Store


class SlotQueue:
    """Implements ``backends.base.Queue`` over the cluster's room; it keeps no order of waiting."""

    def __init__(self, backend: KubernetesBackend, store: Store, catalogs: CatalogHolder) -> None:
        self._backend = backend
        self._store = store
        self._catalogs = catalogs
        self._turn = asyncio.Lock()

    async def submit(self, grant: Grant) -> Ticket:
        """Take a place, or return the one already taken.

        Raises:
            StoreError: The place could not be written.
        """
        quota = (grant.group, grant.quota) if grant.quota is not None else None
        # One after the other: what one takes is not in the cluster's numbers yet.
        async with self._turn:
            held = await self._store.leases()
            slots = self._slots(grant, held)
            taken = await self._store.lease(grant.request_id, grant.flavor, slots, quota=quota)
        if taken is None:
            return Ticket(grant.request_id, TicketState.WAITING, reason=await self._why(grant))
        return Ticket(grant.request_id, TicketState.ADMITTED, Placement())

    def _slots(self, grant: Grant, held: dict[str, UUID]) -> list[Device]:
        """As many free slots as sessions of this flavour and size would start now."""
        coming = sum(
            not self._backend.is_placed(session)
            for slot, session in held.items()
            if slot.startswith(f"{grant.flavor}#")
        )
        room = self._backend.startable(grant.flavor, grant.size) - coming
        names = (f"{grant.flavor}#{number}" for number in count())
        free = islice((name for name in names if name not in held), max(room, 0))
        return [Device(name, grant.flavor, grant.flavor_title, simulated=False) for name in free]

    async def watch(self) -> AsyncIterator[Ticket]:
        """Nobody waits in this queue: nothing ever changes."""
        await asyncio.Event().wait()
        yield Ticket(UUID(int=0), TicketState.GONE)

    async def position(self, ticket: Ticket) -> Position | None:  # noqa: ARG002 - nobody waits
        """Nobody waits in this queue."""
        return None

    async def ready(self, ticket: Ticket) -> None:
        """Nothing is held back for a session that answers."""

    async def release(self, ticket: Ticket, *, requeue: bool) -> None:  # noqa: ARG002
        """Give back what an admitted ticket holds; it does not wait again."""
        await self.finish(ticket)

    async def finish(self, ticket: Ticket) -> None:
        """Free everything; a second call changes nothing."""
        await self._store.free(ticket.request_id)

    async def _why(self, grant: Grant) -> Reason:
        others = [one for one in await self._store.live_sessions() if one.id != grant.request_id]
        reason = waiting_reason(
            self._catalogs.current.catalog, grant, self._backend.current_inventory(), others
        )
        return reason or Reason(
            "no_room_for_size",
            ReasonKind.WAIT,
            f"No node has room for a session of the size {grant.size} on {grant.flavor_title}.",
            "Choose a smaller size, or try again later.",
        )
