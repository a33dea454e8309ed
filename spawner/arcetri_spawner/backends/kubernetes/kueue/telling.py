"""What a Workload says of a request, as the ticket that the platform knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from arcetri_spawner.backends.base import Placement, Ticket, TicketState
from arcetri_spawner.backends.kubernetes.kueue import words
from arcetri_spawner.backends.kubernetes.kueue.asking import Whose
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.policy import maintenance_now, queueing
from arcetri_spawner.policy.model import Inventory, Reason
from kueue_client import (
    ClusterQueue,
    LocalQueue,
    PendingWorkload,
    TicketStatus,
    Workload,
    explanation,
)
from kueue_client import TicketState as Kueues

HOLDING = frozenset({Kueues.RESERVED, Kueues.ADMITTED, Kueues.EVICTED})
"""The states in which a Workload holds its quota."""


def ticket(
    request: UUID,
    workload: Workload,
    here: words.Situation,
    queues: Mapping[str, LocalQueue],
    pools: Mapping[str, ClusterQueue],
    position: PendingWorkload | None = None,
    *,
    known: bool,
) -> Ticket:
    """The ticket that a Workload is.

    Args:
        request: Whose it is.
        workload: The Workload.
        here: What is known around it.
        queues: The LocalQueues of its namespace.
        pools: The ClusterQueues.
        position: Its place, where Kueue was asked for it.
        known: Whether these are what the cluster has; else none of them is missed.
    """
    status = TicketStatus.of(workload)
    placement = Placement(node=status.admitted.node) if status.admitted else None
    match status.state:
        case Kueues.FINISHED:
            return Ticket(request, TicketState.GONE)
        case Kueues.ADMITTED:
            return Ticket(request, TicketState.ADMITTED, placement)
        case Kueues.EVICTED if status.evicted:
            node, seconds = (
                placement.node if placement else None,
                workload.spec.maximum_execution_time_seconds,
            )
            why = words.evicted(status.evicted, here, node, seconds)
            return Ticket(request, TicketState.EVICTED, placement, why)
    local = queues.get(workload.spec.queue_name)
    pool = pools.get(local.spec.cluster_queue) if local is not None else None
    said = explanation(workload, local, pool, position, missing=known and local is None)
    return Ticket(request, TicketState.WAITING, reason=words.waiting(said, here))


def situation(
    who: Whose,
    catalog: Catalog,
    inventory: Inventory | None,
    held: int,
    now: datetime,
    *,
    behind: bool = False,
) -> words.Situation:
    """What is known around a request.

    Args:
        who: Whose it is, and for what.
        catalog: The catalog of the moment.
        inventory: What there is.
        held: How many of the group's requests hold the flavour.
        now: For its maintenance.
        behind: Whether others of the group wait for the same before it, in the same size.
    """
    entitled = catalog.granted_to(who.group, who.flavor)
    flavor = catalog.flavors.get(who.flavor)
    has = None
    if inventory is not None and not inventory.stale:
        has = inventory.flavors.get(who.flavor)
    return words.Situation(
        group=who.group,
        flavor=who.flavor,
        title=title(who, catalog),
        offered=entitled is not None,
        quota=entitled.quota if entitled else None,
        borrow=entitled.borrow if entitled else 0,
        held=held,
        total=has.total if has else None,
        free=has.free if has else None,
        device=flavor is None or flavor.resource is not None,
        nowhere=has is not None and has.nowhere,
        behind=behind,
        aside=aside(who, catalog),
        maintenance=maintenance_now(catalog, who.flavor, now),
        timezone=catalog.site.timezone,
    )


def aside(who: Whose, catalog: Catalog) -> Reason:
    """Why a request stands aside that was given a node in vain."""
    flavor = catalog.flavors.get(who.flavor)
    with_device = flavor is not None and flavor.resource is not None
    why = queueing.uncounted if with_device else queueing.reserved
    return why(title(who, catalog))


def title(who: Whose, catalog: Catalog) -> str:
    """The flavour's title in the catalog; its name where the catalog has it no longer."""
    flavor = catalog.flavors.get(who.flavor)
    return flavor.title if flavor else who.flavor
