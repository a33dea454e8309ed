"""What is free now, as JSON, for pages that are open."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jupyterhub.scopes import needs_scope

from arcetri_hub.pages.base import ServerNow
from arcetri_hub.pages.choices import (
    borrowed_text,
    free_text,
    group_line,
    hint,
    lamps,
    line_text,
    others_text,
)
from arcetri_hub.pages.refusals import Refused
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.policy.model import Offer, Offers, Reason
from arcetri_spawner.policy.sides import charged_to
from arcetri_spawner.policy.sizes import in_size


class OffersNow(ServerNow):
    """``/hub/arcetri/offers?user=&server=``: the moving parts of the spawn page."""

    @needs_scope("servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _answer(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        try:
            identity = await self.platform.identities.known(user.name)
            offers = await self.platform.service.offers(identity, server_name)
        except ArcetriError as error:
            raise Refused(error) from error
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-cache")
        self.finish(offers_json(offers, self.platform.catalogs.current.catalog))


def offers_json(offers: Offers, catalog: Catalog) -> dict[str, Any]:
    """Offers as the page's script reads them; all text is shown as text, never as HTML.

    Args:
        offers: What policy offers.
        catalog: Its sizes, and how long one has to save what is asked back.
    """
    every = _told(offers, catalog)
    sized = {
        size: _told(found, catalog)
        for size in catalog.sizes
        if (found := in_size(offers, catalog, size)) is not offers
    }
    return {
        "refusals": [_reason(reason) for reason in offers.refusals],
        "offers": [
            {
                **one,
                "sizes": {
                    size: found[place] for size, found in sized.items() if found[place] != one
                },
            }
            for place, one in enumerate(every)
        ],
    }


def _told(offers: Offers, catalog: Catalog) -> list[dict[str, Any]]:
    """Each offer, and what of it is otherwise for the groups among which one chooses."""
    grace = catalog.defaults.grace
    told = [{**_offer(offer, grace), "charged": {}} for offer in offers.offers]
    contested = {g.group for one in offers.offers if len(one.groups) > 1 for g in one.groups}
    for group in contested:
        charged = charged_to(offers, catalog, group).offers
        for whole, offer in zip(told, charged, strict=True):
            if offer.charged is None:
                continue
            found = _offer(offer, grace)
            other = {key: value for key, value in found.items() if value != whole[key]}
            if other:
                whole["charged"][group] = other
    return told


def _offer(offer: Offer, grace: timedelta) -> dict[str, Any]:
    return {
        "flavor": offer.flavor,
        "startable": offer.startable,
        "total": offer.total,
        "free": free_text(offer),
        "others": others_text(offer),
        "lamps": lamps(offer),
        "hint": hint(offer),
        "waits": line_text(offer),
        "borrowed": borrowed_text(offer, grace),
        "ahead": offer.ahead,
        "simulated": offer.simulated,
        "alternative": offer.alternative,
        "reasons": [_reason(reason) for reason in offer.reasons],
        "groups": [
            {
                "group": group.group,
                "startable": group.startable,
                "ahead": group.waiting if group.waitable else None,
                "ahead_of_other_groups": group.others if group.waitable else None,
                "use": group_line(group).use,
            }
            for group in offer.groups
        ],
    }


def _reason(reason: Reason) -> dict[str, str]:
    return {"code": reason.code, "sentence": reason.sentence, "remedy": reason.own}
