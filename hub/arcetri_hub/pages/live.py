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
    others_text,
    waits_text,
)
from arcetri_hub.pages.refusals import Refused
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.policy.model import Offer, Offers, Reason
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
    grace = catalog.defaults.grace
    sized = {size: in_size(offers, catalog, size).offers for size in catalog.sizes}
    return {
        "refusals": [_reason(reason) for reason in offers.refusals],
        "offers": [
            {
                **_offer(offer, grace),
                "sizes": {
                    size: _offer(found[place], grace)
                    for size, found in sized.items()
                    if found[place] != offer
                },
            }
            for place, offer in enumerate(offers.offers)
        ],
    }


def _offer(offer: Offer, grace: timedelta) -> dict[str, Any]:
    return {
        "flavor": offer.flavor,
        "startable": offer.startable,
        "total": offer.total,
        "free": free_text(offer),
        "others": others_text(offer),
        "lamps": lamps(offer),
        "hint": hint(offer),
        "waits": waits_text(offer),
        "borrowed": borrowed_text(offer, grace),
        "ahead": offer.ahead,
        "simulated": offer.simulated,
        "alternative": offer.alternative,
        "reasons": [_reason(reason) for reason in offer.reasons],
        "groups": [
            {
                "group": group.group,
                "startable": group.startable,
                "use": group_line(group).use,
            }
            for group in offer.groups
        ],
    }


def _reason(reason: Reason) -> dict[str, str]:
    return {"code": reason.code, "sentence": reason.sentence, "remedy": reason.own}
