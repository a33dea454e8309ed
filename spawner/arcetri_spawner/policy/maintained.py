"""Flavours under maintenance, and those that will be: what who waits and who runs is told."""

from __future__ import annotations

from datetime import datetime, timedelta

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.index import is_maintained, maintenance_begin, maintenance_end
from arcetri_spawner.policy.model import Reason


def maintenance_now(catalog: Catalog, flavor: str, now: datetime) -> Reason | None:
    """That a request waits for the end of a maintenance; None where there is none."""
    found = catalog.flavors.get(flavor)
    if found is None or found.maintenance is None:
        return None
    if not is_maintained(catalog, found.maintenance, now):
        return None
    until = maintenance_end(catalog, found.maintenance)
    return queueing.maintenance(found.title, until, found.maintenance.message)


def maintenance_announced(catalog: Catalog, flavor: str, grace: timedelta) -> datetime | None:
    """When a maintenance's beginning is announced to what runs; None where none has one."""
    found = catalog.flavors.get(flavor)
    if found is None or found.maintenance is None:
        return None
    begin = maintenance_begin(catalog, found.maintenance)
    return None if begin is None else begin - grace


def maintenance_ends(
    catalog: Catalog, flavor: str, now: datetime, grace: timedelta
) -> Reason | None:
    """That a maintenance ends a session, in time for its grace; None where none does so now.

    One without a beginning leaves alone what runs.
    """
    found = catalog.flavors.get(flavor)
    if found is None or found.maintenance is None:
        return None
    announced = maintenance_announced(catalog, flavor, grace)
    end = maintenance_end(catalog, found.maintenance)
    if announced is None or now < announced:
        return None
    if end is not None and (end <= announced + grace or end <= now):
        return None
    return queueing.maintained(found.title, end, found.maintenance.message)
