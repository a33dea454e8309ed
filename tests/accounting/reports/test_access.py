from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_accounting.contract.witness import GroupTerms
from arcetri_accounting.ledger.errors import Forbidden
from arcetri_accounting.reports import access
from arcetri_accounting.reports.access import Reader
from arcetri_accounting.reports.auth import READ, READ_ALL, reader_of

paths = st.sampled_from(["/a", "/a/b", "/a/b/c", "/ab", "/b", "/a/leads", "/A", "everyone"])
terms = st.dictionaries(
    paths,
    st.builds(GroupTerms, leads=st.lists(paths, max_size=2).map(tuple), subgroups=st.booleans()),
    max_size=5,
)


@given(st.frozensets(paths, max_size=4), terms, st.frozensets(paths, max_size=4))
def test_a_lead_reads_what_the_catalog_says_and_nothing_else(
    groups: frozenset[str], catalog: dict[str, GroupTerms], used: frozenset[str]
) -> None:
    reader = Reader("x", groups, own=True)
    found = access.led(reader, catalog, used)
    exact = set()
    for group in {*catalog, *used}:
        for path, term in catalog.items():
            below = term.subgroups and group.split("/")[: len(path.split("/"))] == path.split("/")
            if (group == path or below) and groups & {*term.leads}:
                exact.add(group)
    assert found == exact


@given(st.frozensets(paths, max_size=4), terms)
def test_nobody_leads_without_a_login_that_may_read(
    groups: frozenset[str], catalog: dict[str, GroupTerms]
) -> None:
    assert access.led(Reader("x", groups), catalog) == frozenset()


def test_a_group_may_be_written_without_its_first_slash() -> None:
    reader = Reader("x", frozenset({"a/leads"}), own=True)
    assert access.led(reader, {"/a": GroupTerms(leads=("/a/leads",))}) == {"/a"}


@pytest.mark.parametrize(
    ("view", "reader", "code"),
    [
        ("all", Reader("x", own=True), "not_admin"),
        ("group", Reader("x", own=True), "not_lead"),
        ("own", Reader("", everything=True), "no_own_usage"),
        ("own", Reader("x"), "no_own_usage"),
    ],
)
def test_refusals_have_codes(view: access.View, reader: Reader, code: str) -> None:
    with pytest.raises(Forbidden) as caught:
        access.sight(reader, view, frozenset())
    assert caught.value.code == code
    assert caught.value.remedy


def test_the_catalogs_administrators_read_everything() -> None:
    catalog_admins = ("/lab/admins",)
    member = Reader("x", frozenset({"lab/admins"}), own=True)
    assert access.with_office(member, catalog_admins).everything
    assert not access.with_office(
        Reader("x", frozenset({"/lab/admins"})), catalog_admins
    ).everything
    assert not access.with_office(Reader("x", own=True), catalog_admins).everything


def model(kind: str = "user", **more: object) -> dict[str, object]:
    return {"kind": kind, "name": "alice", "groups": ["/a"], "scopes": [], **more}


def test_what_a_login_may_read_comes_from_its_scopes() -> None:
    assert reader_of(model(scopes=[READ])) == Reader("alice", frozenset({"/a"}), own=True)
    assert reader_of(model(scopes=[f"{READ}!user=alice"])).own
    assert reader_of(model(scopes=[READ_ALL])).everything
    board = reader_of(model("service", scopes=[READ_ALL]))
    assert (board.name, board.own, board.everything, board.names) == ("", False, True, False)
    assert reader_of(model("service", scopes=[READ_ALL, "list:users"])).names


@pytest.mark.parametrize(
    "scopes",
    [
        [],
        ["access:services!service=usage"],
        [f"{READ}!user=bruno"],
        [f"{READ_ALL}!user=alice"],
        ["custom:arcetri-usage:write"],
        ["admin:users", "admin:servers"],
    ],
)
def test_a_login_without_the_scope_reads_nothing(scopes: list[str]) -> None:
    with pytest.raises(Forbidden) as caught:
        reader_of(model(scopes=scopes))
    assert caught.value.code == "scope_missing"


def test_a_service_has_no_usage_of_its_own() -> None:
    with pytest.raises(Forbidden):
        reader_of(model("service", scopes=[READ]))
