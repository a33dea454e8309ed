"""Offers as they are for the group that is chosen to be charged.

Policy counts an offer for whichever of a person's groups would have most of it. Quotas, limits and
queues of their groups differ, so what is called free, and who is ahead, follows the chosen one.
"""

from __future__ import annotations

from dataclasses import replace

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Offer, Offers
from arcetri_spawner.policy.sizes import with_alternatives


def charged_to(offers: Offers, catalog: Catalog, group: str) -> Offers:
    """Return the offers with what would start now charged to one group.

    Args:
        offers: What policy offers, in whatever size.
        catalog: Its flavours.
        group: What is chosen. A flavour that it does not grant stays as it is, since who chooses
            that one charges another group.
    """
    found = [offer_charged_to(offer, group) for offer in offers.offers]
    if all(one is offer for one, offer in zip(found, offers.offers, strict=True)):
        return offers
    return with_alternatives(offers, catalog, found)


def offer_charged_to(offer: Offer, group: str) -> Offer:
    """Return one offer with what would start now charged to one of the groups that grant it."""
    side = next((one for one in offer.groups if one.group == group), None)
    if side is None or len(offer.groups) == 1:
        return offer
    return replace(offer, charged=GroupPath(group), startable=side.startable, reasons=side.reasons)
