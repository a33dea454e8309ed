"""Who is before whom: places among a group's requests for one flavour. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from arcetri_spawner.backends.base import Position
from arcetri_spawner.backends.kubernetes.kueue.asking import is_set_aside, whose
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.policy.model import Grant
from kueue_client import TicketState, TicketStatus, Workload

_FIRST = datetime.min.replace(tzinfo=UTC)

Age = tuple[int, datetime, str]
"""By what Kueue orders those that wait in one queue; the smaller, the sooner."""


def place(
    mine: Workload, others: Iterable[Workload], line: Sequence[str] | None, *, contested: bool
) -> Position:
    """The place of a request that waits.

    Args:
        mine: Its Workload.
        others: Every Workload of the platform's.
        line: The names of those that wait in its queue, in Kueue's order; None where Kueue does not
            say. One that Kueue considers at this moment is not among them, nor one that stands in
            no line while its flavour is under maintenance.
        contested: Whether what other groups do can change when it is this one's turn.
    """
    alike = [one for one in others if _waits_beside(one, mine)]
    order = {name: number for number, name in enumerate(line or ())}
    if mine.name in order:
        before = sum(
            age(one) < age(mine)
            if is_set_aside(one)
            else order.get(one.name, len(order)) < order[mine.name]
            for one in alike
        )
        return Position(before, provisional=contested)
    return Position(sum(age(one) < age(mine) for one in alike), provisional=True)


def contested(catalog: Catalog, group: str, flavor: str) -> bool:
    """Whether what other groups do can change when it is a request's turn.

    It cannot where the group has a quota of its own that nobody may borrow, and borrows nothing.
    """
    granted = [
        (str(path), entry.flavors[flavor])
        for path, entry in catalog.groups.items()
        if flavor in entry.flavors
    ]
    if flavor in catalog.everyone.flavors:
        return True
    own = next((one for path, one in granted if path == group), None)
    if own is None or own.quota is None:
        return len(granted) > 1
    return any(one.borrow for _, one in granted)


def unsent_place(
    grant: Grant,
    waiting: Iterable[Workload],
    unsent: Iterable[Grant],
) -> Position:
    """The place of a request of which Kueue could not be told yet.

    Args:
        grant: The request.
        waiting: The Workloads of those that wait.
        unsent: Those of whom it could not be told either, in their order, itself among them.
    """
    key = grant.group, grant.flavor
    others = [whose(one) for one in waiting]
    ahead = sum(who is not None and (who.group, who.flavor) == key for who in others)
    for other in unsent:
        if other.request_id == grant.request_id:
            break
        ahead += (other.group, other.flavor) == key
    return Position(ahead, provisional=True)


def _waits_beside(one: Workload, mine: Workload) -> bool:
    other, me = whose(one), whose(mine)
    return (
        other is not None
        and me is not None
        and one.name != mine.name
        and one.spec.queue_name == mine.spec.queue_name
        and other.flavor == me.flavor
        and (TicketStatus.of(one).state is TicketState.WAITING or is_set_aside(one))
    )


def age(one: Workload) -> Age:
    """By what Kueue orders those that wait in one queue."""
    return -(one.spec.priority or 0), one.metadata.creation_timestamp or _FIRST, one.name
