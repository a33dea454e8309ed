"""What a session's user reads while the node that it runs on gives no answer; pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from arcetri_hub.pages import amounts
from arcetri_hub.reaper import Notice
from arcetri_spawner.backends.base import Away
from arcetri_spawner.policy.names import shown

CODE: Final = "node_away"
_STOP: Final = "You may stop it, and start another."


def away_notice(server_name: str, away: Away, zone: str, now: datetime) -> Notice:
    """Put it into words.

    Args:
        server_name: The session's.
        away: What is known.
        zone: The site's time zone.
        now: Aware.
    """
    since = f" since {amounts.moment(away.since, zone, now)}" if away.since else ""
    node = f"The node of this session ({shown(away.node)})"
    said = (
        f"{node} says{since} that it is in trouble"
        if away.refuses
        else (f"{node} has not answered{since}")
    )
    return Notice(
        server_name,
        CODE,
        f"{said}: nobody can say whether your work goes on or is lost. {_fate(away, zone, now)}"
        f" {_STOP}",
        away.until if away.until is not None and away.until > now else None,
    )


def _fate(away: Away, zone: str, now: datetime) -> str:
    if away.until is None:
        return "The session goes on when the node is back, however long that takes."
    if away.until <= now:
        return "The session is about to be given up."
    when = amounts.moment(away.until, zone, now)
    return f"If it is back by about {when}, the session goes on; if not, it ends then."
