"""What follows from a catalog alone, worked out once for each.

A catalog is immutable, so what is derived from it is kept as long as the catalog lives.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from arcetri_spawner.catalog.models import Catalog, Maintenance
from arcetri_spawner.catalog.moments import moment
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Inventory
from arcetri_spawner.policy.terms import Terms


@dataclass(frozen=True, slots=True)
class CatalogIndex:
    """Look-ups over one catalog."""

    allowed: frozenset[GroupPath]
    everyone: frozenset[str]
    """Flavours of all who are allowed in."""
    environments: Mapping[str, tuple[str, ...]]
    """By flavour, in the catalog's order."""
    sizes: Mapping[str, tuple[str, ...]]
    """By flavour, in the catalog's order."""
    group_order: Mapping[GroupPath, int]
    terms: Mapping[str, Terms]
    """By flavour."""


_indexes: dict[int, tuple[weakref.ref[Catalog], CatalogIndex]] = {}


def index_of(catalog: Catalog) -> CatalogIndex:
    """Return the catalog's index, made at the first call."""
    key = id(catalog)
    known = _indexes.get(key)
    if known is not None and known[0]() is catalog:
        return known[1]
    index = _build(catalog)
    # An id may be used again once its catalog is gone: the entry goes with the catalog.
    _indexes[key] = (weakref.ref(catalog, lambda _: _indexes.pop(key, None)), index)
    return index


def _build(catalog: Catalog) -> CatalogIndex:
    return CatalogIndex(
        allowed=catalog.allowed_groups(),
        everyone=frozenset(catalog.everyone.flavors),
        environments={
            flavor: tuple(
                name
                for name, environment in catalog.environments.items()
                if environment.flavors is None or flavor in environment.flavors
            )
            for flavor in catalog.flavors
        },
        sizes={
            flavor: tuple(
                name
                for name, size in catalog.sizes.items()
                if size.flavors is None or flavor in size.flavors
            )
            for flavor in catalog.flavors
        },
        group_order={group: place for place, group in enumerate(catalog.groups)},
        terms={flavor: Terms.of(catalog, flavor) for flavor in catalog.flavors},
    )


def installed(environments: tuple[str, ...], inventory: Inventory | None) -> tuple[str, ...]:
    """Those of the environments that can be started; all of them where nothing is known."""
    here = inventory.environments if inventory else None
    return environments if here is None else tuple(name for name in environments if name in here)


def is_maintained(catalog: Catalog, maintenance: Maintenance | None, now: datetime) -> bool:
    """Whether a flavour with this entry is under maintenance."""
    if maintenance is None:
        return False
    begin, end = maintenance_begin(catalog, maintenance), maintenance_end(catalog, maintenance)
    return (begin is None or begin <= now) and (end is None or now < end)


def maintenance_begin(catalog: Catalog, maintenance: Maintenance) -> datetime | None:
    """When the maintenance begins, in the site's time zone; None when it has, for what starts."""
    begin = maintenance.from_
    return None if begin is None else moment(begin, catalog.site.timezone)


def maintenance_end(catalog: Catalog, maintenance: Maintenance) -> datetime | None:
    """When the maintenance ends, in the site's time zone; None when it is open-ended."""
    until = maintenance.until
    return None if until is None else moment(until, catalog.site.timezone)
