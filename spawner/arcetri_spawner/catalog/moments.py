"""When a day or a time of a catalog is."""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo


def moment(said: date | datetime, timezone: str) -> datetime:
    """Return the moment in a time zone; a day's is its beginning there.

    Args:
        said: A time without an offset is one of that zone's.
        timezone: The site's, by its IANA name.
    """
    zone = ZoneInfo(timezone)
    if not isinstance(said, datetime):
        return datetime.combine(said, time(), zone)
    return said.replace(tzinfo=zone) if said.tzinfo is None else said.astimezone(zone)
