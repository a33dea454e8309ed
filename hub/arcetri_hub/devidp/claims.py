"""The four claim profiles, exactly as IAM writes them. Pure functions.

========  ================  ============  ========  ========  ============================
profile   claim             access token  ID token  userinfo  form
========  ================  ============  ========  ========  ============================
iam       groups            no            yes       live      ``a/b``
wlcg      wlcg.groups       yes           yes       copied    ``/a/b``, sorted
aarc      entitlements      yes           yes       live      ``urn:geant:...:group:a:b``
kc        roles             yes           yes       copied    ``a/b``
========  ================  ============  ========  ========  ============================

*Live* is read from the directory at each request; *copied* comes from the access token, and is
old until the client refreshes. Somebody in no group has no key at all, except ``groups: []`` in
the ID token of the iam profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from arcetri_hub.devidp.models import Profile, User

ORGANISATION: Final = "arcetri-demo"
URN_PREFIX: Final = "urn:geant:iam.example:group:"
WLCG_ANY_AUDIENCE: Final = "https://wlcg.cern.ch/jwt/v1/any"
_WLCG_GROUPS: Final = "wlcg.groups"
_ENTITLEMENT_SCOPES: Final = frozenset({"eduperson_entitlement", "entitlements"})

GroupClaims = dict[str, list[str]]


def group_claims(profile: Profile, groups: Iterable[str], scopes: Sequence[str]) -> GroupClaims:
    """The group claims of one person for one token, empty when there is nothing to say."""
    # IAM promises an order only for wlcg: anything but the alphabet, so that no client leans on it
    unordered = sorted(groups, key=lambda path: path[::-1])
    if not unordered:
        return {}
    match profile:
        case "iam":
            return {"groups": unordered} if "profile" in scopes else {}
        case "kc":
            return {"roles": unordered} if "profile" in scopes else {}
        case "wlcg":
            paths = _wlcg_groups(unordered, scopes)
            return {_WLCG_GROUPS: paths} if paths else {}
        case "aarc":
            if _ENTITLEMENT_SCOPES.isdisjoint(scopes):
                return {}
            urns = [URN_PREFIX + path.replace("/", ":") for path in unordered]
            return {"entitlements": urns, "eduperson_entitlement": urns}


def _wlcg_groups(groups: Iterable[str], scopes: Sequence[str]) -> list[str]:
    wanted = [scope for scope in scopes if scope.split(":", 1)[0] == _WLCG_GROUPS]
    if not wanted:
        return []
    paths = sorted("/" + group for group in groups)
    named = [scope.split(":", 1)[1] for scope in wanted if ":" in scope]
    first = [path for path in dict.fromkeys(named) if path in paths]
    return first + [path for path in paths if path not in first]


def access_token_claims(
    profile: Profile, scopes: Sequence[str], groups: GroupClaims, audience: str | None, now: int
) -> dict[str, Any]:
    """What an access token says beyond subject, issuer, client and times."""
    match profile:
        case "iam":
            return {}
        case "wlcg":
            return {
                "wlcg.ver": "1.0",
                "aud": audience or WLCG_ANY_AUDIENCE,
                "nbf": now,
                "scope": " ".join(scopes),
                **groups,
            }
        case "aarc" | "kc":
            return {"scope": " ".join(scopes), **groups}


def id_token_claims(
    profile: Profile, user: User, scopes: Sequence[str], groups: GroupClaims
) -> dict[str, Any]:
    """What an ID token says of the person, as far as its scopes reach."""
    if profile == "aarc":
        return {"voperson_id": voperson_id(user), **groups}
    claims: dict[str, Any] = {}
    if "profile" in scopes:
        claims |= {"name": user.display_name, "preferred_username": user.username}
        if profile != "wlcg":
            claims["organisation_name"] = ORGANISATION
    if "email" in scopes:
        claims["email"] = user.email
    if profile == "wlcg":
        claims["wlcg.ver"] = "1.0"
    elif profile == "iam" and "profile" in scopes:
        claims["groups"] = []
    return claims | groups


def userinfo_claims(
    profile: Profile,
    user: User,
    scopes: Sequence[str],
    copied: Mapping[str, list[str]],
) -> dict[str, Any]:
    """What ``/userinfo`` answers.

    ``profile`` is the switch: without it only ``sub``, with it everything, the address included.
    ``copied`` are the group claims of the access token.
    """
    if "profile" not in scopes:
        return {"sub": user.sub}
    live = profile in ("iam", "aarc")
    groups = group_claims(profile, user.groups, scopes) if live else dict(copied)
    claims: dict[str, Any] = {
        "sub": user.sub,
        "name": user.display_name,
        "preferred_username": user.username,
        "given_name": user.given_name,
        "family_name": user.family_name,
        "email": user.email,
        "email_verified": True,
        "updated_at": user.updated_at,
        "scope": list(scopes),
    }
    if profile == "aarc":
        claims["voperson_id"] = voperson_id(user)
    if profile != "wlcg":
        claims["organisation_name"] = ORGANISATION
    return claims | groups


def voperson_id(user: User) -> str:
    """The identifier of the aarc profile."""
    return f"{user.sub}@iam.example"
