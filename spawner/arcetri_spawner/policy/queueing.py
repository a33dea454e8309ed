"""What a queue says: why a request waits in it, and why what was admitted is wanted back.

``reasons.busy_quota`` and ``reasons.busy_capacity`` say it where quota or devices are in use; what
only a queue knows of is built here. Codes are stable; sentences and remedies may be reworded.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Reason, ReasonKind
from arcetri_spawner.policy.names import shown
from arcetri_spawner.policy.wording import group_name, maintenance_text, plural

QUEUE_CODES: Final = (
    "queue_new",
    "queue_behind",
    "queue_busy",
    "queue_kept",
    "queue_lent",
    "queue_size",
    "queue_reserved",
    "queue_uncounted",
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
    "queue_other",
)
"""Codes of reasons for which a request waits in a queue, besides ``reasons.WAITING_CODES``."""

EVICTED_CODES: Final = (
    "evicted_returned",
    "evicted_shared",
    "evicted_priority",
    "evicted_closed",
    "evicted_maintenance",
    "evicted_silent",
    "evicted_node",
    "evicted_lifetime",
    "evicted_operator",
    "evicted_other",
)
"""Codes of reasons for which what was admitted is wanted back."""

_OPERATOR: Final = "Nothing that you chose is wrong, and your place is kept: tell the operator."
WAIT: Final = "Your place is kept: it starts by itself."
"""What goes without saying to who waits."""


# Why a request waits -------------------------------------------------------------------------


def new(title: str) -> Reason:
    """The queue has not looked at the request yet."""
    return _wait("queue_new", f"Your request for {shown(title)} is in the queue.", WAIT)


def behind(group: GroupPath, title: str) -> Reason:
    """Others of the group wait for the same before it."""
    return _wait(
        "queue_behind", f"Others of {group_name(group)} wait for {shown(title)} before you.", WAIT
    )


def busy(title: str) -> Reason:
    """What it waits for is in use; how much of it there is, is not known now."""
    return _wait("queue_busy", f"It waits for {shown(title)} to become free.", WAIT)


def kept(title: str, free: int) -> Reason:
    """Devices are free, but belong to the quotas of other groups."""
    verb, belong = ("is", "belongs") if free == 1 else ("are", "belong")
    return _wait(
        "queue_kept",
        f"{free} {shown(title)} {verb} free, but {belong} to the quotas of other groups.",
        WAIT,
    )


def lent(title: str) -> Reason:
    """Others were told to give back what they hold, and have not yet."""
    return _wait(
        "queue_lent",
        f"It waits for {shown(title)} that others were asked to give back.",
        "It starts by itself as soon as they have saved their work.",
    )


def size(title: str, other: str = "", startable: int = 0) -> Reason:
    """There is quota, but no node has room for a session of this size.

    Args:
        title: The flavour's title.
        other: The title of a size of which some would start now; empty where none is known.
        startable: How many of it would.
    """
    instead = f" In the size {shown(other)} {startable} would start." if startable else ""
    return _wait(
        "queue_size",
        f"No node has room for a session of this size on {shown(title)} now.{instead}",
        "Your place is kept. A smaller size may start sooner.",
    )


def reserved(title: str) -> Reason:
    """What nodes have left is kept for sessions on their free devices."""
    return _wait(
        "queue_reserved",
        f"No node has room for a session of this size on {shown(title)} beside what is kept for"
        " free GPUs and other devices.",
        "Your place is kept. A smaller size may start sooner.",
    )


def uncounted(title: str) -> Reason:
    """What it was given is in use by somebody of whom the queue does not know."""
    return _wait(
        "queue_uncounted",
        f"The {shown(title)} that the queue had for you is in use by somebody it does not count.",
        "Your place is kept: it starts by itself when one is free.",
    )


def starting() -> Reason:
    """Others that were admitted before are still starting."""
    return _wait("queue_starting", "Others who came before you are still starting.", WAIT)


def checks(names: str) -> Reason:
    """It has its quota, and waits for an admission check."""
    return _wait("queue_checks", f"It has its turn, and waits for {shown(names)}.", WAIT)


def backoff(until: datetime | None) -> Reason:
    """After an eviction it waits a while before it is looked at again.

    Args:
        until: When that is, in the site's time zone; None where it is not known.
    """
    when = f"at {until:%H:%M:%S}" if until else "soon"
    return _wait("queue_backoff", f"It is looked at again {when}.", WAIT)


def maintenance(title: str, until: datetime | None, message: str) -> Reason:
    """The flavour is under maintenance.

    Args:
        title: The flavour's title.
        until: When the maintenance ends, in the site's time zone; None when it is open-ended.
        message: The admins' words.
    """
    return _wait(
        "queue_maintenance",
        maintenance_text(title, "is under", until, message),
        WAIT,
    )


def removed() -> Reason:
    """Somebody deleted what kept its place."""
    return _wait(
        "queue_removed",
        "Somebody removed your request from the queue. It is in line again, behind those who asked"
        " meanwhile.",
        "It starts by itself. Ask the operator of the platform why it was removed.",
    )


def silent() -> Reason:
    """What keeps the queue gives no answer."""
    return _wait(
        "queue_silent",
        "The queue does not answer just now. Your request is kept, and asked again by itself.",
        "Sessions that run go on. If it stays so, tell the operator of the platform.",
    )


def closed(group: GroupPath) -> Reason:
    """The group's queue is stopped."""
    return _wait(
        "queue_closed",
        f"The queue of {group_name(group)} is closed for now: nothing more starts from it.",
        "Your place is kept: it goes on when an operator opens the queue again.",
    )


