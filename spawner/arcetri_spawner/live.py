"""What is known of sessions while they live, as pages and metrics are told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from arcetri_spawner.backends.base import Away, Session
from arcetri_spawner.errors import ArcetriError, Busy, Denied, Kept
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
    ending: bool = False
    """Whether somebody wants it ended, and it has not ended yet."""
    kept: bool = False
    """Whether its turn has come, and its start cannot be decided or begun now."""
    away: Away | None = None
    """What it runs on gives no answer; None where it does, or nobody can say."""

    @property
    def started(self) -> datetime | None:
        """When its process started; None before."""
        return self.session.started if self.session else None


def choice_of(grant: Grant) -> dict[str, str]:
    """What was chosen, as it would be asked for again, and is remembered for the next time."""
    return {
        "group": grant.group,
        "flavor": grant.flavor,
        "environment": grant.environment,
        "size": grant.size,
    }


def outcome_of(error: ArcetriError) -> str:
    """What a request that ended so is counted as."""
    if isinstance(error, Denied):
        return "denied"
    if isinstance(error, Kept):
        return "queued"
    return "busy" if isinstance(error, Busy) else "failed"
