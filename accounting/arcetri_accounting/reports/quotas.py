"""What a group is entitled to at the same time, as hours of a period. Pure.

A quota is a number of devices at the same time; held all through a period it gives device-hours to
compare usage with. A group may use more than that while others leave theirs: it borrows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arcetri_accounting.contract.units import share_units, to_ms
from arcetri_accounting.contract.witness import CatalogSnapshot


@dataclass(frozen=True, slots=True)
class Quota:
    """A group's quota of one flavour over a period."""

    group: str
    flavor: str
    flavor_type: str
    devices: int
    """At the end of what is counted."""
    entitled_u: int
    """Quota times share times time, in 1/10080 device-milliseconds."""
    changed: bool
    """It was not the same all the time."""
    known_from: int
    """Since when a catalog is known within the period, in milliseconds since 1970."""


def over(catalogs: Sequence[CatalogSnapshot], group: str, start: int, end: int) -> list[Quota]:
    """A group's quotas over ``[start, end)``, by flavour in the order of the newest catalog.

    Args:
        catalogs: In the order in which they began to hold; each holds until the next.
        group: The group's path.
        start: In milliseconds since 1970.
        end: The same; no later than now, for what is still to come is not yet entitled.
    """
    spans = []
    for number, catalog in enumerate(catalogs):
        since = max(start, to_ms(catalog.since))
        until = to_ms(catalogs[number + 1].since) if number + 1 < len(catalogs) else end
        if since < min(until, end):
            spans.append((catalog, since, min(until, end)))
    found: dict[str, Quota] = {}
    for catalog, since, until in spans:
        terms = catalog.groups.get(group)
        quotas = {} if terms is None else terms.quotas
        for flavor in {*found, *quotas}:
            devices = quotas.get(flavor, 0)
            known = catalog.flavors.get(flavor)
            before = found.get(flavor)
            share = share_units(known.share) if known else 0
            kind = known.type if known else before.flavor_type if before else "gpu"
            if kind == "cpu":
                continue
            late = before is None and since > spans[0][1]
            found[flavor] = Quota(
                group=group,
                flavor=flavor,
                flavor_type=kind,
                devices=devices,
                entitled_u=(before.entitled_u if before else 0) + devices * share * (until - since),
                changed=late
                or (before is not None and (before.changed or before.devices != devices)),
                known_from=spans[0][1],
            )
    order = list(catalogs[-1].flavors) if catalogs else []
    place = {flavor: number for number, flavor in enumerate(order)}
    return sorted(found.values(), key=lambda one: (place.get(one.flavor, len(place)), one.flavor))
