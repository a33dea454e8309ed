"""Every reason why a session does not start: its code, its sentence, its remedy.

The spawn page, ``arcetri profiles explain`` and the refusal at a start all show what is built here.
Codes are stable; sentences and remedies may be reworded. A remedy names the group, the edit in
profiles.yaml, or the alternative that would start now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from arcetri_spawner.errors import Busy, Denied
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import LiveSession, Reason, ReasonKind
from arcetri_spawner.policy.names import shown
from arcetri_spawner.policy.wording import (
    LISTED,
    choose,
    group_name,
    listed,
    maintenance_text,
    moment_text,
    named,
    or_alternative,
    plural,
)

REFUSAL_CODES: Final = (
    "invalid_options",
    "never_logged_in",
    "not_admitted",
    "identity_unknown",
    "account_name_unsafe",
    "not_allowed",
    "server_name_invalid",
    "already_running",
    "session_limit",
    "request_limit",
    "flavor_required",
    "flavor_not_granted",
    "maintenance",
    "no_environment",
    "no_size",
    "group_required",
    "group_not_yours",
    "group_does_not_grant",
    "flavor_limit",
    "environment_unknown",
    "environment_not_for_flavor",
    "environment_unavailable",
    "size_unknown",
    "size_not_for_flavor",
)
"""Codes of reasons that refuse, in the order in which they are looked at."""

WAITING_CODES: Final = (
    "busy_quota",
    "capacity_unknown",
    "capacity_none",
    "busy_capacity",
    "busy_room",
)
"""Codes of reasons that only make one wait."""

ALL_CODES: Final = (*REFUSAL_CODES, *WAITING_CODES)

STATUSES: Final[Mapping[str, int]] = {
    **dict.fromkeys(REFUSAL_CODES, Denied.status),
    # The request itself is at fault, whoever sends it.
    "invalid_options": 400,
    # Nobody is refused for good: the same request may do in a minute.
    "identity_unknown": 503,
    **dict.fromkeys(WAITING_CODES, Busy.status),
}
"""The HTTP status that goes with each code."""


def denied(reason: Reason) -> Denied:
    """Return the exception that refuses for this reason."""
    return Denied(
        reason.sentence, code=reason.code, remedy=reason.remedy, status=STATUSES[reason.code]
    )


def busy(reason: Reason) -> Busy:
    """Return the exception that says it cannot start now for this reason."""
    return Busy(reason.sentence, code=reason.code, remedy=reason.remedy)


# What refuses whatever the choice -------------------------------------------------------------


def invalid_options(problem: str) -> Reason:
    """The choice is not well-formed."""
    return _refuse(
        "invalid_options",
        f"The choice cannot be read: {problem}.",
        "Send an object with the keys flavor, group, environment and size, each a plain string;"
        " leave out those you do not choose.",
    )


# These two speak of the person by name: whoever asks may be an admin or a service.


def never_logged_in(name: str) -> Reason:
    """Somebody for whom a session is asked has never logged in."""
    return _refuse(
        "never_logged_in",
        f'"{shown(name)}" has never logged in here, so IAM cannot be asked what they may use.',
        "Have them log in through IAM once; after that a session can be started for them.",
    )


def not_admitted(name: str) -> Reason:
    """The identity provider refuses this person."""
    return _refuse(
        "not_admitted",
        f'IAM no longer admits "{shown(name)}": the account is suspended or deleted, or its login'
        " was withdrawn.",
        f'Log out, and log in again as "{shown(name)}". If IAM refuses that too, the account has'
        " to be restored in IAM first.",
    )


def identity_unknown() -> Reason:
    """The identity provider gives no answer."""
    return _refuse(
        "identity_unknown",
        "IAM does not answer, so it cannot be checked which groups you are in now.",
        "Sessions that run go on. Start again in a few minutes, when IAM answers.",
    )


def account_name_unsafe(name: str) -> Reason:
    """The account's name could be a path."""
    return _refuse(
        "account_name_unsafe",
        f'"{shown(name)}" is no account name that folders can be made for.',
        "Log in through IAM: it makes an account with a safe name.",
    )


