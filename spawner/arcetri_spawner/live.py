"""What is known of sessions while they live: in memory, and as pages and metrics are told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from arcetri_spawner.backends.base import Exited, Session, Ticket
from arcetri_spawner.policy.model import Grant


class ServiceObserver(Protocol):
    """Told what happens, for metrics."""

    def request_decided(self, outcome: str, code: str) -> None:
        """``outcome`` is started, queued, denied, busy, cancelled or failed.

        ``code`` is empty when it started, is in line, or was cancelled.
        """
        ...

    def request_admitted(self, grant: Grant, waited: timedelta) -> None:
        """A request's turn has come, at once or after it had waited."""
        ...

    def ticket_evicted(self, code: str) -> None:
        """The queue wants back what a request holds; the code is that of its reason."""
        ...


class Silent:
    """Tells nobody."""

    def request_decided(self, outcome: str, code: str) -> None:
        """Ignore it."""

    def request_admitted(self, grant: Grant, waited: timedelta) -> None:
        """Ignore it."""

    def ticket_evicted(self, code: str) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A live session as pages show it."""

    grant: Grant
    state: str
    session: Session | None
    asked: datetime
    open_by: datetime | None = None
    """Of what started by itself: until when it is kept for its user to open it."""

    @property
    def started(self) -> datetime | None:
        """When its process started; None before."""
        return self.session.started if self.session else None


@dataclass(slots=True)
class Live:
    """What the service keeps in memory of a started session."""

    grant: Grant
    ticket: Ticket
    session: Session
    announced_until: datetime
    """Until when an end that was announced before this hub is what ended it."""
    watcher: asyncio.Task[None] | None = None
    exited: Exited | None = None
    end_reason: str = ""
    end_message: str = ""
    returns: bool = False
    """Whether its request goes back in line when it has ended."""
    announced: str = ""
    """The reason for which a hub before this one was about to end it, and put it back in line."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


def choice_of(grant: Grant) -> dict[str, str]:
    """What was chosen, as it would be asked for again, and is remembered for the next time."""
    return {
        "group": grant.group,
        "flavor": grant.flavor,
        "environment": grant.environment,
        "size": grant.size,
    }