def unready(group: GroupPath) -> Reason:
    """The group's queue is missing, or cannot admit anything."""
    return _wait(
        "queue_unready", f"The queue of {group_name(group)} is not ready on the cluster.", _OPERATOR
    )


def no_flavor(group: GroupPath, title: str) -> Reason:
    """The group's queue does not have the flavour, or not any more."""
    return _wait(
        "queue_no_flavor",
        f"The queue of {group_name(group)} does not give out {shown(title)} now.",
        f"Choose another flavour. {_OPERATOR}",
    )


def too_large(group: GroupPath, title: str) -> Reason:
    """Its queue was given less than the catalog promises."""
    return _wait(
        "queue_too_large",
        f"The queue of {group_name(group)} has no {shown(title)} to give: more of it is promised"
        " than the farm has, or the quotas of others leave none.",
        "Choose another flavour. arcetri queues sync --dry-run tells an admin which quotas to"
        " lower.",
    )


def set_aside() -> Reason:
    """Somebody has taken it out of line, without ending it."""
    return _wait(
        "queue_set_aside",
        "An operator has set your request aside: it stands in no line now.",
        "Ask the operator of the platform, or leave the queue and ask again.",
    )


def other(said: str) -> Reason:
    """Something else, in the queue's own words."""
    return _wait("queue_other", f"The queue says: {shown(said, 400)}", WAIT)


# Why what was admitted is wanted back --------------------------------------------------------


def returned(title: str) -> Reason:
    """The group that had lent it wants it back."""
    return _wait(
        "evicted_returned",
        f"Your group had borrowed this {shown(title)}, and the group that it belongs to needs it.",
        "Save your work. Your request can go back to its place in line.",
    )


def fair(title: str) -> Reason:
    """Another group that borrows, or shares what is left, has less of it."""
    return _wait(
        "evicted_shared",
        f"Your group has more of what is shared than another one that needs this {shown(title)}.",
        "Save your work. Your request can go back to its place in line.",
    )


def priority(title: str) -> Reason:
    """Something more urgent of the same group needs it."""
    return _wait(
        "evicted_priority",
        f"Something more urgent of your group needs this {shown(title)}.",
        "Save your work. Your request can go back to its place in line.",
    )


def drained(group: GroupPath) -> Reason:
    """The group's queue is being emptied."""
    return _wait(
        "evicted_closed",
        f"The queue of {group_name(group)} is being emptied.",
        "Save your work. Your request can wait until an operator opens the queue again.",
    )


def maintained(title: str, until: datetime | None, message: str) -> Reason:
    """The flavour's maintenance begins.

    Args:
        title: The flavour's title.
        until: When the maintenance ends, in the site's time zone; None when it is open-ended.
        message: The admins' words.
    """
    return _wait(
        "evicted_maintenance",
        maintenance_text(title, "goes into", until, message),
        "Save your work. Your request can wait until the maintenance is over.",
    )


def unstarted() -> Reason:
    """It was admitted, and its session was not ready in the time the queue gives."""
    return _wait(
        "evicted_silent",
        "The session did not start in the time that the queue gives.",
        "Your request can go back to its place in line.",
    )


def node_failed(node: str) -> Reason:
    """The node that it was admitted to has failed."""
    where = f"The node {shown(node)}" if node else "The node"
    return _wait(
        "evicted_node",
        f"{where} that your session was given has failed.",
        "Files that you saved are there. Your request can go back to its place in line.",
    )


def lifetime(seconds: int | None) -> Reason:
    """The longest time that the queue allows is up."""
    hours = round((seconds or 0) / 3600)
    how = f" of {hours} {plural(hours, 'hour')}" if hours else ""
    return _wait(
        "evicted_lifetime", f"The longest time{how} is up.", "Save your work, and start again."
    )


def deactivated() -> Reason:
    """An operator has ended it in the queue."""
    return _wait(
        "evicted_operator",
        "An operator has ended your session in the queue.",
        "Save your work, and ask the operator of the platform.",
    )


def wanted_back(said: str) -> Reason:
    """Something else, in the queue's own words."""
    return _wait(
        "evicted_other",
        f"The queue wants back what your session holds: {shown(said, 400)}",
        "Save your work. Your request can go back to its place in line.",
    )


def _wait(code: str, sentence: str, remedy: str) -> Reason:
    return Reason(code, ReasonKind.WAIT, sentence, remedy, remedy)