def not_allowed(
    site: str, mine: Iterable[GroupPath], members: Sequence[GroupPath], others: Iterable[GroupPath]
) -> Reason:
    """None of the person's groups is allowed in.

    Args:
        site: The platform's name.
        mine: The person's groups.
        members: Groups whose members are all allowed in.
        others: The other allowed groups.
    """
    groups = sorted(mine)
    has = (
        f"Your groups ({listed(groups, last='and')}) are not among those that {shown(site)} serves."
        if groups
        else f"IAM names no group of yours, and {shown(site)} serves members of its groups only."
    )
    names = list(members)
    allowed = sorted(others)
    if len(names) + len(allowed) <= LISTED:
        target = listed([*names, *allowed]) or "a group (none is listed yet)"
    elif names:
        target = listed(names)
    else:
        tops = sorted({"/" + path.split("/")[1] for path in allowed})
        target = f"one of the {len(allowed)} groups below {listed(tops)}"
    return _refuse(
        "not_allowed",
        has,
        f"Join {target} in IAM, then try again; or an admin lists a group of yours"
        " under groups or site.members in profiles.yaml.",
    )


def server_name_invalid(name: str) -> Reason:
    """The server's name cannot be used."""
    return _refuse(
        "server_name_invalid",
        f'A server cannot be called "{shown(name)}".',
        "Use at most 40 letters, digits, dots, underscores and hyphens, the first of them a letter"
        " or a digit.",
    )


def already_running(server_name: str) -> Reason:
    """This server runs, starts or waits already."""
    which = f'The server "{shown(server_name)}"' if server_name else "Your server"
    return _refuse(
        "already_running",
        f"{which} runs or starts already.",
        "Open it, or stop it first to start it with another choice.",
    )


def session_limit(held: Sequence[LiveSession], limit: int) -> Reason:
    """The person holds as many sessions as a user may."""
    own = f"Stop one of them first: {named(held)}."
    return _refuse(
        "session_limit",
        f"You hold {len(held)} of the {limit} {plural(limit, 'session')} that a user may hold.",
        f"{own} The limit is limits.sessions in profiles.yaml.",
        own,
    )


def request_limit(asked: Sequence[LiveSession], limit: int) -> Reason:
    """The person asked for as many sessions as a user may."""
    own = f"Stop or cancel one of them first: {named(asked)}."
    return _refuse(
        "request_limit",
        f"You have {len(asked)} of the {limit} {plural(limit, 'request')} that a user may have"
        " waiting or running.",
        f"{own} The limit is limits.requests in profiles.yaml.",
        own,
    )


# What refuses a flavour ----------------------------------------------------------------------


def flavor_required(offered: Iterable[str]) -> Reason:
    """No flavour was chosen."""
    return _refuse(
        "flavor_required",
        "No flavour was chosen.",
        choose("flavor", offered, none="None of your groups grants a flavour."),
    )


def flavor_not_granted(flavor: str, offered: Iterable[str]) -> Reason:
    """No group of the person grants it, or there is none such: the two are not told apart."""
    return _refuse(
        "flavor_not_granted",
        f'None of your groups grants a flavour "{shown(flavor)}".',
        choose("flavor", offered, none="None of your groups grants any flavour."),
    )


def flavor_granted_elsewhere(flavor: str, grantors: Sequence[GroupPath]) -> Reason:
    """The same refusal as ``explain`` words it for admins, with the edit that would change it."""
    edit = f"an admin lists {shown(flavor)} in the flavors of one of your groups in profiles.yaml"
    which = "it" if len(grantors) == 1 else "one of them"
    return _refuse(
        "flavor_not_granted",
        f'None of your groups grants a flavour "{shown(flavor)}".',
        f"Granted by {listed(sorted(grantors), last='and')}: join {which} in IAM, or {edit}."
        if grantors
        else f"No group grants it yet: {edit}.",
    )


def maintenance(
    flavor: str, title: str, until: datetime | None, message: str, alternative: str | None
) -> Reason:
    """The flavour is under maintenance.

    Args:
        flavor: The flavour's name in profiles.yaml.
        title: Its title.
        until: When the maintenance ends, in the site's time zone; None when it is open-ended.
        message: The admins' words.
        alternative: Title of a flavour that would start now.
    """
    later = f"Start it after {moment_text(until)}" if until else ""
    after = (
        later
        or f"It returns when maintenance is removed from flavors.{shown(flavor)} in profiles.yaml"
    )
    return _refuse(
        "maintenance",
        maintenance_text(title, "is under", until, message),
        or_alternative(after, alternative),
        later and f"{later}.",
    )


