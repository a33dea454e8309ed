"""What running sessions hold and somebody else wants back: why, and what becomes of them.

The queue only asks. A session that is asked back is announced its end, has its grace, ends, and
goes back to its place in line; who announces and ends is told from here, and decides when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

from arcetri_spawner.backends.base import Ticket, TicketState
from arcetri_spawner.policy import maintenance_announced, maintenance_ends, queueing
from arcetri_spawner.policy.model import Grant, Reason

if TYPE_CHECKING:
    from arcetri_spawner.catalog.models import Catalog
    from arcetri_spawner.store import RequestRow


class Back(StrEnum):
    """Why what a session holds is wanted back; also how its end is recorded."""

    PREEMPTED = "preempted"
    """Somebody whose it is, or something more urgent, needs it."""
    DRAINED = "drained"
    """An operator empties the group's queue."""
    MAINTENANCE = "maintenance"
    """The flavour's maintenance begins."""
    RECLAIMED = "reclaimed"
    """The queue wants it back for another reason, which its sentence tells."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """That what a session holds is wanted back."""

    back: Back
    reason: Reason
    """Why, in words for its user."""
    returns: bool
    """Whether its request goes back to its place in line when the session has ended."""
    optional: bool = False
    """Whether that is its user's to say."""


_BACK: Final = {
    "evicted_returned": Back.PREEMPTED,
    "evicted_shared": Back.PREEMPTED,
    "evicted_priority": Back.PREEMPTED,
    "evicted_closed": Back.DRAINED,
}
_FOR_GOOD: Final = frozenset({"evicted_lifetime", "evicted_operator"})
"""Nothing of these is put in line again: their time was up, or somebody has ended them."""
_NO_DEMAND: Final = frozenset({"evicted_node"})
"""What has failed with its node is told by who runs sessions; a node that comes back has it yet."""


def wanted_back(reason: Reason) -> Wanted | None:
    """What an evicted ticket's reason asks of the session that holds it; None where nothing."""
    if reason.code in _NO_DEMAND:
        return None
    back = _BACK.get(reason.code, Back.RECLAIMED)
    return Wanted(back, reason, returns=reason.code not in _FOR_GOOD)


def still_granted(catalog: Catalog, grant: Grant) -> bool:
    """Whether the catalog still grants the group what the request is for."""
    granted = catalog.granted_to(grant.group, grant.flavor)
    return grant.flavor in catalog.flavors and granted is not None


class Demands:
    """Which tickets are evicted while their sessions run or start, and who does not want to wait.

    A hub that starts again is told of every ticket by the queue's watch, and of everybody's wish by
    the store.
    """

    def __init__(self, catalog: Callable[[], Catalog], clock: Callable[[], datetime]) -> None:
        """Begin with none.

        Args:
            catalog: The catalog of the moment.
            clock: Tells the time, aware.
        """
        self._catalog = catalog
        self._clock = clock
        self._evicted: dict[UUID, Reason] = {}
        self._leaves: set[UUID] = set()
        self.changed: Callable[[], None] = lambda: None
        """Told whenever a session is wanted back, or is no more."""

    def note(self, ticket: Ticket) -> bool:
        """Take in what the queue says of a ticket.

        Returns:
            Whether it is an eviction that was not known.
        """
        before = self._evicted.get(ticket.request_id)
        if ticket.state is TicketState.EVICTED:
            now = ticket.reason or queueing.wanted_back("")
            self._evicted[ticket.request_id] = now
        else:
            now = None
            self._evicted.pop(ticket.request_id, None)
        if now != before:
            self.changed()
        return now is not None and (before is None or before.code != now.code)

    def forget(self, request_id: UUID) -> None:
        """Forget a request that is over."""
        self._evicted.pop(request_id, None)
        self._leaves.discard(request_id)

    def is_evicted(self, request_id: UUID) -> bool:
        """Whether the queue wants back what a request holds, whatever for."""
        return request_id in self._evicted

    def recover(self, rows: Iterable[RequestRow]) -> None:
        """Take up again who does not want to go back in line."""
        self._leaves.update(row.id for row in rows if row.returns is False)

    def wish(self, request_id: UUID, *, returns: bool) -> None:
        """Note whether a session's user wants to go back in line when it has ended."""
        if returns:
            self._leaves.discard(request_id)
        else:
            self._leaves.add(request_id)
        self.changed()

    def wished(self, request_id: UUID) -> bool | None:
        """As the store has a wish: False where a request is not to go back in line."""
        return False if request_id in self._leaves else None

    def foreseen(self, grant: Grant) -> datetime | None:
        """When what a session holds will be wanted back, or was; None where nobody can say."""
        return maintenance_announced(self._catalog(), grant.flavor, grant.grace)

    def of(self, grant: Grant) -> Wanted | None:
        """Why what a session holds is wanted back now; None where it is not."""
        catalog = self._catalog()
        reason = self._evicted.get(grant.request_id)
        found = wanted_back(reason) if reason is not None else None
        if found is None:
            why = maintenance_ends(catalog, grant.flavor, self._clock(), grant.grace)
            found = Wanted(Back.MAINTENANCE, why, returns=True) if why else None
        if found is None or not found.returns:
            return found
        if not still_granted(catalog, grant):
            return replace(found, returns=False)
        return replace(found, returns=grant.request_id not in self._leaves, optional=True)
