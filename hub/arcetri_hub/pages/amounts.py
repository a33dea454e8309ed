"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from arcetri_spawner.catalog.models import FlavorType

_BINARY = ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
_HOURS = {"gpu": "GPU-hour", "fpga": "FPGA-hour", "cpu": "core-hour"}


def size_of(amount: int) -> str:
    """Bytes in the largest unit that leaves at least one: ``16 GiB``, ``1.5 TiB``."""
    for unit, name in _BINARY:
        if amount >= unit:
            return f"{amount / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{amount} B"


def plural(count: float, noun: str) -> str:
    """A count and its noun: ``1 core``, ``0.5 cores``, ``3 cores``."""
    number = f"{count:g}"
    return f"{number} {noun}" if count == 1 else f"{number} {noun}s"


def price(flavor_type: FlavorType, share: Fraction) -> str:
    """What an hour of a flavour costs its group, as the reports will count it."""
    if flavor_type == "cpu":
        return "1 core-hour per core and hour"
    unit = _HOURS[flavor_type]
    if share == 1:
        return f"1 {unit} per hour"
    return f"{share} {unit} per hour"


def allocated(flavor_type: FlavorType, share: Fraction, cpu: float, hours: float) -> str:
    """What a session has held after so many hours, used or not: ``0.43 GPU-hours``."""
    amount = hours * (cpu if flavor_type == "cpu" else float(share))
    if amount < 0.1:
        return f"less than 0.1 {_HOURS[flavor_type]}s"
    return f"{amount:.2f} {_HOURS[flavor_type]}s"


def span(duration: timedelta) -> str:
    """A duration in its two largest units: ``2 d 3 h``, ``45 min``; it stays on one line."""
    return _span(duration).replace(" ", "\N{NO-BREAK SPACE}")


def _span(duration: timedelta) -> str:
    minutes = max(int(duration.total_seconds() // 60), 0)
    days, rest = divmod(minutes, 1440)
    hours, minutes = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else "less than a minute"


def moment(at: datetime, timezone: str, now: datetime) -> str:
    """A time in the site's zone, with its day unless that is today: ``Mon 23 Nov, 14:05``."""
    zone = ZoneInfo(timezone)
    local = at.astimezone(zone)
    if local.date() == now.astimezone(zone).date():
        return f"{local:%H:%M}"
    return f"{local:%a %d %b, %H:%M}"


def utc_now() -> datetime:
    """Now."""
    return datetime.now(UTC)
