"""What the reaper says to a user, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from arcetri_hub.reaper.decide import EndReason, Limits, Warned
from arcetri_spawner.waiting import Wanted

_ITS_OWN: Final = frozenset({EndReason.IDLE, EndReason.LIFETIME})
"""Ends that nobody else asks for."""
UNREACHABLE: Final = (
    "Your session was ended because the platform had lost the way to it: nobody could have opened"
    " it any more. Your files are kept."
)
"""What the user reads after a session was ended that JupyterHub had forgotten."""
_OPENINGS: Final = frozenset({"An", "It", "Something", "The", "Your"})


@dataclass(frozen=True, slots=True)
class Notice:
    """An announced end, or what else a session's user must know, for the user's pages."""

    server_name: str
    code: str
    """As the session's end will be recorded: a value of ``EndReason``; or what else it is about."""
    sentence: str
    at: datetime | None
    """When the session ends if nothing changes; aware. None where nobody can say."""
    returns: bool = False
    """Whether its request goes back to its place in line then."""
    optional: bool = False
    """Whether that is its user's to say."""


def notice(
    server_name: str,
    warned: Warned,
    limits: Limits,
    zone: ZoneInfo,
    wanted: Wanted | None = None,
) -> Notice:
    """Put an announced end into words, with its time of day in the site's time zone.

    Args:
        server_name: The session's.
        warned: What is announced.
        limits: The session's.
        zone: The site's.
        wanted: Why what it holds is wanted back, where that is what ends it.
    """
    local = warned.at.astimezone(zone)
    when = f"{local:%H:%M} on {local.day} {local:%B} ({zone.key})"
    if wanted is not None and warned.reason not in _ITS_OWN:
        sentence = f"{wanted.reason.sentence} This session ends at {when}: save your work."
        if wanted.returns:
            sentence += (
                " Your request then goes back to its place in line, and starts by itself when it"
                " is your turn."
            )
        elif wanted.optional:
            sentence += " Your request does not go back in line, as you wished."
        reason, returns = warned.reason.value, wanted.returns
        return Notice(server_name, reason, sentence, warned.at, returns, wanted.optional)
    if warned.reason is EndReason.IDLE:
        sentence = (
            f"This session does nothing. It ends at {when} unless it is used before:"
            f" idle sessions end after {spell(limits.idle)}."
        )
    else:
        sentence = (
            f"This session ends at {when}: no session runs longer than {spell(limits.lifetime)}."
            " Save your work; a new session can be started at once afterwards."
        )
    return Notice(server_name, warned.reason.value, sentence, warned.at)


def farewell(reason: EndReason, limits: Limits, wanted: Wanted | None = None) -> str:
    """What the user reads after the session was ended."""
    if wanted is not None and reason not in _ITS_OWN:
        said = f"Your session was ended: {_lowered(wanted.reason.sentence)} Your files are kept."
        return f"{said} Your request is back in line." if wanted.returns else said
    if reason is EndReason.IDLE:
        return (
            f"Your session was ended because nothing had happened in it for {spell(limits.idle)}."
            " Your files are kept."
        )
    return (
        f"Your session was ended because it had run for {spell(limits.lifetime)}, the longest that"
        " a session may run. Your files are kept."
    )


def _lowered(sentence: str) -> str:
    """A sentence as it goes on after a colon; names keep their capitals."""
    first, _, rest = sentence.partition(" ")
    return f"{first.lower() if first in _OPENINGS else first} {rest}"


def spell(duration: timedelta) -> str:
    """A duration in words, in its two largest units: ``1 hour 30 minutes``."""
    seconds = round(duration.total_seconds())
    parts: list[str] = []
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}" if count == 1 else f"{count} {unit}s")
    return " ".join(parts[:2]) or "0 seconds"
