"""People and their groups: what an IAM administrator can change.

Membership is inherited upwards: to be in ``a/b`` is to be in ``a``. Joining a subgroup joins
every ancestor, and leaving a group leaves its whole subtree. Group paths are taken with or
without a leading slash, and kept without.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from arcetri_hub.devidp.demo import DEMO_GROUPS, DEMO_USERS, DemoUser
from arcetri_hub.devidp.models import State, User
from arcetri_spawner.groups import normalize_group

_DEMO_NAMESPACE = uuid.UUID("6f1d9d0c-3f9e-4d55-9b57-64cf1a2d8b10")


class DirectoryError(Exception):
    """The change cannot be made; the message is one sentence for the person who asked."""


def iam_path(path: str) -> str:
    """A group path as IAM keeps it: normalised, without a leading slash.

    Raises:
        DirectoryError: It is no group path.
    """
    try:
        return normalize_group(path)[1:]
    except ValueError as error:
        raise DirectoryError(f"{path!r} is no group path: {error}.") from error


def with_ancestors(paths: Iterable[str]) -> list[str]:
    """The paths and all their ancestors, sorted."""
    closed: set[str] = set()
    for path in paths:
        parts = path.split("/")
        closed.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return sorted(closed)


def within(path: str, group: str) -> bool:
    """Whether ``path`` is the group or lies in its subtree."""
    return path == group or path.startswith(group + "/")


def find_user(state: State, name: str) -> User:
    """The person with this ``sub`` or, else, with this user name.

    Raises:
        DirectoryError: There is none.
    """
    for user in state.users:
        if user.sub == name:
            return user
    for user in state.users:
        if user.username == name:
            return user
    raise DirectoryError(f"There is no user {name!r}.")


def add_group(state: State, path: str) -> None:
    """Make a group and its ancestors, without members."""
    state.groups = sorted({*state.groups, *with_ancestors([iam_path(path)])})


def set_groups(state: State, user: User, paths: Iterable[str], now: int) -> None:
    """Make the person a member of exactly these groups and their ancestors."""
    wanted = with_ancestors(iam_path(path) for path in paths)
    for path in wanted:
        add_group(state, path)
    user.groups = wanted
    user.updated_at = now


def change_groups(state: State, user: User, paths: Iterable[str], now: int) -> None:
    """Go from the present groups to ``paths`` by leaving and joining, one group after the other.

    Unlike ``set_groups``, who leaves a group leaves its subgroups too, named or not.
    """
    wanted = {iam_path(path) for path in paths}
    left = [group for group in user.groups if group not in wanted]
    kept = {group for group in user.groups if not any(within(group, gone) for gone in left)}
    joined = wanted.difference(user.groups)
    set_groups(state, user, kept | joined, now)


def rename_user(state: State, user: User, username: str, now: int) -> None:
    """Give the person another user name; their ``sub`` stays.

    Raises:
        DirectoryError: The name is empty, too long, or somebody else's.
    """
    username = username.strip()
    if not 1 <= len(username) <= 128:
        raise DirectoryError("A user name has 1 to 128 characters.")
    if any(other.username == username and other is not user for other in state.users):
        raise DirectoryError(f"The user name {username!r} is taken.")
    user.username = username
    user.updated_at = now


def add_user(
    state: State,
    username: str,
    password: str,
    now: int,
    *,
    display_name: str = "",
    groups: Iterable[str] = (),
    can: str = "",
    sub: str | None = None,
) -> User:
    """Make an account, with a new ``sub`` unless one is given.

    Raises:
        DirectoryError: The name is taken, or a group is no group path.
    """
    given, _, family = (display_name or username).partition(" ")
    user = User(
        sub=sub or str(uuid.uuid4()),
        username=username,
        password=password,
        given_name=given,
        family_name=family,
        email=f"{username}@example.org",
        can=can,
        updated_at=now,
    )
    rename_user(state, user, username, now)
    set_groups(state, user, groups, now)
    state.users = [*state.users, user]
    return user


def delete_user(state: State, user: User) -> None:
    """Remove the account, and with it all it was issued."""
    sub = user.sub
    state.users = [other for other in state.users if other is not user]
    state.codes = {k: v for k, v in state.codes.items() if v.sub != sub}
    state.refresh_tokens = {k: v for k, v in state.refresh_tokens.items() if v.sub != sub}
    state.access_tokens = {k: v for k, v in state.access_tokens.items() if v.sub != sub}
    state.sessions = {k: v for k, v in state.sessions.items() if v.sub != sub}
    state.approvals.pop(sub, None)


def restore_demo(state: State, now: int) -> None:
    """Put the demonstration's people back as they were; others stay as they are."""
    for path in DEMO_GROUPS:
        add_group(state, path)
    for demo in DEMO_USERS:
        sub = _demo_sub(demo)
        existing = next((user for user in state.users if user.sub == sub), None)
        if existing is None:
            _free_name(state, demo.name)
            existing = add_user(
                state,
                demo.name,
                demo.password,
                now,
                display_name=demo.display_name,
                can=demo.can,
                sub=sub,
            )
        elif existing.username != demo.name:
            _free_name(state, demo.name)
            rename_user(state, existing, demo.name, now)
        existing.password = demo.password
        existing.active = existing.policy_signed = True
        set_groups(state, existing, demo.groups, now)


def _demo_sub(demo: DemoUser) -> str:
    # The same on every machine and after the state file is lost, so that a hub which outlives
    # the file still knows its people.
    return str(uuid.uuid5(_DEMO_NAMESPACE, demo.name))


def _free_name(state: State, username: str) -> None:
    for user in state.users:
        if user.username == username:
            user.username = f"{username}-{user.sub[:8]}"
