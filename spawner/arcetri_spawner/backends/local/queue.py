"""The queue of one machine, over the leases: one is admitted at once, or one waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from uuid import UUID

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Placement, Position, Ticket, TicketState
from arcetri_spawner.policy import waiting_reason
from arcetri_spawner.policy.model import Grant, Reason, ReasonKind

if TYPE_CHECKING:
    from arcetri_spawner.backends.local.backend import LocalBackend
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import Store


class LocalQueue:
    """Admits a grant when one of its flavour's devices is free and its group's quota allows it.

    It keeps no order among those who wait: whoever asks when a device is free gets it.
    """

    def __init__(self, backend: LocalBackend, store: Store, catalogs: CatalogHolder) -> None:
        self._backend = backend
        self._store = store
        self._catalogs = catalogs
        self._tickets: dict[UUID, Ticket] = {}
        self._grants: dict[UUID, Grant] = {}
        self._watchers: set[asyncio.Queue[Ticket]] = set()

    async def submit(self, grant: Grant) -> Ticket:
        """Take a place, or return the one already taken.

        Raises:
            StoreError: The lease could not be written.
        """
        known = self._tickets.get(grant.request_id)
        if known is not None and known.state is TicketState.ADMITTED:
            return known
        self._grants[grant.request_id] = grant
        device = await self._backend.leases.take(grant, self._backend.devices_of(grant.flavor))
        if device is None:
            ticket = Ticket(grant.request_id, TicketState.WAITING, reason=await self._why(grant))
        else:
            # The place of a CPU-only session is a lease, but no device that anybody could use.
            devices = () if grant.flavor_type == "cpu" else (device,)
            ticket = Ticket(grant.request_id, TicketState.ADMITTED, Placement(devices))
        self._set(ticket)
        return ticket

    async def watch(self) -> AsyncIterator[Ticket]:
        """Tickets as they change, for ever; starts with every ticket as it is."""
        changes: asyncio.Queue[Ticket] = asyncio.Queue()
        for ticket in self._tickets.values():
            changes.put_nowait(ticket)
        self._watchers.add(changes)
        try:
            while True:
                yield await changes.get()
        finally:
            self._watchers.discard(changes)

    async def position(self, ticket: Ticket) -> Position | None:
        """The ticket's place among the waiting tickets of its group and flavour."""
        grant = self._grants.get(ticket.request_id)
        current = self._tickets.get(ticket.request_id)
        if grant is None or current is None or current.state is not TicketState.WAITING:
            return None
        ahead = 0
        for request_id, other in self._tickets.items():
            if request_id == ticket.request_id:
                break
            its = self._grants[request_id]
            same = (its.group, its.flavor) == (grant.group, grant.flavor)
            ahead += same and other.state is TicketState.WAITING
        return Position(ahead, provisional=True)

    async def ready(self, ticket: Ticket) -> None:
        """Nothing is held back for a session that answers."""

    async def release(self, ticket: Ticket, *, requeue: bool) -> None:
        """Give back what an admitted ticket holds, and wait again or leave."""
        if not requeue:
            await self.finish(ticket)
            return
        await self._backend.leases.free(ticket.request_id)
        if ticket.request_id in self._grants:
            self._set(Ticket(ticket.request_id, TicketState.WAITING))

    async def finish(self, ticket: Ticket) -> None:
        """Leave the queue and free everything; a second call changes nothing."""
        await self._backend.leases.free(ticket.request_id)
        killpoints.reach("queue.freed")
        self._grants.pop(ticket.request_id, None)
        if self._tickets.pop(ticket.request_id, None) is not None:
            self._tell(Ticket(ticket.request_id, TicketState.GONE))

    def _set(self, ticket: Ticket) -> None:
        self._tickets[ticket.request_id] = ticket
        self._tell(ticket)

    def _tell(self, ticket: Ticket) -> None:
        for changes in self._watchers:
            changes.put_nowait(ticket)

    async def _why(self, grant: Grant) -> Reason:
        others = [
            session
            for session in await self._store.live_sessions()
            if session.id != grant.request_id
        ]
        reason = waiting_reason(
            self._catalogs.current.catalog, grant, self._backend.current_inventory(), others
        )
        # It was busy a moment ago: somebody may have ended meanwhile.
        return reason or Reason(
            "busy",
            ReasonKind.WAIT,
            f"Every device of the flavour {grant.flavor} was taken a moment ago.",
            "Try again: one may be free by now.",
        )
