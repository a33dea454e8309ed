"""What the store takes and returns: plain, immutable values, never rows of a database session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from arcetri_spawner.backends.base import Device
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Grant

RequestState = Literal["asked", "waiting", "admitted", "starting", "running", "ended"]
"""How far a request is. ``ended`` is final; the others may follow each other in any order."""

BEFORE_START: Final[frozenset[str]] = frozenset({"asked", "waiting", "admitted"})
"""States of a request of which nothing runs yet, and nothing is about to."""


@dataclass(frozen=True, slots=True)
class Account:
    """A person (issuer, sub), under the name made once for them."""

    id: str
    """Opaque; the only thing the ledger knows."""
    name: str
    """The JupyterHub name and ``{username}``; never changed, never given to anybody else."""
    issuer: str
    sub: str
    label: str
    """The preferred user name as it came last; anybody's to change."""
    display_name: str
    is_new: bool = False
    """True from the call that made it."""
    suffixed: bool = False
    """True where the name asked for was somebody else's: the person should be told."""


@dataclass(frozen=True, slots=True)
class PosixIds:
    """A person's numeric ids."""

    uid: int
    gid: int
    """Of the person's private group, nobody else's."""
    gids: dict[GroupPath, int]


@dataclass(frozen=True, slots=True)
class PosixNumber:
    """One numeric id, as exported."""

    kind: Literal["user", "group"]
    name: str
    """The account's name, or the group's path; a private group has its account's name."""
    number: int
    claimed: bool
    """True where IAM gave it, False where it was allocated."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """What is kept of a started session, so that a restarted hub finds it again."""

    id: UUID
    """The request's id."""
    username: str
    account_id: str
    server_name: str
    group: GroupPath
    flavor: str
    devices: Sequence[Mapping[str, Any]]
    pid: int
    pid_start_ticks: int
    boot_id: str
    port: int
    base_url: str
    state: Mapping[str, Any]
    """The backend's own, JSON only."""
    started: datetime
    grant: Mapping[str, Any] = field(default_factory=dict)
    """As dumped by ``store.grants``; what is read back is always the request's own."""


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request that has not ended."""

    id: UUID
    grant: Grant
    state: RequestState
    reason: str
    message: str
    asked: datetime
    session: SessionRecord | None
    admitted: datetime | None = None
    hold_until: datetime | None = None
    """Until when it is kept though nobody takes it; None where it is not kept for that."""
    by_itself: bool = False
    """Whether its start went by itself."""
    returns: bool | None = None
    """False where it is not to go back in line, should its session be ended for others; True once
    it is about to be, and does."""


class Standing(NamedTuple):
    """Where a request is, live or ended."""

    id: UUID
    account_id: str
    username: str
    server_name: str
    flavor: str
    group: str
    state: str
    reason: str
    """Of an ended one."""
    message: str
    details: str = ""
    """Of an ended one: what was said of its end, for its user and the admins."""


class InLine(NamedTuple):
    """Where a live request stands in line."""

    place: int
    device: Device | None
    """What it holds already."""


class Ended(NamedTuple):
    """How the last session of a server ended."""

    reason: str
    """A stable code, as in the lease journal, or of a refusal."""
    message: str
    at: datetime
    details: str = ""
    """What was said of it, word for word."""
    ran: bool = False
    """Whether there was a session, rather than a request that never became one."""
    had_turn: bool = False
    """Whether its turn had come: its user may have looked elsewhere for long by then."""
