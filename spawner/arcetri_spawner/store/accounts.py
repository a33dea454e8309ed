"""Accounts and numeric ids, inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Literal
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arcetri_spawner.errors import Conflict, StoreError
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.names import shown
from arcetri_spawner.store.naming import account_slug, free_name
from arcetri_spawner.store.records import Account, PosixIds, PosixNumber
from arcetri_spawner.store.tables import AccountTable, PosixIdTable

_Kind = Literal["user", "group"]

_SYSTEM_IDS: Final = 1000
"""Below are the system's own accounts; a claim must never make somebody one of them."""
_HIGHEST_ID: Final = 2**31 - 2
_NOBODY: Final = (65534, 65535)


def account_for(
    db: Session, issuer: str, sub: str, preferred: str, display_name: str, now: datetime
) -> Account:
    """Return the person's account, made at the first call."""
    row = db.scalar(
        select(AccountTable).where(AccountTable.issuer == issuer, AccountTable.sub == sub)
    )
    if row is not None:
        row.label = preferred
        row.display_name = display_name
        return _account(row)
    slug = account_slug(preferred or f"{issuer} {sub}")
    name = free_name(slug, lambda name: _is_taken(db, name))
    row = AccountTable(
        id=str(uuid4()),
        name=name,
        issuer=issuer,
        sub=sub,
        label=preferred,
        display_name=display_name,
        suffixed=name != slug,
        created_at=now,
    )
    db.add(row)
    db.flush()
    return _account(row, is_new=True)


def account(db: Session, account_id: str) -> Account | None:
    """Return an account by its opaque id."""
    row = db.get(AccountTable, account_id)
    return _account(row) if row else None


def account_by_name(db: Session, name: str) -> Account | None:
    """Return an account by its name."""
    row = db.scalar(select(AccountTable).where(AccountTable.name == name))
    return _account(row) if row else None


def posix_ids(
    db: Session,
    account_id: str,
    username: str,
    groups: Iterable[GroupPath],
    *,
    users: range,
    groups_range: range,
    uid: int | None,
    gids: Mapping[GroupPath, int],
    now: datetime,
) -> PosixIds:
    """Return the person's numeric ids, each made once.

    A number that was given stays, whatever a later claim says: files carry it.
    """
    numbers = _Numbers(db, now)
    user = numbers.get("user", account_id)
    if user is None:
        if uid is None:
            user = numbers.allocate("user", account_id, username, users, "ids.users")
        else:
            user = numbers.claim("user", account_id, username, uid)
    private = f"account:{account_id}"
    gid = numbers.get("group", private)
    if gid is None:
        # An allocated uid is free among the groups too. A claimed one may be some group's number,
        # and a private group must be nobody else's.
        gid = (
            numbers.record("group", private, username, user, claimed=False)
            if uid is None and user in users and numbers.is_free("group", user)
            else numbers.allocate("group", private, username, users, "ids.users")
        )
    found: dict[GroupPath, int] = {}
    for group in sorted(groups):
        known = numbers.get("group", group)
        if known is not None:
            found[group] = known
        elif group in gids:
            found[group] = numbers.claim("group", group, group, gids[group])
        else:
            found[group] = numbers.allocate("group", group, group, groups_range, "ids.groups")
    return PosixIds(uid=user, gid=gid, gids=found)


def posix_numbers(db: Session) -> list[PosixNumber]:
    """Return every numeric id ever given."""
    rows = db.scalars(select(PosixIdTable).order_by(PosixIdTable.kind, PosixIdTable.number))
    return [
        PosixNumber("user" if row.kind == "user" else "group", row.name, row.number, row.claimed)
        for row in rows
    ]


class _Numbers:
    """The numeric ids given so far, and more of them."""

    def __init__(self, db: Session, now: datetime) -> None:
        self._db = db
        self._now = now

    def get(self, kind: _Kind, key: str) -> int | None:
        row = self._db.get(PosixIdTable, (kind, key))
        return row.number if row else None

    def is_free(self, kind: _Kind, number: int) -> bool:
        query = select(PosixIdTable.number).where(
            PosixIdTable.kind == kind, PosixIdTable.number == number
        )
        return self._db.scalar(query) is None

    def record(self, kind: _Kind, key: str, name: str, number: int, *, claimed: bool) -> int:
        self._db.add(
            PosixIdTable(
                kind=kind,
                key=key,
                name=name,
                number=number,
                claimed=claimed,
                created_at=self._now,
            )
        )
        self._db.flush()
        return number

    def claim(self, kind: _Kind, key: str, name: str, number: int) -> int:
        if not _SYSTEM_IDS <= number <= _HIGHEST_ID or number in _NOBODY:
            raise Conflict(
                f"IAM gives {shown(name, 128)} the numeric id {number}, which is the system's own.",
                code="posix_id_refused",
                remedy=f"Give {shown(name, 128)} an id of at least {_SYSTEM_IDS} in IAM, or remove"
                " the claim: the platform then allocates one.",
            )
        if not self.is_free(kind, number):
            raise Conflict(
                f"IAM gives {shown(name, 128)} the numeric id {number}, which is taken.",
                code="posix_id_taken",
                remedy="Give each its own number in IAM, and keep the ranges under ids in"
                " profiles.yaml away from the numbers that IAM gives.",
            )
        return self.record(kind, key, name, number, claimed=True)

    def allocate(self, kind: _Kind, key: str, name: str, within: range, field: str) -> int:
        """Give the lowest number above all given ones, or else the lowest free one."""
        bounds = PosixIdTable.number.between(within.start, within.stop - 1)
        highest = self._db.scalar(select(func.max(PosixIdTable.number)).where(bounds))
        number: int | None = within.start if highest is None else highest + 1
        if number not in within:
            # Ids are given for ever, so a gap below was never anybody's: the range was widened.
            used = set(self._db.scalars(select(PosixIdTable.number).where(bounds)))
            number = next((free for free in within if free not in used), None)
        if number is None:
            raise StoreError(
                f"All numeric ids of {field} are given.",
                code="posix_ids_exhausted",
                remedy=f"Widen {field} in profiles.yaml.",
            )
        return self.record(kind, key, name, number, claimed=False)


def _is_taken(db: Session, name: str) -> bool:
    return db.scalar(select(AccountTable.id).where(AccountTable.name == name)) is not None


def _account(row: AccountTable, *, is_new: bool = False) -> Account:
    return Account(
        id=row.id,
        name=row.name,
        issuer=row.issuer,
        sub=row.sub,
        label=row.label,
        display_name=row.display_name,
        is_new=is_new,
        suffixed=row.suffixed,
    )
