"""What is kept and told of a request that has not started yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from arcetri_spawner.backends.base import Position, Ticket
from arcetri_spawner.estimates.model import ExpectedWait
from arcetri_spawner.policy.model import Grant, Offer, Reason

RETRY: Final = 5.0
"""Seconds after which what could not be asked, decided or begun is tried again."""

Stage = Literal["asked", "waiting", "admitted"]


def now() -> float:
    """The event loop's clock, which nobody can set."""
    return asyncio.get_running_loop().time()


@dataclass(slots=True, eq=False)
class Entry:
    """A request that has not started yet, as the waiting room keeps it in memory."""

    grant: Grant
    asked: datetime
    stage: Stage = "asked"
    """``asked`` until the queue has answered that it has a ticket."""
    ticket: Ticket | None = None
    trouble: Reason | None = None
    """Why the queue could not be asked, or why its start cannot be decided now."""
    unasked: Reason | None = None
    """Of ``trouble``, why the queue could not be asked; over as soon as it can."""
    behind: bool = False
    """Whether its ticket still asks for what another catalog said."""
    hold_until: datetime | None = None
    """Of an admitted one, until when it is kept."""
    claimed_until: float = 0.0
    """On the event loop's clock: until then somebody else is about to start it."""
    try_after: float = 0.0
    """On the event loop's clock: not before that is it tried again."""
    by_itself: bool = False
    """Whether the platform starts it, rather than its user who looks on."""
    counted: bool = False
    """Whether its turn has come before, and was counted then."""
    not_before: float = 0.0
    """On the event loop's clock: its turn does not come before that, since the last was in vain."""
    in_vain: Reason | None = None
    """Why the last turn was."""
    starting: bool = False
    """Whether a start has it; nobody else starts it then."""

    @property
    def is_claimed(self) -> bool:
        """Whether somebody else is about to start it."""
        return now() < self.claimed_until

    @property
    def is_kept(self) -> bool:
        """Whether its turn has come, and it is kept because its start cannot be decided now."""
        return self.stage == "admitted" and self.trouble is not None

    @property
    def id(self) -> UUID:
        """The request's id."""
        return self.grant.request_id

    @property
    def server(self) -> tuple[str, str]:
        """Whose server it is for."""
        return self.grant.username, self.grant.server_name


class Asked(NamedTuple):
    """What came of asking."""

    entry: Entry
    starts: bool
    """Whether it was admitted at once, and who asked is to start it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is told of a request to whom it belongs."""

    grant: Grant
    asked: datetime
    stage: Stage
    position: Position | None
    """None where it does not wait, or the queue cannot say."""
    offer: Offer | None
    """What the flavour looks like to its user now, this request not counted; None when no group of
    theirs grants it any more."""
    reasons: tuple[Reason, ...]
    """What it waits for."""
    alternatives: tuple[Offer, ...]
    """What would start now instead, in some size: see ``sizes.with_room``."""
    expected: ExpectedWait | None
    trouble: Reason | None
    hold_until: datetime | None


class Starter(Protocol):
    """Starts a server as if its user had asked for it just now; the hub does."""

    async def ready(self) -> None:
        """Return when servers can be started."""
        ...

    async def start(self, username: str, server_name: str, choice: Mapping[str, str]) -> None:
        """Have a server started; what becomes of it is the start's own affair.

        Raises:
            Exception: It was not even begun.
        """
        ...


class Estimator(Protocol):
    """Says how long a request will probably still wait."""

    async def __call__(self, grant: Grant) -> ExpectedWait | None:
        """None where too little is known to say anything; asked of requests that wait only."""
        ...
