"""What a request waits for: the queue's word where only a queue knows, else policy's of the moment.

Policy is asked anew each time, so that an edit of the catalog is told to who waits already. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import queueing, reasons
from arcetri_spawner.policy.model import Grant, Offer, Offers, Reason, ReasonKind

if TYPE_CHECKING:
    from arcetri_spawner.errors import ArcetriError

_TRIED_AGAIN: Final = "It starts by itself as soon as IAM answers."
_POLICY_KNOWS: Final = frozenset({"queue_new", "queue_behind", "queue_busy", "queue_maintenance"})
"""Codes of a queue's reasons of which policy says the same or more, and newer."""
_WAITING_DOES: Final = frozenset({"busy_quota", "busy_capacity", "busy_room", "maintenance"})
"""Codes of reasons against which policy advises to ask again later, or to wait in line."""
STUCK_CODES: Final = frozenset(
    {
        "queue_no_flavor",
        "queue_too_large",
        "queue_set_aside",
        "not_allowed",
        "flavor_not_granted",
        "no_environment",
        "no_size",
        "group_not_yours",
        "group_does_not_grant",
        "environment_unknown",
        "environment_not_for_flavor",
        "environment_unavailable",
        "size_unknown",
        "size_not_for_flavor",
    }
)
"""Codes of reasons that no waiting mends: somebody has to change something first."""
_QUEUE_KNOWS: Final = frozenset(queueing.QUEUE_CODES) - _POLICY_KNOWS


class Until(StrEnum):
    """What has to happen for a wait to end."""

    SESSIONS = "sessions"
    """Sessions of others end: their lengths tell when."""
    GIVEN_BACK = "given_back"
    """Sessions end that were asked to, after their grace."""
    ROOM = "room"
    """Enough ends on one node, sessions or not."""
    UNCOUNTED = "uncounted"
    """Something ends of which nothing is known."""
    MORE = "more"
    """Sessions of others end, and it matters whose, or something unknown."""
    ELSE = "else"
    """Something that no session's end brings about."""


UNTIL: Final[Mapping[str, Until]] = {
    **dict.fromkeys(
        ("busy", "busy_quota", "busy_capacity", "queue_new", "queue_behind", "queue_busy"),
        Until.SESSIONS,
    ),
    "queue_lent": Until.GIVEN_BACK,
    **dict.fromkeys(("busy_room", "no_room_for_size", "queue_size", "queue_reserved"), Until.ROOM),
    "queue_uncounted": Until.UNCOUNTED,
    **dict.fromkeys(("queue_kept", "queue_other"), Until.MORE),
    **dict.fromkeys(
        (
            "capacity_unknown",
            "capacity_none",
            "queue_starting",
            "queue_checks",
            "queue_backoff",
            "queue_silent",
            "queue_removed",
            "queue_maintenance",
            "queue_closed",
            "queue_unready",
            "queue_no_flavor",
            "queue_too_large",
            "queue_set_aside",
        ),
        Until.ELSE,
    ),
}
"""By the code of a reason to wait. One that refuses is ``ELSE``."""


def waits_for(
    grant: Grant, said: Reason | None, offered: Offers, catalog: Catalog
) -> tuple[Reason, ...]:
    """What a request that waits is told of why, the weightiest first.

    Args:
        grant: What was asked for.
        said: What the queue said last of it, if it said anything.
        offered: What policy offers its user now, this request not counted.
        catalog: The catalog of the moment.
    """
    if catalog.granted_to(grant.group, grant.flavor) is None:
        return (queueing.no_flavor(grant.group, grant.flavor_title or grant.flavor),)
    refused, waits = _policy(grant, offered)
    if waits or said is not None:
        # Who stands in line need not care yet whether their groups can be asked for now.
        refused = [one for one in refused if one.code != "identity_unknown"]
    if said is not None and said.code in _QUEUE_KNOWS:
        return (said, *refused)
    return (*refused, *waits) or ((said,) if said is not None else ())


def until(found: Iterable[Reason]) -> Until:
    """What a wait for these reasons is for: of several, what lengths of sessions tell least of."""
    return max(
        (UNTIL.get(reason.code, Until.ELSE) for reason in found),
        key=tuple(Until).index,
        default=Until.SESSIONS,
    )


def stuck(found: Iterable[Reason]) -> bool:
    """Whether a wait for these reasons never ends by itself: somebody has to act first."""
    return any(one.endless or one.code in STUCK_CODES for one in found)


def remedy(reason: Reason) -> str:
    """What who waits already can do about a reason; that it starts by itself, where nothing."""
    if reason.endless:
        return reason.own or reason.remedy
    if reason.code == "identity_unknown":
        return _TRIED_AGAIN
    return queueing.WAIT if reason.code in _WAITING_DOES else reason.own


def end_with_sessions(found: Iterable[Reason]) -> bool:
    """Whether the wait is over when others' sessions are: only then can their lengths tell when."""
    return until(found) is Until.SESSIONS


def _policy(grant: Grant, offered: Offers) -> tuple[list[Reason], list[Reason]]:
    offer = offer_of(grant, offered)
    group = next((g for g in offer.groups if g.group == grant.group), None) if offer else None
    if group is None:
        # Theirs is no group any more that grants it, or nobody knows which are.
        grantors = tuple(one.group for one in offer.groups) if offer else ()
        return list(offered.refusals) or [reasons.group_not_yours(grant.group, grantors)], []
    return (
        [one for one in group.reasons if one.kind is ReasonKind.REFUSE],
        [one for one in group.reasons if one.kind is ReasonKind.WAIT],
    )


def offer_of(grant: Grant, offered: Offers) -> Offer | None:
    """What the request's flavour looks like to its user now."""
    return next((one for one in offered.offers if one.flavor == grant.flavor), None)


def instead_of(grant: Grant, offered: Offers, sized: Offers) -> tuple[Offer, ...]:
    """What would start now instead.

    Other flavours, and the same one in another size or charged to another group of theirs, where it
    would not start as it was asked for.

    Args:
        grant: What was asked for.
        offered: What policy offers its user now, this request not counted.
        sized: The same in the size that was asked for.
    """
    return tuple(
        one
        for one, asked in zip(offered.offers, sized.offers, strict=True)
        if one.startable and (one.flavor != grant.flavor or not _starts(asked, grant.group))
    )


def told(error: ArcetriError) -> Reason:
    """Why something has to wait, as it was said."""
    # Who asks for a start is told to do so again; whose turn has come need not.
    own = _TRIED_AGAIN if error.code == "identity_unknown" else error.remedy
    return Reason(error.code, ReasonKind.WAIT, error.message, own, own)


def _starts(offer: Offer, group: GroupPath) -> bool:
    return any(side.startable for side in offer.groups if side.group == group)
