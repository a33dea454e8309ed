"""Days and months of the site's zone, and where they lie in UTC. Pure.

The ledger's roll-ups are by quarter hours of UTC, and every zone in use today is a whole number of
quarter hours away from it, so a local day is a whole number of them: 92 or 100 where the clock is
put forward or back by an hour, 96 otherwise.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from arcetri_accounting.contract.units import from_ms, quarter_of, to_ms
from arcetri_accounting.ledger.errors import Refused

MAX_DAYS = 3660
"""The longest period that a report covers: ten years."""
FIRST_DAY = date(1970, 1, 2)
"""The ledger counts from 1970 in UTC; the day after is after that in every zone."""
LAST_DAY = date(9999, 12, 30)


class BadPeriod(Refused):
    """A period that no report can cover."""

    default_code = "bad_period"


def zone_of(name: str) -> ZoneInfo:
    """The zone of a name such as ``Europe/Rome``.

    Raises:
        BadPeriod: There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadPeriod(
            f"There is no time zone {name!r}.", remedy="Name one such as Europe/Rome."
        ) from None


def day_start(day: date, zone: ZoneInfo) -> int:
    """When a local day begins, in milliseconds since 1970.

    Where midnight does not exist, because the clock is put forward at it, the day begins at the
    change; where it happens twice, at the first of the two.
    """
    return to_ms(datetime.combine(day, time(), zone).astimezone(UTC))


def local_day(milliseconds: int, zone: ZoneInfo) -> date:
    """The local date of a moment."""
    return from_ms(milliseconds).astimezone(zone).date()


@dataclass(frozen=True, slots=True)
class Period:
    """Days of a zone, from ``first`` to ``last``, both included."""

    first: date
    last: date
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise BadPeriod(
                f"The period ends on {self.last}, before it begins on {self.first}.",
                remedy="Give the earlier date first.",
            )
        if self.first < FIRST_DAY or self.last > LAST_DAY:
            raise BadPeriod(
                f"The period {self} does not lie between {FIRST_DAY} and {LAST_DAY}.",
                remedy="Give dates within them, such as 2026-11-01.",
            )
        if (self.last - self.first).days >= MAX_DAYS:
            raise BadPeriod(
                f"The period {self} has more than {MAX_DAYS} days.",
                remedy="Ask for a shorter one.",
            )

    @property
    def start_ms(self) -> int:
        """The first moment that belongs to it."""
        return day_start(self.first, self.zone)

    @property
    def end_ms(self) -> int:
        """The first moment after it."""
        return day_start(self.last + timedelta(days=1), self.zone)

    @property
    def quarters(self) -> tuple[int, int]:
        """The first quarter hour, and the first after the last."""
        return quarter_of(self.start_ms), quarter_of(self.end_ms)

    def days(self) -> Iterator[date]:
        """Every day of it."""
        for number in range((self.last - self.first).days + 1):
            yield self.first + timedelta(days=number)

    def months(self) -> list[str]:
        """Every month that it touches, as ``2026-11``."""
        return sorted({month_key(day) for day in self.days()})

    def whole_month(self) -> str | None:
        """The month that it is exactly, if it is one."""
        return month_key(self.first) if self == month(month_key(self.first), self.zone) else None

    def __str__(self) -> str:
        """Both ends, as people write them."""
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def month_key(day: date) -> str:
    """``2026-11``."""
    return f"{day.year:04d}-{day.month:02d}"


def month(key: str, zone: ZoneInfo) -> Period:
    """The days of a month such as ``2026-11``.

    Raises:
        BadPeriod: The key is no month.
    """
    try:
        first = date.fromisoformat(f"{key}-01")
    except ValueError:
        raise BadPeriod(f"{key!r} is no month.", remedy="Write it like 2026-11.") from None
    last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
    return Period(first, last, zone)


def month_before(day: date) -> str:
    """The month before a day's."""
    return month_key(day.replace(day=1) - timedelta(days=1))


def month_after(day: date) -> str:
    """The month after a day's."""
    return month_key(day.replace(day=28) + timedelta(days=4))