def no_environment(
    flavor: str, title: str, lacking: Sequence[str], alternative: str | None
) -> Reason:
    """No environment that goes with the flavour is installed where sessions run.

    Args:
        flavor: The flavour's name in profiles.yaml.
        title: Its title.
        lacking: Environments that go with it, none of which is installed; may be empty.
        alternative: Title of a flavour that would start now.
    """
    if lacking:
        later = "Try again when one is installed"
        return _refuse(
            "no_environment",
            f"No environment that goes with {shown(title)} is installed here.",
            or_alternative(
                f"{later}; for that, an admin gives {listed(lacking)}, under environments in"
                " profiles.yaml, a local: default, or an interpreter of this machine",
                alternative,
            ),
            f"{later}.",
        )
    later = "Try again when one does"
    return _refuse(
        "no_environment",
        f"No environment goes with {shown(title)}.",
        or_alternative(
            f"{later}; for that, an admin lists {shown(flavor)} in the flavors of an environment"
            " in profiles.yaml",
            alternative,
        ),
        f"{later}.",
    )


def no_size(flavor: str, title: str, alternative: str | None) -> Reason:
    """No size goes with the flavour."""
    later = "Try again when one does"
    return _refuse(
        "no_size",
        f"No size goes with {shown(title)}.",
        or_alternative(
            f"{later}; for that, an admin lists {shown(flavor)} in the flavors of a size in"
            " profiles.yaml",
            alternative,
        ),
        f"{later}.",
    )


# What refuses the group to charge ------------------------------------------------------------


def group_required(title: str, grantors: Sequence[GroupPath]) -> Reason:
    """Several groups grant the flavour and none was chosen."""
    return _refuse(
        "group_required",
        f"Several of your groups grant {shown(title)}: choose which one is charged.",
        choose("group", grantors),
    )


def group_not_yours(group: GroupPath, grantors: Sequence[GroupPath]) -> Reason:
    """The person is no member of the group, or there is none such: the two are not told apart."""
    return _refuse(
        "group_not_yours",
        f'You are not in a group "{shown(group, 128)}", so it cannot be charged.',
        choose("group", grantors),
    )


def group_does_not_grant(
    group: GroupPath, flavor: str, title: str, grantors: Sequence[GroupPath]
) -> Reason:
    """The group is the person's, but grants the flavour not."""
    return _refuse(
        "group_does_not_grant",
        f"{group_name(group)} does not grant {shown(title)}.",
        choose("group", grantors)
        + f" Or an admin lists {shown(flavor)} in the flavors of {shown(group, 128)} in"
        " profiles.yaml.",
    )


def flavor_limit(
    flavor: str, title: str, group: GroupPath, held: Sequence[LiveSession], limit: int
) -> Reason:
    """The person holds as many of the flavour as the group allows one user."""
    own = f"Stop one of them first: {named(held)}."
    return _refuse(
        "flavor_limit",
        f"You hold {len(held)} of the {limit} {plural(limit, 'session')} with {shown(title)}"
        f" that {group_name(group)} allows a user.",
        f"{own} The limit is groups.{shown(group, 128)}.flavors.{shown(flavor)}.limit in"
        " profiles.yaml.",
        own,
    )


# What refuses environment or size ------------------------------------------------------------


def environment_unknown(environment: str, fitting: Iterable[str]) -> Reason:
    """There is no such environment."""
    return _refuse(
        "environment_unknown",
        f'There is no environment "{shown(environment)}".',
        choose("environment", fitting),
    )


def environment_not_for_flavor(environment: str, title: str, fitting: Iterable[str]) -> Reason:
    """The environment does not go with the flavour."""
    return _refuse(
        "environment_not_for_flavor",
        f'The environment "{shown(environment)}" does not run on {shown(title)}.',
        choose("environment", fitting),
    )


def environment_unavailable(environment: str, fitting: Iterable[str]) -> Reason:
    """The environment is in the catalog, but not installed where sessions run."""
    return _refuse(
        "environment_unavailable",
        f'The environment "{shown(environment)}" is not installed here.',
        choose("environment", fitting)
        + f" Or an admin sets environments.{shown(environment)}.local in profiles.yaml to an"
        " interpreter that is.",
    )


def size_unknown(size: str, fitting: Iterable[str]) -> Reason:
    """There is no such size."""
    return _refuse("size_unknown", f'There is no size "{shown(size)}".', choose("size", fitting))


def size_not_for_flavor(size: str, title: str, fitting: Iterable[str]) -> Reason:
    """The size does not go with the flavour."""
    return _refuse(
        "size_not_for_flavor",
        f'The size "{shown(size)}" does not go with {shown(title)}.',
        choose("size", fitting),
    )


# What only makes one wait --------------------------------------------------------------------

