"""What a request's user is told while it waits, in words and as JSON; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from arcetri_hub.pages import amounts
from arcetri_hub.pages.choices import free_text, group_title
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.estimates.model import ExpectedWait
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.model import Grant, GroupOffer, Offer, Reason
from arcetri_spawner.policy.sides import offer_charged_to
from arcetri_spawner.policy.sizes import offer_in_size, title_of, with_room
from arcetri_spawner.waiting import Wait
from arcetri_spawner.waiting.why import Until, remedy, stuck, until

_SAID: Final = frozenset({"busy_quota", "busy_capacity"})
NO_ESTIMATE: Final = "There is no estimate yet: too little is known of how long others stay."
NO_ESTIMATES: Final = {
    Until.SESSIONS: NO_ESTIMATE,
    Until.GIVEN_BACK: "There is no estimate: sessions that were asked to give it back have {grace}"
    " to save their work, and end then.",
    Until.ROOM: "There is no estimate: how long others stay does not say where enough becomes free"
    " for this size.",
    Until.UNCOUNTED: "There is no estimate: of what the queue does not count, nobody knows how long"
    " it stays.",
    Until.MORE: "There is no estimate: more than the length of others' sessions decides here.",
    Until.ELSE: "There is no estimate: this wait does not end when somebody else's session does.",
}
"""Why nothing is said of how long a wait is, by what it is for."""


@dataclass(frozen=True, slots=True)
class Instead:
    """What would start now, and how it is asked for."""

    flavor: str
    title: str
    free: str
    group: str
    environment: str
    size: str
    detail: str
    """The software and the size it would start with, in words."""
    otherwise: str
    """What of it is not as it was asked for, in words; empty where nothing is."""
    charged: str


@dataclass(frozen=True, slots=True)
class Said:
    """A reason to wait, as it is told to who waits."""

    code: str
    sentence: str
    own: str
    """What they can do about it; empty where that is to wait."""


@dataclass(frozen=True, slots=True)
class WaitPage:
    """Everything that the waiting page shows of one request."""

    title: str
    detail: str
    charged: str
    asked: str
    place: str
    """Such as ``2nd in line``; empty where it does not wait, or it is not known."""
    ahead: str
    why: str
    """What the wait is for, in one sentence."""
    reasons: tuple[Said, ...]
    stuck: bool
    """Whether it does not start however long it waits, unless somebody acts."""
    expected: str
    confidence: str
    alternatives: tuple[Instead, ...]
    admitted: bool
    simulated: bool
    trouble: Reason | None
    kept: str
    """Until when an admitted request is kept; empty where it waits."""
    hold: str
    """For how long a session that started by itself is kept for its user, in words."""


def wait_page(wait: Wait, catalog: Catalog, now: datetime) -> WaitPage:
    """Lay out the waiting page."""
    grant = wait.grant
    flavor = catalog.flavors.get(grant.flavor)
    zone = catalog.site.timezone
    title = flavor.title if flavor else grant.flavor_title or grant.flavor
    charged = _group(catalog, grant.group)
    return WaitPage(
        title=title,
        detail=f"{_environment(catalog, grant.environment)}, {title_of(catalog, grant.size)}",
        charged=charged,
        asked=f"{amounts.moment(wait.asked, zone, now)} ({amounts.span(now - wait.asked)} ago)",
        place=place_text(wait),
        ahead=ahead_text(wait, charged),
        why=why_text(wait, title, charged),
        # The sentence before says the same of these.
        reasons=tuple(_said(one) for one in wait.reasons if one.code not in _SAID),
        stuck=stuck(wait.reasons),
        expected=expected_text(wait.expected),
        confidence=confidence_text(wait, catalog.defaults.grace),
        alternatives=tuple(_instead(catalog, offer, grant) for offer in wait.alternatives),
        admitted=wait.stage == "admitted",
        simulated=bool(wait.offer and wait.offer.simulated),
        trouble=wait.trouble,
        kept=amounts.moment(wait.hold_until, zone, now) if wait.hold_until else "",
        hold=amounts.span(catalog.defaults.hold),
    )


def _instead(catalog: Catalog, offer: Offer, grant: Grant) -> Instead:
    """Another flavour, with as much as goes with it of what was chosen."""
    able = [one.group for one in offer.groups if one.startable]
    group = grant.group if grant.group in able else able[0]
    environment = _kept(grant.environment, offer.environments)
    size = with_room(offer, catalog, grant.size, grant.cpu, grant.memory)
    found = offer_charged_to(offer_in_size(offer, catalog, size), group)
    charged = _group(catalog, group)
    others = [
        said
        for said, same in (
            (_environment(catalog, environment), environment == grant.environment),
            (title_of(catalog, size), size == grant.size),
            (f"charged to {charged}", group == grant.group),
        )
        if not same
    ]
    said = [f"Not as you asked: {', '.join(others)}."] if others else []
    if any(one.group == group and one.would_borrow for one in offer.groups):
        said.append(f"Beyond the quota of {charged}: it may be asked back.")
    if any(one.group == group and one.shares for one in offer.groups):
        said.append(f"{charged} shares it with other groups: it may be asked back.")
    return Instead(
        flavor=offer.flavor,
        title=offer.title,
        free=free_text(found),
        group=group,
        environment=environment,
        size=size,
        detail=f"{_environment(catalog, environment)}, {title_of(catalog, size)}",
        otherwise=" ".join(said),
        charged=charged,
    )


def _said(reason: Reason) -> Said:
    advice = remedy(reason)
    # The page says of all that they start by themselves.
    return Said(reason.code, reason.sentence, "" if advice == queueing.WAIT else advice)


def _kept(chosen: str, fitting: tuple[str, ...]) -> str:
    """What was chosen, or what policy takes where nothing is."""
    return chosen if chosen in fitting or not fitting else fitting[0]


def _group(catalog: Catalog, path: str) -> str:
    entry = catalog.groups.get(GroupPath(path))
    return group_title(path, entry.title if entry else "")


def _environment(catalog: Catalog, name: str) -> str:
    entry = catalog.environments.get(name)
    return entry.title if entry else name


def place_text(wait: Wait) -> str:
    """The place in line: ``1st in line``."""
    if wait.position is None:
        return ""
    return f"{ordinal(wait.position.ahead + 1)} in line"


def ordinal(number: int) -> str:
    """A place as people say it: ``1st``, ``12th``, ``23rd``."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def ahead_text(wait: Wait, charged: str) -> str:
    """Who is ahead, and whether that is sure."""
    position = wait.position
    if position is None:
        return ""
    if position.ahead:
        asked = "request" if position.ahead == 1 else "requests"
        said = f"{position.ahead} earlier {asked} of {charged} for the same flavour."
    else:
        said = f"Nobody of {charged} asked for this flavour before you."
    if position.others == 1:
        said += " 1 earlier request of another group may come before you."
    elif position.others:
        said += f" {position.others} earlier requests of other groups may come before you."
    if position.provisional:
        said += " The place is provisional: shares between groups may change it."
    return said


