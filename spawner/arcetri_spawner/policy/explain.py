"""What a person would be offered, and why not the rest: for admins, before anyone asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from arcetri_spawner.catalog.models import Catalog, Environment
from arcetri_spawner.groups import normalize_groups
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.decide import offers_of
from arcetri_spawner.policy.index import index_of
from arcetri_spawner.policy.model import (
    GroupOffer,
    Identity,
    Inventory,
    LiveSession,
    NotOffered,
    Offer,
    Offers,
    Reason,
    ReasonKind,
)
from arcetri_spawner.policy.situation import Situation


def explain(
    catalog: Catalog,
    who: Identity | Iterable[str],
    *,
    now: datetime,
    inventory: Inventory | None = None,
    sessions: Sequence[LiveSession] = (),
) -> Offers:
    """Return the offers of a person, and of every other flavour why it is none.

    Args:
        catalog: What is granted to whom.
        who: The person, or the groups somebody would be in.
        now: When this is asked.
        inventory: What there is where sessions would run; None looks at grants and limits only,
            and so says nothing of what a platform could start.
        sessions: Live sessions; none counts nothing as held.
    """
    identity = (
        who if isinstance(who, Identity) else Identity("", "somebody", groups=normalize_groups(who))
    )
    situation = Situation(catalog, identity, inventory, sessions, now)
    return replace(offers_of(situation), not_offered=tuple(_not_offered(situation)))


def render(offers: Offers, catalog: Catalog, inventory: Inventory | None = None) -> str:
    """Write offers as plain text, one flavour a paragraph.

    Args:
        offers: What ``explain`` returned.
        catalog: The catalog that was explained.
        inventory: The inventory it was explained with; with none, each environment is shown with
            what it lacks to be started anywhere.
    """
    lines: list[str] = []
    for reason in offers.refusals:
        lines += [f"Every start is refused: {_sentence(reason)}", ""]
    refused = [offer for offer in offers.offers if _is_refused(offer)]
    offered = [offer for offer in offers.offers if offer not in refused]
    lines.append("Offered:" if offered else "Offered: nothing.")
    for offer in offered:
        lines += _offer_lines(offer, _environments(offer, catalog, inventory))
    if refused:
        lines += ["", "Granted, but refused:"]
    for offer in refused:
        lines += _offer_lines(offer, _environments(offer, catalog, inventory))
    if offers.not_offered:
        lines += ["", "Not offered:"]
    for missing in offers.not_offered:
        lines.append(f"  {missing.flavor}: {_sentence(missing.reason)}")
    return "\n".join(lines) + "\n"


def _not_offered(situation: Situation) -> Iterator[NotOffered]:
    groups = situation.catalog.groups
    for flavor in situation.catalog.flavors:
        if flavor in situation.offered:
            continue
        if situation.stranger is not None and flavor in situation.index.everyone:
            yield NotOffered(flavor, situation.refusals[0])
            continue
        grantors = [group for group, entry in groups.items() if flavor in entry.flavors]
        yield NotOffered(flavor, reasons.flavor_granted_elsewhere(flavor, grantors))


def _is_refused(offer: Offer) -> bool:
    return any(reason.kind is ReasonKind.REFUSE for reason in offer.reasons)


def _environments(offer: Offer, catalog: Catalog, inventory: Inventory | None) -> str:
    fitting = index_of(catalog).environments[offer.flavor]
    if inventory is None or inventory.environments is None:
        return ", ".join(name + _lacks(catalog.environments[name]) for name in fitting) or "none"
    here = ", ".join(offer.environments) or "none"
    absent = ", ".join(name for name in fitting if name not in offer.environments)
    return f"{here}; not installed here: {absent}" if absent else here


def _lacks(environment: Environment) -> str:
    if environment.local is None:
        return " (not on one machine: no local)"
    if environment.image is None:
        return " (not on Kubernetes: no image)"
    return ""


def _offer_lines(offer: Offer, environments: str) -> Iterator[str]:
    yield f"  {offer.flavor}: {offer.title}"
    for group in offer.groups:
        yield f"    charged to {group.group}: {_entitlement(group)}"
    yield f"    environments: {environments}"
    yield f"    sizes: {', '.join(offer.sizes) or 'none'}"
    for reason in offer.reasons:
        refused = reason.kind is ReasonKind.REFUSE
        yield f"    {'refused' if refused else 'not now'}: {_sentence(reason)}"


def _entitlement(group: GroupOffer) -> str:
    quota = "no quota" if group.quota is None else f"quota {group.quota}, {group.in_use} in use"
    limit = "" if group.limit is None else f", at most {group.limit} a user"
    return f"{quota}{limit}"


def _sentence(reason: Reason) -> str:
    return f"[{reason.code}] {reason.sentence} {reason.remedy}".rstrip()
