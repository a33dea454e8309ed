"""Every row of the table of claim forms, at the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.support.iam import DevIam

pytestmark = pytest.mark.component

SCOPE = "openid profile email offline_access wlcg.groups eduperson_entitlement"
URN = "urn:geant:iam.example:group:"
GROUP_KEYS = {"groups", "wlcg.groups", "entitlements", "eduperson_entitlement", "roles"}


def claims(token: str) -> dict[str, Any]:
    """What a JWT says, unverified."""
    body = token.split(".")[1]
    answer: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return answer


def keys_of_groups(document: dict[str, Any]) -> set[str]:
    return GROUP_KEYS & set(document)


def plain(group: str) -> str:
    return group


def slashed(group: str) -> str:
    return "/" + group


def urn(group: str) -> str:
    return URN + group.replace("/", ":")


@pytest.mark.parametrize(
    ("profile", "names", "form", "in_access_token"),
    [
        ("iam", {"groups"}, plain, False),
        ("wlcg", {"wlcg.groups"}, slashed, True),
        ("aarc", {"entitlements", "eduperson_entitlement"}, urn, True),
        ("kc", {"roles"}, plain, True),
    ],
)
def test_the_form_of_each_profile(
    iam: DevIam, profile: str, names: set[str], form: Callable[[str], str], in_access_token: bool
) -> None:
    iam.configure(profile=profile)
    tokens = iam.tokens("chiara", scope=SCOPE)
    expected = {form(group) for group in ("arcetri", "arcetri/cms", "arcetri/cms/leads")}
    documents = {
        "id": claims(tokens["id_token"]),
        "userinfo": iam.userinfo(tokens["access_token"]).json(),
    }
    access = claims(tokens["access_token"])
    if in_access_token:
        documents["access"] = access
    else:
        assert keys_of_groups(access) == set()
        assert set(access) == {"sub", "iss", "iat", "exp", "jti", "client_id"}
    for document in documents.values():
        assert keys_of_groups(document) == names
        for name in names:
            assert set(document[name]) == expected


@pytest.mark.parametrize("profile", ["iam", "wlcg", "aarc", "kc"])
def test_somebody_in_no_group_has_no_key(iam: DevIam, profile: str) -> None:
    iam.configure(profile=profile)
    tokens = iam.tokens("elena", scope=SCOPE)
    assert keys_of_groups(iam.userinfo(tokens["access_token"]).json()) == set()
    assert keys_of_groups(claims(tokens["access_token"])) == set()
    identity = claims(tokens["id_token"])
    assert identity.get("groups") == ([] if profile == "iam" else None)
    assert keys_of_groups(identity) <= {"groups"}


@pytest.mark.parametrize(
    ("profile", "live"), [("iam", True), ("aarc", True), ("wlcg", False), ("kc", False)]
)
def test_a_lost_group_shows_at_once_or_after_a_refresh(
    iam: DevIam, profile: str, live: bool
) -> None:
    iam.configure(profile=profile)
    tokens = iam.tokens("bruno", scope=SCOPE)
    iam.set_groups("bruno", ["/arcetri/cms"])

    def has_virgo(access_token: str) -> bool:
        return "virgo" in iam.userinfo(access_token).text

    assert has_virgo(tokens["access_token"]) is not live
    refreshed = iam.refresh(tokens["refresh_token"]).json()
    assert not has_virgo(refreshed["access_token"])
    assert "virgo" not in json.dumps(claims(refreshed["id_token"]))


def test_wlcg_groups_are_sorted_and_a_named_one_comes_first(iam: DevIam) -> None:
    iam.configure(profile="wlcg")
    every = ["/arcetri", "/arcetri/cms", "/arcetri/virgo"]
    plain_answer = iam.tokens("bruno", scope="openid profile wlcg.groups")
    assert claims(plain_answer["access_token"])["wlcg.groups"] == every
    named = iam.tokens("bruno", scope="openid profile wlcg.groups:/arcetri/virgo")
    assert claims(named["access_token"])["wlcg.groups"] == [every[2], every[0], every[1]]
    foreign = iam.tokens("bruno", scope="openid wlcg.groups:/arcetri/admins wlcg.groups")
    assert claims(foreign["access_token"])["wlcg.groups"] == every


def test_wlcg_says_no_groups_unless_asked(iam: DevIam) -> None:
    iam.configure(profile="wlcg")
    tokens = iam.tokens("bruno", scope="openid profile")
    assert keys_of_groups(iam.userinfo(tokens["access_token"]).json()) == set()


def test_wlcg_access_token_has_version_audience_and_scope(iam: DevIam) -> None:
    iam.configure(profile="wlcg")
    access = claims(iam.tokens("alice", scope=SCOPE)["access_token"])
    assert access["wlcg.ver"] == "1.0"
    assert access["aud"] == "https://wlcg.cern.ch/jwt/v1/any"
    assert access["scope"] == SCOPE
    other = claims(iam.tokens("alice", scope=SCOPE, audience="lake")["access_token"])
    assert other["aud"] == "lake"


def test_a_client_with_two_profile_scopes_gets_the_default(iam: DevIam) -> None:
    scopes = ["openid", "profile", "wlcg.groups", "wlcg", "kc"]
    iam.configure(scopes=scopes)
    try:
        tokens = iam.tokens("alice", scope="openid profile wlcg.groups")
    finally:
        iam.configure(scopes=[*SCOPE.split(), "iam"])
    assert keys_of_groups(iam.userinfo(tokens["access_token"]).json()) == {"groups"}
    assert "wlcg.groups" in tokens["scope"]


def test_userinfo_without_the_profile_scope_is_only_the_sub(iam: DevIam) -> None:
    tokens = iam.tokens("alice", scope="openid email wlcg.groups")
    assert iam.userinfo(tokens["access_token"]).json() == {"sub": iam.sub("alice")}
    assert claims(tokens["id_token"])["email"] == "alice@example.org"


def test_userinfo_with_it_has_the_address_too_and_scope_as_a_list(iam: DevIam) -> None:
    tokens = iam.tokens("alice", scope="openid profile")
    answer = iam.userinfo(tokens["access_token"]).json()
    assert answer["email"] == "alice@example.org"
    assert answer["scope"] == ["openid", "profile"]
    assert answer["preferred_username"] == "alice"
    assert "email" not in claims(tokens["id_token"])


def test_an_open_token_shows_a_new_name_under_the_same_sub(iam: DevIam) -> None:
    sub = iam.sub("alice")
    tokens = iam.tokens("alice")
    iam.rename("alice", "alicia")
    answer = iam.userinfo(tokens["access_token"]).json()
    assert (answer["preferred_username"], answer["sub"]) == ("alicia", sub)
    assert claims(iam.tokens("alicia")["id_token"])["sub"] == sub


def test_the_id_token_verifies_against_the_keys_by_kid(iam: DevIam) -> None:
    tokens = iam.tokens("alice", nonce="n-42")
    keys = iam.http.get(iam.url("jwk")).json()["keys"]
    kid = jwt.get_unverified_header(tokens["id_token"])["kid"]
    key = next(key for key in keys if key["kid"] == kid)
    identity = jwt.decode(
        tokens["id_token"],
        jwt.PyJWK(key),
        algorithms=["RS256"],
        audience=iam.client_id,
        issuer=iam.issuer,
    )
    assert identity["nonce"] == "n-42"
    assert identity["exp"] - identity["iat"] == 600
    assert identity["aud"] == iam.client_id
    assert not {"at_hash", "auth_time"} & set(identity)


def test_only_the_access_token_lacks_the_slash_of_the_issuer(iam: DevIam) -> None:
    tokens = iam.tokens("alice")
    assert claims(tokens["id_token"])["iss"] == iam.issuer
    assert claims(tokens["access_token"])["iss"] + "/" == iam.issuer


def test_aarc_id_token_names_nobody(iam: DevIam) -> None:
    iam.configure(profile="aarc")
    tokens = iam.tokens("alice", scope=SCOPE)
    identity = claims(tokens["id_token"])
    assert not {"name", "preferred_username", "email"} & set(identity)
    assert identity["voperson_id"]
    assert iam.userinfo(tokens["access_token"]).json()["preferred_username"] == "alice"
