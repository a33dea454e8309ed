"""The words that reasons are put together from; what others sent is bounded and clean in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy.model import LiveSession
from arcetri_spawner.policy.names import shown

LISTED: Final = 8
"""How many names a sentence lists."""


def listed(items: Iterable[str], *, last: str = "or") -> str:
    """Join names for a sentence, at most eight of them; ``a, b or c``."""
    names = [shown(item) for item in items]
    if len(names) > LISTED:
        return f"{', '.join(names[:LISTED])} and {len(names) - LISTED} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def group_name(group: GroupPath) -> str:
    """Name a charged group in a sentence."""
    return "everyone's share" if group == EVERYONE else shown(group, 128)


def choose(key: str, choices: Iterable[str], *, none: str = "") -> str:
    """Tell to set an option to one of the choices, or that there is none."""
    names = listed(choices)
    return f"Set {key} to {names}." if names else none or f"No {key} can be chosen."


def or_alternative(otherwise: str, alternative: str | None) -> str:
    """Tell what could be had at once, if anything, and then what else can be done."""
    if alternative is None:
        return f"{otherwise}."
    return f'Choose "{shown(alternative)}" instead: it would start now. {otherwise}.'


def named(sessions: Sequence[LiveSession]) -> str:
    """Name sessions by their servers."""
    return listed(
        f'the server "{s.server_name}" ({s.flavor})'
        if s.server_name
        else f"your server ({s.flavor})"
        for s in sessions
    )


def plural(count: int, word: str) -> str:
    """Put a word after its count."""
    return word if count == 1 else f"{word}s"


def maintenance_text(title: str, verb: str, until: datetime | None, message: str) -> str:
    """Say that a flavour is under maintenance, or is going to be.

    Args:
        title: The flavour's title.
        verb: ``is under`` or ``goes into``.
        until: When the maintenance ends, in the site's time zone; None when it is open-ended.
        message: The admins' words.
    """
    when = f" until {moment_text(until)}" if until else ""
    why = f": {shown(message, 200)}" if message else ""
    return f"{shown(title)} {verb} maintenance{when}{why.removesuffix('.')}."


def moment_text(moment: datetime) -> str:
    """Write a moment: the day alone where it is midnight."""
    day = f"{moment.day} {moment:%B %Y}"
    return day if not (moment.hour or moment.minute) else f"{moment:%H:%M} on {day}"
