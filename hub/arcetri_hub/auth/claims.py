"""What INDIGO IAM says of a person, in whichever of its claim forms. Pure.

The form is decided by the scopes the client was registered with, not by what a login asks for,
so all four are read:

======  =======================================  =================================================
iam     ``groups``                               ``arcetri/astro/gpu``
wlcg    ``wlcg.groups``                          ``/arcetri/astro/gpu``
aarc    ``entitlements``                         ``urn:geant:iam.example:group:arcetri:astro:gpu``
        (or ``eduperson_entitlement``)
kc      ``roles``                                ``arcetri/astro/gpu``
======  =======================================  =================================================

IAM leaves the claim out for a person in no group: a missing claim means no groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from arcetri_spawner.groups import GroupPath, normalize_group, normalize_groups
from arcetri_spawner.identity import Numbers

_PATH_CLAIMS = ("wlcg.groups", "groups")
_URN_CLAIMS = ("entitlements", "eduperson_entitlement")
_LAST_CLAIM = "roles"
GROUP_CLAIMS = (*_PATH_CLAIMS, *_URN_CLAIMS, _LAST_CLAIM)
"""Every claim groups are read from, in order: the first one that is there is the one."""

# <urn:namespace>:group:<group>[:<subgroup>...][:role=<role>][#<authority>], components
# percent-encoded (AARC-G069). The first ":group:" after the namespace begins the path.
_ENTITLEMENT = re.compile(
    r"(?P<namespace>urn:[^:#]+:[^#]+?):group:(?P<path>[^#]+)(?:#.*)?", re.IGNORECASE
)
_MEMBER = "role=member"
_MAX_LABEL = 255
_FIRST_USER_ID = 1000
_LAST_ID = 2**31 - 1


class ClaimsError(ValueError):
    """The claims identify nobody; the message holds none of them."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a set of claims describes."""

    sub: str
    label: str
    """``preferred_username``, which may change and be taken over; never an identity."""
    display_name: str
    groups: frozenset[GroupPath]


def read_person(
    claims: Mapping[str, object], *, groups_claim: str = "", entitlement_namespace: str = ""
) -> Person:
    """Read who is meant, and their groups.

    Args:
        claims: An answer of the userinfo endpoint, or an ID token's payload.
        groups_claim: Read the groups from this claim only; empty means the first of
            ``GROUP_CLAIMS`` that is there.
        entitlement_namespace: Accept only entitlements of this namespace, such as
            ``urn:geant:iam.example``; empty accepts any.

    Raises:
        ClaimsError: There is no ``sub``.
    """
    sub = claims.get("sub")
    if not isinstance(sub, str) or not sub or len(sub) > _MAX_LABEL or not sub.isprintable():
        raise ClaimsError("the claims name nobody: sub is missing or no word")
    label = _label(claims.get("preferred_username")) or _local_part(claims.get("email")) or sub
    return Person(
        sub=sub,
        label=label,
        display_name=_label(claims.get("name")) or label,
        groups=read_groups(
            claims, groups_claim=groups_claim, entitlement_namespace=entitlement_namespace
        ),
    )


def read_groups(
    claims: Mapping[str, object], *, groups_claim: str = "", entitlement_namespace: str = ""
) -> frozenset[GroupPath]:
    """Return the normalised groups; empty when there is no claim or it is no list."""
    names = (groups_claim,) if groups_claim else GROUP_CLAIMS
    for name in names:
        if name in claims:
            values = _texts(claims[name])
            if name in _URN_CLAIMS:
                return _from_entitlements(values, entitlement_namespace)
            return normalize_groups(values)
    return frozenset()


def read_numbers(claims: Mapping[str, object], *, uid_claim: str, gids_claim: str) -> Numbers:
    """Read numeric ids from the claims a site names; an empty name reads nothing.

    Ids of the system (below 1000) and nonsense are left out: what IAM sends must not be able
    to make somebody root.
    """
    uid = _number(claims.get(uid_claim)) if uid_claim else None
    gids: dict[GroupPath, int] = {}
    pairs = claims.get(gids_claim) if gids_claim else None
    if isinstance(pairs, Mapping):
        for path, value in pairs.items():
            gid = _number(value)
            for group in normalize_groups([path]):
                if gid is not None:
                    gids[group] = gid
    return Numbers(uid=uid, gids=gids or None)


def _from_entitlements(urns: Iterable[str], namespace: str) -> frozenset[GroupPath]:
    groups: set[GroupPath] = set()
    for urn in urns:
        found = _ENTITLEMENT.fullmatch(urn)
        if found is None or (
            namespace and found["namespace"].casefold() != namespace.rstrip(":").casefold()
        ):
            continue
        parts = found["path"].split(":")
        if parts[-1] == _MEMBER:
            parts = parts[:-1]
        names = [unquote(part) for part in parts]
        # A role other than member is no group; an encoded slash would forge another path.
        if any("=" in part for part in parts) or any("/" in name for name in names):
            continue
        try:
            groups.add(normalize_group("/" + "/".join(names)))
        except ValueError:
            continue
    return frozenset(groups)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple):
        return tuple(item for item in value if isinstance(item, str))
    return ()


def _label(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(char for char in value if char.isprintable()).strip()[:_MAX_LABEL]


def _local_part(value: object) -> str:
    return _label(value).partition("@")[0]


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if _FIRST_USER_ID <= value <= _LAST_ID else None
