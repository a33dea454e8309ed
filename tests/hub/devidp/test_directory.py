"""Membership is inherited upwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_hub.devidp import directory
from arcetri_hub.devidp.demo import DEMO_USERS
from arcetri_hub.devidp.directory import DirectoryError
from arcetri_hub.devidp.keys import make_key
from arcetri_hub.devidp.models import SigningKey, State, User

KEY = SigningKey(kid="rsa1", pem="unused")
PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map("/".join),
    max_size=5,
)


def one_person(*groups: str) -> tuple[State, User]:
    state = State(key=KEY)
    return state, directory.add_user(state, "ada", "word", 1, groups=groups)


def test_joining_a_subgroup_joins_every_ancestor() -> None:
    _, user = one_person("/a/b/c")
    assert user.groups == ["a", "a/b", "a/b/c"]


def test_the_demonstration_says_of_its_people_what_its_iam_says() -> None:
    state = State(key=KEY)
    directory.restore_demo(state, 1)
    said = {user.name: [group[1:] for group in user.memberships] for user in DEMO_USERS}

    assert said == {user.username: user.groups for user in state.users}
    assert said["chiara"] == ["arcetri", "arcetri/cms", "arcetri/cms/leads"]


def test_leaving_a_group_leaves_its_whole_subtree_and_no_namesake() -> None:
    state, user = one_person("/a/b/c", "/a/bc")
    directory.change_groups(state, user, ["a", "a/b/c", "a/bc"], 2)
    assert user.groups == ["a", "a/bc"]


def test_joining_and_leaving_at_once() -> None:
    state, user = one_person("/a/b")
    directory.change_groups(state, user, ["a", "c/d"], 2)
    assert user.groups == ["a", "c", "c/d"]
    assert user.updated_at == 2


@given(before=PATHS, after=PATHS)
def test_groups_are_closed_upwards_whatever_changes(before: list[str], after: list[str]) -> None:
    state, user = one_person(*before)
    directory.change_groups(state, user, after, 2)
    held = set(user.groups)
    assert held == set(directory.with_ancestors(held))
    assert held <= set(directory.with_ancestors(after))
    assert held <= set(state.groups)


@pytest.mark.parametrize("path", ["", "/", "a//b", "/a/../b", "a\nb"])
def test_what_is_no_group_path_is_refused(path: str) -> None:
    state, user = one_person("/a")
    with pytest.raises(DirectoryError, match="no group path"):
        directory.set_groups(state, user, [path], 2)
    assert user.groups == ["a"]


def test_a_name_belongs_to_one_person_and_the_sub_survives_renaming() -> None:
    state, ada = one_person()
    sub = ada.sub
    other = directory.add_user(state, "eve", "word", 1)
    with pytest.raises(DirectoryError, match="taken"):
        directory.rename_user(state, other, "ada", 2)
    directory.rename_user(state, ada, "ada2", 2)
    directory.rename_user(state, other, "ada", 2)
    assert ada.sub == sub
    assert directory.find_user(state, "ada") is other


def test_the_demonstration_comes_back_with_the_same_subs() -> None:
    state = State(key=make_key("rsa1"))
    directory.restore_demo(state, 1)
    subs = {user.username: user.sub for user in state.users}
    alice = directory.find_user(state, "alice")
    directory.delete_user(state, alice)
    squatter = directory.add_user(state, "alice", "word", 2)
    directory.restore_demo(state, 3)
    assert {user.username: user.sub for user in state.users if user is not squatter} == subs
    assert squatter.username != "alice"
