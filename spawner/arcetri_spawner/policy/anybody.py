"""What would start now whoever asks: for the platform's own numbers, not for a person's page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.index import index_of, installed, is_maintained
from arcetri_spawner.policy.model import Inventory


def startable_by_anybody(
    catalog: Catalog,
    inventory: Inventory,
    in_use: Mapping[tuple[GroupPath, str], int],
    now: datetime,
) -> dict[str, int]:
    """How many sessions of each flavour would start now if all who may asked for one.

    Capacity, quotas and maintenance bound it as they do a person's offer. A user's own limits do
    not: they bound that user only.

    Args:
        catalog: Who is granted what.
        inventory: What there is.
        in_use: Sessions by charged group and flavour.
        now: When this is asked.
    """
    index = index_of(catalog)
    grants: dict[str, list[tuple[GroupPath, int | None]]] = {}
    for path, group in catalog.groups.items():
        for name, entitled in group.flavors.items():
            grants.setdefault(name, []).append((path, entitled.quota))
    found = {}
    for name, flavor in catalog.flavors.items():
        have = inventory.flavors.get(name)
        can_run = installed(index.environments[name], inventory) and index.sizes[name]
        if (
            have is None
            or inventory.stale
            or not can_run
            or is_maintained(catalog, flavor.maintenance, now)
        ):
            found[name] = 0
            continue
        granted = grants.get(name, [])
        if name in index.everyone or any(quota is None for _, quota in granted):
            found[name] = have.startable
            continue
        rooms = (max((quota or 0) - in_use.get((path, name), 0), 0) for path, quota in granted)
        found[name] = min(have.startable, sum(rooms))
    return found
