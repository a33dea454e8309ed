"""Offers in the size that is chosen.

Policy counts an offer in the size of which most would start. A larger one takes more room on a node
than may be left beside a free device, so what is called free follows the size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from arcetri_spawner.catalog.models import Catalog, Flavor
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.model import Offer, Offers, Reason


def in_size(offers: Offers, catalog: Catalog, size: str) -> Offers:
    """Return the offers with what would start now in one size.

    Args:
        offers: What policy offers.
        catalog: Its sizes and flavours.
        size: What is chosen; a flavour that it does not go with is counted in its first size, as
            one who chooses that flavour would get it.
    """
    if not any(offer.rooms for offer in offers.offers):
        return offers
    found = [offer_in_size(offer, catalog, goes_with(offer, size)) for offer in offers.offers]
    return with_alternatives(offers, catalog, found)


def with_alternatives(offers: Offers, catalog: Catalog, found: Sequence[Offer]) -> Offers:
    """Return the offers as they were found to be, each with what would start in its stead.

    Args:
        offers: Whose they are.
        catalog: Its flavours.
        found: Each offer, in the same order.
    """
    able = [offer.flavor for offer in found if offer.startable]
    return replace(
        offers,
        offers=tuple(
            offer
            if offer.startable
            else replace(offer, alternative=most_alike(catalog.flavors, offer.flavor, able))
            for offer in found
        ),
    )


def goes_with(offer: Offer, size: str) -> str:
    """The size, or where it does not go with the flavour the first that does."""
    return size if size in offer.sizes or not offer.sizes else offer.sizes[0]


def with_room(offer: Offer, catalog: Catalog, size: str, cpu: float, memory: int) -> str:
    """The size nearest to one that is wanted of which one would start now.

    That is the wanted one, else the largest smaller one, else the smallest larger one.

    Args:
        offer: A flavour of which one would start now in some size.
        catalog: What the sizes are.
        size: The one that is wanted.
        cpu: Its cores, whatever the catalog says by now.
        memory: Its memory in bytes.
    """

    def nearness(name: str) -> tuple[bool, bool, float, float]:
        shape = catalog.sizes[name]
        larger = (shape.cpu, shape.memory) > (cpu, memory)
        sign = 1 if larger else -1
        return name != size, larger, sign * shape.cpu, sign * shape.memory

    able = [name for name in offer.sizes if not offer.rooms or offer.rooms.get(name)]
    return min(able, key=nearness, default=goes_with(offer, size))


def title_of(catalog: Catalog, size: str) -> str:
    """A size as pages name it."""
    entry = catalog.sizes.get(size)
    return (entry.title if entry else "") or size.capitalize()


def most_alike(flavors: Mapping[str, Flavor], wanted: str, others: list[str]) -> str | None:
    """Of other flavours the one most like the wanted one: of its kind, then by memory."""
    entry = flavors.get(wanted)
    if entry is None:
        return others[0] if others else None
    memory = entry.memory or 0
    return min(
        others,
        key=lambda name: (
            flavors[name].type != entry.type,
            abs((flavors[name].memory or 0) - memory),
        ),
        default=None,
    )


def offer_in_size(offer: Offer, catalog: Catalog, size: str) -> Offer:
    """Return one offer with what would start now in a size that goes with it."""
    room = offer.rooms.get(size, 0) if offer.rooms else offer.free
    if room >= offer.free:
        return offer
    startable = min(offer.startable, room)
    cramped: tuple[Reason, ...] = ()
    if offer.startable and not startable:
        shape = catalog.sizes[size]
        other = with_room(offer, catalog, size, shape.cpu, shape.memory)
        instead = min(offer.startable, offer.rooms.get(other, 0))
        cramped = (queueing.size(offer.title, title_of(catalog, other), instead),)
    # Without a device the total is counted in sessions: those that run, and those that would.
    counted = catalog.flavors[offer.flavor].resource is None
    return replace(
        offer,
        total=offer.total - (offer.free - room) if counted else offer.total,
        free=room,
        startable=startable,
        groups=tuple(
            replace(
                group,
                startable=min(group.startable, room),
                reasons=cramped if group.startable and cramped else group.reasons,
            )
            for group in offer.groups
        ),
        reasons=cramped or offer.reasons,
    )