def why_text(wait: Wait, title: str, charged: str) -> str:
    """What the wait is for: ``All 8 NVIDIA T4 are in use; CMS holds 2 of its 2.``."""
    offer = wait.offer
    if offer is None or wait.stage == "admitted":
        return ""
    said = []
    if offer.total and not offer.free:
        what = f"The only {title} is" if offer.total == 1 else f"All {offer.total} {title} are"
        said.append(f"{what} in use")
    elif offer.total:
        said.append(f"{offer.free} of {offer.total} {title} {_are(offer.free)} free")
    group = next((one for one in offer.groups if one.group == wait.grant.group), None)
    if group is not None:
        said.append(_held(group, charged))
    sentence = "; ".join(part for part in said if part)
    return f"{sentence[:1].upper()}{sentence[1:]}." if sentence else ""


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _held(group: GroupOffer, charged: str) -> str:
    if group.quota is None:
        return f"{charged} holds {group.in_use}" if group.in_use else ""
    if group.borrow:
        return (
            f"{charged} holds {group.in_use}, has a quota of {group.quota}, and may borrow"
            f" {group.borrow} more"
        )
    return f"{charged} holds {group.in_use} of the {group.quota} it may hold at the same time"


def expected_text(expected: ExpectedWait | None) -> str:
    """How long it will probably still be: ``20 min to 1 h 30 min``."""
    if expected is None:
        return ""
    low, high = amounts.span(expected.low), amounts.span(expected.high)
    return low if low == high else f"{low} to {high}"


def confidence_text(wait: Wait, grace: timedelta) -> str:
    """How sure that is, or why nothing is said.

    Args:
        wait: What is known.
        grace: How long sessions have that are asked to end.
    """
    expected = wait.expected
    if expected is None:
        return NO_ESTIMATES[until(wait.reasons)].format(grace=amounts.span(grace))
    return (
        f"{expected.confidence:.0%} of such waits fall into this range, most likely about"
        f" {amounts.span(expected.likely)}. It rests on {expected.sessions} earlier sessions."
    )


def wait_json(wait: Wait, catalog: Catalog, hub_url: Callable[..., str]) -> dict[str, Any]:
    """A request that has not started as the REST API tells of it.

    Args:
        wait: What is known.
        catalog: The catalog of the moment.
        hub_url: Makes the address of a page of the hub from its parts.
    """
    grant, position, expected = wait.grant, wait.position, wait.expected
    return {
        "state": "admitted" if wait.stage == "admitted" else "queued",
        "request": str(grant.request_id),
        "url": hub_url("api", "arcetri", "requests", str(grant.request_id)),
        "page": hub_url("waiting", grant.username, grant.server_name),
        "user": grant.username,
        "server": grant.server_name,
        "flavor": grant.flavor,
        "group": grant.group,
        "asked": wait.asked.isoformat(),
        "place": position.ahead + 1 if position else None,
        "ahead_of_other_groups": position.others if position else None,
        "provisional": position.provisional if position else None,
        "reasons": [{**_reason(reason), "remedy": remedy(reason)} for reason in wait.reasons],
        "trouble": _reason(wait.trouble) if wait.trouble else None,
        "hold_until": wait.hold_until.isoformat() if wait.hold_until else None,
        "expected": None
        if expected is None
        else {
            "low_seconds": int(expected.low.total_seconds()),
            "likely_seconds": int(expected.likely.total_seconds()),
            "high_seconds": int(expected.high.total_seconds()),
            "confidence": expected.confidence,
            "sessions": expected.sessions,
        },
        "alternatives": [one.flavor for one in wait.alternatives if one.flavor != grant.flavor],
        "instead": [_choice(_instead(catalog, one, grant)) for one in wait.alternatives],
    }


def _choice(one: Instead) -> dict[str, str]:
    """What asks for it."""
    return {
        "flavor": one.flavor,
        "group": one.group,
        "environment": one.environment,
        "size": one.size,
    }


def _reason(reason: Reason) -> dict[str, str]:
    return {"code": reason.code, "message": reason.sentence, "remedy": reason.own}
