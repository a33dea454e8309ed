"""Sentences for how sessions ended and where they are, the same on every page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from arcetri_hub.pages import amounts
from arcetri_spawner.backends.base import Away
from arcetri_spawner.errors import Busy
from arcetri_spawner.live import LiveRow
from arcetri_spawner.policy.reasons import ALL_CODES
from arcetri_spawner.store import records
from arcetri_spawner.store.waiting import MOVED
from arcetri_spawner.waiting.room import LEFT

CANCELLED: Final = "cancelled"
"""The end of a start that was undone while it ran; see ``SessionService.cancelling``."""

ENDS = {
    "idle": "Your last session was ended because nothing ran in it.",
    "lifetime": "Your last session reached the longest time a session may run.",
    "killed": "Your last session was killed, perhaps because it needed more memory than it had.",
    "lost": "Your last session is gone, and the platform did not see how it ended.",
    "interrupted": "Your last start was interrupted when the platform restarted. Ask again.",
    "start_interrupted": "Your last start was interrupted. Ask again.",
    CANCELLED: "You cancelled the start.",
    "hold_over": "It was your turn, but your session could not be started in time. Ask again.",
    "not_opened": "Your session started when it was your turn, and was ended because nobody"
    " opened it.",
    "start_failed": "Your last session could not be started.",
    "shutdown": "Your last session ended with the platform.",
    "out_of_memory": "Your last session needed more memory than its size has, and was ended.",
    "evicted": "Your last session was sent away from its node.",
    "node_lost": "Your last session was lost with its node.",
    "node_shutdown": "Your last session ended because its node was shut down.",
    "preempted": "Your last session had to make room for something with a higher priority.",
    "drained": "Your last session was ended because its group's queue is being emptied.",
    "maintenance": "Your last session was ended because maintenance of its flavour began.",
    "reclaimed": "Your last session was ended because its queue wanted back what it held.",
    "deadline": "Your last session reached the longest time that the cluster lets one run.",
}
"""Sentences for ends that their user did not ask for; other reasons are no news."""

STATES = {
    "asked": "asked",
    "waiting": "waiting in line",
    "admitted": "about to start",
    "starting": "starting",
    "running": "running",
    "ending": "stopping",
}
"""Where a session is, in words."""

KEPT: Final = "cannot be started yet"
"""The same of one whose turn has come, and of which it cannot be decided whether it may start."""
AWAY: Final = "its node does not answer"
"""The same of one that was seen running, and of which nobody can say so now."""
_REFUSALS: Final = frozenset({*ALL_CODES, Busy.default_code})
"""Codes of requests that never became a session."""
_REFUSAL_IS_NEWS: Final = timedelta(minutes=1)
"""For how long pages tell of a start that policy refused at once: what was in use is soon free.

So long too of one that its user cancelled, who knows that later; not of one that somebody else did,
nor of one that was refused when it had waited.
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a server's last session ended."""

    code: str
    sentence: str
    at: str
    server_name: str = ""
    """Which server, where a page tells of all of a person's; empty for the default one."""
    details: str = ""
    """What was said of it, word for word, for those who want it; empty for who may not read it."""


def state_text(row: LiveRow) -> str:
    """Where a session is, in words: what somebody wants of it first, then what can be said."""
    if row.ending:
        return STATES["ending"]
    if row.kept:
        return KEPT
    return AWAY if row.away else STATES.get(row.state, row.state)


def away_json(away: Away | None) -> dict[str, object] | None:
    """That a session's node gives no answer, as the REST API tells it; None where it does."""
    if away is None:
        return None
    return {
        "node": away.node,
        "since": away.since.isoformat() if away.since else None,
        "until": away.until.isoformat() if away.until else None,
    }


def ended(
    last: records.Ended | None, timezone: str, now: datetime, *, raw: bool = False
) -> Ended | None:
    """Say how the last session ended, where its user should hear of it.

    Args:
        last: As the store has it; None when nothing ended yet.
        timezone: The site's.
        now: To leave out today's date, and to tell news from what may hold no longer.
        raw: Whether who is told may read what was said word for word.
    """
    if last is None:
        return None
    code, message, at, details, ran, had_turn = last
    sentence = message or ENDS.get(code, "")
    # A maintenance refuses starts, and ends sessions.
    refused = code in _REFUSALS and not ran
    # Only a start that somebody else cancelled has a message.
    brief = (refused and not had_turn) or (code == CANCELLED and not message)
    if brief and now - at > _REFUSAL_IS_NEWS:
        # Nothing ran: the cards say what holds now, and would soon contradict the refusal.
        return None
    if refused:
        what = "It was your turn, and your request" if had_turn else "Your last start"
        sentence = f"{what} was refused. {message}"
    if not sentence:
        return None
    when = amounts.moment(at, timezone, now)
    return Ended(code, sentence, when, details=details if raw else "")


def by_its_user(code: str, message: str) -> bool:
    """Whether who had asked ended it before there was a session, so that it is no news to them.

    Args:
        code: How the request ended.
        message: What was written of it; where somebody else ended it so, it says who.
    """
    return code in (LEFT, MOVED, CANCELLED) and not message


def newest_end(
    ends: Iterable[tuple[str, records.Ended]], timezone: str, now: datetime, *, raw: bool = False
) -> Ended | None:
    """Say the newest end of which its user should hear, with the name of its server.

    Args:
        ends: Server names and how a session of each ended, as the store has them, newest first.
        timezone: As for ``ended``, which says of each whether it is news.
        now: Likewise.
        raw: Likewise.
    """
    for server_name, last in ends:
        if told := ended(last, timezone, now, raw=raw):
            return replace(told, server_name=server_name)
    return None