_IN_LINE: Final = "Ask for it all the same, and wait in line"


def busy_quota(
    flavor: str,
    title: str,
    group: GroupPath,
    used: int,
    quota: int,
    alternative: str | None,
    *,
    borrow: int = 0,
) -> Reason:
    """The charged group uses its whole quota of the flavour, and what it may borrow beyond it."""
    if quota == 0:
        return _wait(
            "busy_quota",
            f"{group_name(group)} has no {shown(title)} of its own.",
            or_alternative(
                f"An admin can raise groups.{shown(group, 128)}.flavors.{shown(flavor)}.quota"
                " above 0 in profiles.yaml",
                alternative,
            ),
            "",
            endless=not borrow,
        )
    lent = f" and of {borrow} that it may borrow" if borrow else ""
    return _wait(
        "busy_quota",
        f"{group_name(group)} uses {used} of its {quota} {shown(title)}{lent}.",
        or_alternative(_IN_LINE, alternative),
        f"{_IN_LINE}.",
    )


def capacity_unknown(title: str, alternative: str | None) -> Reason:
    """It is not known what is free."""
    return _wait(
        "capacity_unknown",
        f"It is not known now whether {shown(title)} is free: what runs the sessions does not"
        " answer.",
        or_alternative("Sessions that run go on, and what is asked for waits", alternative),
        "Sessions that run go on, and what is asked for waits.",
    )


def capacity_none(flavor: str, title: str, alternative: str | None) -> Reason:
    """Nothing that could start a session has the flavour."""
    return _wait(
        "capacity_none",
        f"There is no {shown(title)} here now.",
        or_alternative(
            "It can start once one is connected; without one, an admin can simulate it with"
            f" local.simulate.{shown(flavor)} in profiles.yaml",
            alternative,
        ),
        "It can start once one is connected.",
        endless=True,
    )


def no_node(flavor: str, title: str, alternative: str | None) -> Reason:
    """The same on a cluster."""
    return _wait(
        "capacity_none",
        f"No node that has {shown(title)} can start a session now.",
        or_alternative(
            "It can start once such a node is back. An operator sees with kubectl get nodes"
            " --show-labels whether one is ready, not cordoned, and labelled as"
            f" flavors.{shown(flavor)}.nodes in profiles.yaml says",
            alternative,
        ),
        "It can start once such a node is back.",
        endless=True,
    )


def no_node_at_all(flavor: str, title: str, alternative: str | None) -> Reason:
    """The same of a flavour without a device."""
    return _wait(
        "capacity_none",
        f'No node can start a session with "{shown(title)}" now.',
        or_alternative(
            "It can start once a node is back. An operator sees with kubectl get nodes"
            " --show-labels whether those meant for it are ready, not cordoned, and labelled as"
            f" flavors.{shown(flavor)}.nodes in profiles.yaml says, should it name labels",
            alternative,
        ),
        "It can start once a node is back.",
        endless=True,
    )


def busy_capacity(title: str, total: int, alternative: str | None) -> Reason:
    """All devices of the flavour are in use."""
    what = f"The only {shown(title)} is" if total == 1 else f"All {total} {shown(title)} are"
    return _wait(
        "busy_capacity",
        f"{what} in use.",
        or_alternative(_IN_LINE, alternative),
        f"{_IN_LINE}.",
    )


def busy_room(title: str, alternative: str | None) -> Reason:
    """Nobody holds what is asked for, and where it is there is no room for a session."""
    return _wait(
        "busy_room",
        f"{shown(title)} is free, but where it is other work has taken the cores, the memory or"
        " what else a session needs.",
        or_alternative(_IN_LINE, alternative),
        f"{_IN_LINE}.",
    )


def no_room(title: str, alternative: str | None) -> Reason:
    """The same of a flavour without a device, which takes cores and memory of any node."""
    return _wait(
        "busy_room",
        f"No node has room for {shown(title)} now: other work has taken the cores or the memory,"
        " or they are kept for free GPUs and other devices.",
        or_alternative(_IN_LINE, alternative),
        f"{_IN_LINE}.",
    )


def _refuse(code: str, sentence: str, remedy: str, own: str | None = None) -> Reason:
    return Reason(code, ReasonKind.REFUSE, sentence, remedy, remedy if own is None else own)


def _wait(code: str, sentence: str, remedy: str, own: str, *, endless: bool = False) -> Reason:
    return Reason(code, ReasonKind.WAIT, sentence, remedy, own, endless)
