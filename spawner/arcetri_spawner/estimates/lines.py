"""Lines and past sessions, translated from what the catalog, the hub and the ledger know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from arcetri_spawner.estimates.situation import (
    Line,
    Order,
    PastSession,
    RunningSession,
    WaitingRequest,
)

if TYPE_CHECKING:
    from arcetri_accounting.contract.lengths import SessionLengths
    from arcetri_spawner.catalog.models import Catalog
    from arcetri_spawner.live import LiveRow
    from arcetri_spawner.policy.model import Inventory

WAITING: Final = "waiting"
"""The state of a request that holds no place yet."""
HOLDING: Final = ("admitted", "starting", "running")
"""The states of one that does."""
NATURAL: Final = frozenset(
    {"stopped", "exited", "cancelled", "idle", "not_opened", "out_of_memory"}
)
"""Ends by what the user or the session did, or no longer did: others of its kind end so, too."""
CUT_OFF: Final = frozenset(
    {
        "lifetime",
        "deadline",
        "admin",
        "shutdown",
        "preempted",
        "drained",
        "maintenance",
        "reclaimed",
        "evicted",
        "node_lost",
        "node_shutdown",
        "lost",
        "killed",
        "start_failed",
        "start_interrupted",
    }
)
"""Ends that came from outside: left alone, the session would have lasted longer, nobody knows how
long. So is an end of which nothing is known: to count it would make all sessions look short."""


def past(lengths: SessionLengths) -> list[PastSession]:
    """Sessions that are over, as the ledger tells them."""
    return [
        PastSession(
            one.flavor,
            one.flavor_type,
            one.group,
            datetime.fromtimestamp(one.began / 1000, UTC),
            timedelta(milliseconds=one.lasted),
            natural=one.reason in NATURAL,
        )
        for one in lengths.sessions
    ]


def lines(
    catalog: Catalog,
    inventory: Inventory,
    rows: Iterable[LiveRow],
    now: datetime,
    order: Order,
) -> dict[str, Line]:
    """The line of each flavour for which somebody waits.

    Args:
        catalog: Whose quotas hold.
        inventory: How many places there are.
        rows: Everybody who waits, starts or runs, in the order in which they asked.
        now: The moment; a session that has not started yet begins now.
        order: Who is next.
    """
    running: dict[str, list[RunningSession]] = {}
    waiting: dict[str, list[WaitingRequest]] = {}
    types: dict[str, str] = {}
    for row in rows:
        grant = row.grant
        types[grant.flavor] = grant.flavor_type
        if row.state == WAITING:
            waiting.setdefault(grant.flavor, []).append(
                WaitingRequest(grant.request_id, str(grant.group), grant.lifetime)
            )
        elif row.state in HOLDING:
            began = row.started or now
            running.setdefault(grant.flavor, []).append(
                RunningSession(
                    grant.flavor,
                    grant.flavor_type,
                    str(grant.group),
                    began,
                    began + grant.lifetime,
                )
            )
    return {
        flavor: Line(
            flavor,
            types[flavor],
            _places(inventory, flavor, len(running.get(flavor, ()))),
            tuple(running.get(flavor, ())),
            tuple(those),
            *_quotas(catalog, flavor),
            order=order,
        )
        for flavor, those in waiting.items()
    }


def _places(inventory: Inventory, flavor: str, ours: int) -> int:
    """How many sessions there is room for: what others than sessions hold is none of it."""
    found = inventory.flavors.get(flavor)
    return min(found.total, ours + found.startable) if found else 0


def _quotas(catalog: Catalog, flavor: str) -> tuple[Mapping[str, int], Mapping[str, int]]:
    terms = {
        str(path): group.flavors[flavor]
        for path, group in catalog.groups.items()
        if flavor in group.flavors
    }
    quotas = {path: one.quota for path, one in terms.items() if one.quota is not None}
    return quotas, {path: one.borrow for path, one in terms.items() if one.borrow}
