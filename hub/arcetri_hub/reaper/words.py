"""What the reaper says to a user, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from arcetri_hub.reaper.decide import EndReason, Limits, Warned


@dataclass(frozen=True, slots=True)
class Notice:
    """An announced end, for the user's pages."""

    server_name: str
    code: str
    """``idle`` or ``lifetime``, as the session's end will be recorded."""
    sentence: str
    at: datetime
    """When the session ends if nothing changes; aware."""


def notice(server_name: str, warned: Warned, limits: Limits, zone: ZoneInfo) -> Notice:
    """Put an announced end into words, with its time of day in the site's time zone."""
    local = warned.at.astimezone(zone)
    when = f"{local:%H:%M} on {local.day} {local:%B} ({zone.key})"
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


def farewell(reason: EndReason, limits: Limits) -> str:
    """What the user reads after the session was ended."""
    if reason is EndReason.IDLE:
        return (
            f"Your session was ended because nothing had happened in it for {spell(limits.idle)}."
            " Your files are kept."
        )
    return (
        f"Your session was ended because it had run for {spell(limits.lifetime)}, the longest that"
        " a session may run. Your files are kept."
    )


def spell(duration: timedelta) -> str:
    """A duration in words, in its two largest units: ``1 hour 30 minutes``."""
    seconds = round(duration.total_seconds())
    parts: list[str] = []
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}" if count == 1 else f"{count} {unit}s")
    return " ".join(parts[:2]) or "0 seconds"
