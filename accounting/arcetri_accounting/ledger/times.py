"""The clock, and moments as people write them."""

from __future__ import annotations

import time
from datetime import datetime

from arcetri_accounting.contract.units import from_ms


def now_ms() -> int:
    """Milliseconds since 1970 in UTC, by this machine's clock."""
    return time.time_ns() // 1_000_000


def said(moment: int) -> str:
    """A moment for a person or a file, in UTC."""
    return from_ms(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str) -> datetime:
    """Read ISO 8601 with a zone.

    Raises:
        ValueError: It is not that; the message says what is allowed.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text[:40]!r} is no ISO 8601 time; write one like 2026-03-29T10:00:00+02:00"
        ) from None
    if found.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no zone; add Z or an offset such as +02:00")
    return found
