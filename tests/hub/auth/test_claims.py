"""Claims, in the forms IAM has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_hub.auth.claims import (
    GROUP_CLAIMS,
    ClaimsError,
    read_groups,
    read_numbers,
    read_person,
)
from arcetri_spawner.identity import Numbers

PATHS = {"/arcetri", "/arcetri/astro", "/arcetri/astro/gpu"}
URN = "urn:geant:iam.example:group:"


@pytest.mark.parametrize(
    "claims",
    [
        {"groups": ["arcetri", "arcetri/astro/gpu", "arcetri/astro"]},
        {"wlcg.groups": ["/arcetri", "/arcetri/astro", "/arcetri/astro/gpu"]},
        {"entitlements": [f"{URN}arcetri:astro:gpu", f"{URN}arcetri", f"{URN}arcetri:astro"]},
        {
            "eduperson_entitlement": [
                f"{URN}arcetri:astro:gpu#iam.example",
                f"{URN}arcetri:role=member#iam.example",
                f"{URN}arcetri:astro",
            ]
        },
        {"roles": ["arcetri", "arcetri/astro", "arcetri/astro/gpu"]},
    ],
    ids=["iam", "wlcg", "aarc", "aarc-2", "kc"],
)
def test_each_form_gives_the_same_groups(claims: dict[str, object]) -> None:
    assert read_groups({"sub": "s", **claims}) == PATHS


@pytest.mark.parametrize("value", [None, 3, {}, {"a": 1}, True, [3, None, ["x"]], ""])
@pytest.mark.parametrize("name", GROUP_CLAIMS)
def test_what_is_no_list_of_groups_grants_nothing(name: str, value: object) -> None:
    assert read_groups({name: value}) == frozenset()


def test_a_missing_claim_means_no_groups() -> None:
    assert read_person({"sub": "s", "name": "A", "preferred_username": "a"}).groups == frozenset()


def test_the_first_form_wins_even_when_it_is_empty() -> None:
    assert read_groups({"wlcg.groups": [], "roles": ["arcetri"]}) == frozenset()


def test_one_claim_only_when_a_site_says_so() -> None:
    claims = {"groups": ["a"], "entitlements": [f"{URN}b"]}
    assert read_groups(claims, groups_claim="entitlements") == {"/b"}
    assert read_groups(claims, groups_claim="roles") == frozenset()


@pytest.mark.parametrize(
    "urn",
    [
        "urn:geant:iam.example:group:arcetri%2Fadmins",
        "urn:geant:iam.example:group:arcetri:role=manager",
        "urn:geant:iam.example:group:",
        "urn:geant:iam.example:groups:arcetri",
        "urn:geant:iam.example:group:arcetri::x",
        "urn:geant:iam.example:group:..",
        "group:arcetri",
        "https://iam.example/group:arcetri",
    ],
)
def test_entitlements_that_are_no_plain_membership_grant_nothing(urn: str) -> None:
    assert read_groups({"entitlements": [urn]}) == frozenset()


def test_entitlements_of_another_namespace_can_be_refused() -> None:
    claims = {"entitlements": [f"{URN}a", "urn:geant:elsewhere.org:group:b"]}
    assert read_groups(claims) == {"/a", "/b"}
    assert read_groups(claims, entitlement_namespace="urn:geant:iam.example") == {"/a"}


def test_components_are_decoded_once() -> None:
    assert read_groups({"entitlements": [f"{URN}a%20b:c%2525"]}) == {"/a b/c%25"}


@pytest.mark.parametrize("sub", [None, "", 3, "a\nb", "x" * 300])
def test_nobody_without_a_sub(sub: object) -> None:
    with pytest.raises(ClaimsError):
        read_person({"sub": sub, "preferred_username": "alice"})


def test_labels_have_no_control_characters_and_fall_back() -> None:
    person = read_person({"sub": "s-1", "preferred_username": "a\x00li\x1bce", "name": 3})
    assert (person.label, person.display_name) == ("alice", "alice")
    assert read_person({"sub": "s-1", "email": "bob@example.org"}).label == "bob"
    assert read_person({"sub": "s-1"}).label == "s-1"


@pytest.mark.parametrize(
    ("value", "uid"),
    [
        (200001, 200001),
        ("200001", 200001),
        *((bad, None) for bad in (0, 999, -1, True, 2**31, "9" * 400, 1e6, None, "²", [200001])),
    ],
)
def test_numbers_never_make_a_system_account(value: object, uid: int | None) -> None:
    claims = {"uid": value, "gids": {"arcetri/x": value, "": 5000}}
    numbers = read_numbers(claims, uid_claim="uid", gids_claim="gids")
    assert numbers == Numbers(uid, {"/arcetri/x": uid} if uid else None)  # type: ignore[dict-item]
    assert read_numbers(claims, uid_claim="", gids_claim="") == Numbers()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*GROUP_CLAIMS, "sub", "name", "email"]), JSON))
def test_nothing_iam_could_send_breaks_the_reading(claims: dict[str, object]) -> None:
    groups = read_groups(claims)
    assert all(group.startswith("/") and "//" not in group for group in groups)
    try:
        person = read_person(claims)
    except ClaimsError:
        return
    assert person.groups == groups
    assert person.label.isprintable()
    assert person.label
