"""A plain queue over leases: first in, first out, without borrowing and without preemption.

The oldest request is admitted whose flavour has something free and whose group is within its quota.
The row of the request is the ticket: it waits while it holds no lease, and is admitted by the
transaction that gives it one. So a hub that is killed at any moment finds everyone in their place.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Device, Placement, Position, Ticket, TicketState
from arcetri_spawner.backends.ticketnews import TicketNews
from arcetri_spawner.errors import ArcetriError, Conflict
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import is_maintained, maintenance_now, waiting_reason
from arcetri_spawner.policy.model import (
    Grant,
    Inventory,
    LiveSession,
    QueueBound,
    Reason,
    ReasonKind,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.store import Store

log = structlog.get_logger(__name__)

_LOOK: Final = 15.0
"""Seconds after which one looks whose turn it is though nothing was heard: a maintenance is over,
or the database was away when something was freed."""


@dataclass(slots=True)
class _Entry:
    grant: Grant
    place: int
    ticket: Ticket


class LeaseQueue(ABC):
    """Implements ``backends.base.Queue``; a subclass says what is free."""

    def __init__(
        self,
        store: Store,
        catalogs: CatalogHolder,
        inventory: Callable[[], Inventory],
        changes: Callable[[], AsyncIterator[Inventory]],
    ) -> None:
        """Begin with nobody in line: after a restart all who wait are submitted again.

        Args:
            store: Where requests and leases are.
            catalogs: Quotas and maintenance of the moment.
            inventory: What there is now, from memory.
            changes: What there is, whenever it changes.
        """
        self._store = store
        self._catalogs = catalogs
        self._inventory = inventory
        self._changes = changes
        self._entries: dict[UUID, _Entry] = {}
        self._news = TicketNews()
        self._turn = asyncio.Lock()

    @property
    def apart(self) -> bool:
        """The request's row is its ticket."""
        return False

    @abstractmethod
    def _may_have(self, grant: Grant, held: Mapping[str, UUID]) -> bool:
        """Whether the request could have something now.

        Args:
            grant: What is asked for.
            held: Who holds what: request ids by device.
        """

    @abstractmethod
    def _choose(self, grant: Grant, held: Mapping[str, UUID]) -> list[Device]:
        """What the request is to have now, best first; what is chosen may count as taken at once.

        Args:
            grant: What is asked for.
            held: Who holds what: request ids by device.
        """

    def _not_taken(self, grant: Grant) -> None:  # noqa: B027 - most keep nothing
        """What was chosen for a request is not its own."""

    def _given(self, grant: Grant, device: Device) -> None:  # noqa: B027 - most keep nothing
        """Take note of what a request holds, by a lease that may be another hub's."""

    async def _recall(self, held: Mapping[str, UUID]) -> None:  # noqa: B027 - most keep nothing
        """Take note of leases that were given before, ahead of giving others."""

    def _placement(self, grant: Grant, device: Device) -> Placement:
        """Where a request with this lease may start."""
        del grant, device
        return Placement()

    @abstractmethod
    async def _leased(self) -> None:
        """Take note that leases were taken or freed."""

    def _otherwise(self, grant: Grant) -> Reason:
        """Why one waits where neither quota nor capacity say so."""
        return Reason(
            "busy",
            ReasonKind.WAIT,
            f"Every device of the flavour {grant.flavor} is taken, or others asked for it earlier.",
            "It waits in line, and starts by itself.",
        )

    def bounds(self) -> Mapping[tuple[GroupPath, str], QueueBound]:
        """Nothing: it admits whatever the catalog grants."""
        return {}

    async def submit(self, grant: Grant) -> Ticket:
        """Take a place, or return the one already taken.

        Raises:
            Conflict: The request has ended or does not exist.
            StoreError: The database could not be asked: submit again.
        """
        async with self._turn:
            entry = self._entries.get(grant.request_id)
            if entry is None:
                entry = await self._enter(grant)
            return entry.ticket

    async def _enter(self, grant: Grant) -> _Entry:
        place, device = await self._store.in_line(grant.request_id)
        if grant.earlier:
            # What the one before held was freed when this one was written in its place.
            for before in grant.earlier:
                self._forget(before)
            await self._leased()
        entry = _Entry(grant, place, Ticket(grant.request_id, TicketState.WAITING))
        if device is not None:
            entry.ticket = self._admitted(grant, device)
            self._entries[grant.request_id] = entry
            return entry
        self._entries[grant.request_id] = entry
        try:
            await self._advance()
            if entry.ticket.state is TicketState.WAITING:
                await self._store.mark(grant.request_id, "waiting")
                entry.ticket = Ticket(
                    grant.request_id, TicketState.WAITING, reason=await self._why(grant)
                )
        except BaseException:
            # It is not known how far it came: whoever submits it again learns that.
            self._entries.pop(grant.request_id, None)
            raise
        self._news.tell(entry.ticket)
        return entry

    async def watch(self) -> AsyncIterator[Ticket]:
        """Tickets as they change, for ever; starts with every ticket as it is.

        While somebody watches, whoever's turn it is by something that became free is admitted.
        """
        with self._news.follow(entry.ticket for entry in self._entries.values()) as changes:
            follower = asyncio.create_task(self._follow())
            try:
                while True:
                    yield await changes.get()
            finally:
                follower.cancel()

    async def position(self, ticket: Ticket) -> Position | None:
        """The ticket's place among the waiting tickets of its group and flavour.

        Nobody comes before who asked earlier, so that it is final.
        """
        mine = self._entries.get(ticket.request_id)
        if mine is None or mine.ticket.state is not TicketState.WAITING:
            return None
        earlier = Counter(
            other.grant.group == mine.grant.group
            for other in self._entries.values()
            if other.ticket.state is TicketState.WAITING
            and other.grant.flavor == mine.grant.flavor
            and other.place < mine.place
        )
        return Position(earlier[True], others=earlier[False])

    async def ready(self, ticket: Ticket) -> None:  # noqa: B027 - all there is to do
        """Nothing is held back for a session that answers."""

    async def release(self, ticket: Ticket, *, requeue: bool) -> None:
        """Give back what an admitted ticket holds, and wait again at its place or leave."""
        if not requeue:
            await self.finish(ticket)
            return
        async with self._turn:
            await self._store.back_in_line(ticket.request_id)
            await self._leased()
            if (entry := self._entries.get(ticket.request_id)) is not None:
                reason = await self._why(entry.grant)
                entry.ticket = Ticket(ticket.request_id, TicketState.WAITING, reason=reason)
                self._news.tell(entry.ticket)
        await self.advance()

    async def finish(self, ticket: Ticket) -> None:
        """Leave the queue and free everything; a second call changes nothing."""
        async with self._turn:
            await self._store.free(ticket.request_id)
            killpoints.reach("queue.freed")
            await self._leased()
            self._forget(ticket.request_id)
        await self.advance()

    async def advance(self) -> None:
        """Admit whoever's turn it is; what cannot be done now is done at the next look."""
        async with self._turn:
            try:
                await self._advance()
            except ArcetriError as error:
                log.warning("nobody is admitted for the moment", why=error.code)

    async def _advance(self) -> None:
        held = None
        waiting = sorted(
            (e for e in self._entries.values() if e.ticket.state is TicketState.WAITING),
            key=lambda entry: entry.place,
        )
        if waiting:
            held = dict(await self._store.leases())
            await self._recall(held)
            waiting = [
                e for e in waiting if self._may_start(e.grant) and self._may_have(e.grant, held)
            ]
        if not waiting or held is None:
            return
        use = _Use(held, await self._store.live_sessions())
        took = False
        try:
            for entry in waiting:
                grant = entry.grant
                if not use.allows(grant, self._quota(grant)):
                    continue
                device = await self._take(entry, held)
                if device is None:
                    continue
                took = True
                held[device.uuid] = grant.request_id
                use.add(grant)
                entry.ticket = self._admitted(grant, device)
                self._news.tell(entry.ticket)
        finally:
            if took:
                await self._leased()

    async def _take(self, entry: _Entry, held: Mapping[str, UUID]) -> Device | None:
        grant = entry.grant
        free = self._choose(grant, held)
        if not free:
            return None
        quota = self._quota(grant)
        device = None
        try:
            device = await self._store.lease(
                grant.request_id,
                grant.flavor,
                free,
                quota=(grant.group, quota) if quota is not None else None,
            )
        except Conflict:
            # It ended, and whoever ended it has not come to say so here.
            self._forget(grant.request_id)
        finally:
            if device is None:
                self._not_taken(grant)
        if device is not None:
            killpoints.reach("queue.leased")
        return device

    def _admitted(self, grant: Grant, device: Device) -> Ticket:
        self._given(grant, device)
        return Ticket(grant.request_id, TicketState.ADMITTED, self._placement(grant, device))

    def _quota(self, grant: Grant) -> int | None:
        """As the catalog has it now: an edit holds for those who wait."""
        entitled = self._catalogs.current.catalog.group_flavor(grant.group, grant.flavor)
        return entitled.quota if entitled else grant.quota

    def _may_start(self, grant: Grant) -> bool:
        catalog = self._catalogs.current.catalog
        flavor = catalog.flavors.get(grant.flavor)
        return flavor is not None and not is_maintained(
            catalog, flavor.maintenance, datetime.now(UTC)
        )

    def _forget(self, request_id: UUID) -> None:
        if self._entries.pop(request_id, None) is not None:
            self._news.tell(Ticket(request_id, TicketState.GONE))

    async def _follow(self) -> None:
        wake = asyncio.Event()
        end = self._catalogs.subscribe(lambda _: wake.set())
        listening = asyncio.create_task(self._listen(wake))
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), _LOOK)
                wake.clear()
                await self.advance()
        finally:
            end()
            listening.cancel()

    async def _listen(self, wake: asyncio.Event) -> None:
        async for _ in self._changes():
            wake.set()

    async def _why(self, grant: Grant) -> Reason:
        catalog = self._catalogs.current.catalog
        if (maintained := maintenance_now(catalog, grant.flavor, datetime.now(UTC))) is not None:
            return maintained
        others = [s for s in await self._store.live_sessions() if s.id != grant.request_id]
        reason = waiting_reason(catalog, grant, self._inventory(), others)
        return reason or self._otherwise(grant)


class _Use:
    """What groups and people hold by leases; who only asks or waits holds nothing."""

    def __init__(self, held: Mapping[str, UUID], sessions: list[LiveSession]) -> None:
        holders = set(held.values())
        holding = [session for session in sessions if session.id in holders]
        self._groups = Counter((s.group, s.flavor) for s in holding)
        self._people = Counter(s.account_id for s in holding)
        self._own = Counter((s.account_id, s.group, s.flavor) for s in holding)

    def allows(self, grant: Grant, quota: int | None) -> bool:
        """Whether one more is within the group's quota and the person's limits."""
        own = self._own[grant.account_id, grant.group, grant.flavor]
        return (
            (quota is None or self._groups[grant.group, grant.flavor] < quota)
            and self._people[grant.account_id] < grant.sessions_limit
            and (grant.user_limit is None or own < grant.user_limit)
        )

    def add(self, grant: Grant) -> None:
        """Count one more."""
        self._groups[grant.group, grant.flavor] += 1
        self._people[grant.account_id] += 1
        self._own[grant.account_id, grant.group, grant.flavor] += 1
