"""The integer unit of usage, and time in quarter hours.

One unit is 1/10080 GPU-millisecond: a device's share in units times milliseconds. Sums of it never
round, whatever the order. Decimals exist only where a number is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final

from arcetri_accounting.contract.share import SHARE_UNITS

UNITS_PER_HOUR: Final = SHARE_UNITS * 3_600_000
"""Units of one whole device in one hour."""
MILLICORE_MS_PER_CORE_HOUR: Final = 1000 * 3_600_000
QUARTER_MS: Final = 900_000
"""The finest offset between time zones is a quarter of an hour: days are whole ones everywhere."""

_SHOWN: Final = Decimal("0.000001")


def share_units(share: Fraction) -> int:
    """A share of one device in units; exact for every share that the contract accepts."""
    units = share * SHARE_UNITS
    if units.denominator != 1:
        raise ValueError(f"the share {share} is no whole number of 1/{SHARE_UNITS}")
    return units.numerator


def hours(units: int) -> Decimal:
    """Units as device-hours with six decimals, for people and files."""
    return (Decimal(units) / UNITS_PER_HOUR).quantize(_SHOWN, ROUND_HALF_EVEN)


def core_hours(millicore_ms: int) -> Decimal:
    """Core-milliseconds, in thousandths of a core, as core-hours with six decimals."""
    return (Decimal(millicore_ms) / MILLICORE_MS_PER_CORE_HOUR).quantize(_SHOWN, ROUND_HALF_EVEN)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 in UTC, rounded down.

    Raises:
        ValueError: The moment has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment needs a zone")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def from_ms(milliseconds: int) -> datetime:
    """The moment of ``to_ms``, in UTC."""
    seconds, rest = divmod(milliseconds, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)


def quarter_of(milliseconds: int) -> int:
    """The number of the quarter hour, counted from 1970, that a moment lies in."""
    return milliseconds // QUARTER_MS


def quarters(t0: int, t1: int) -> Iterator[tuple[int, int, int]]:
    """Cut ``[t0, t1)`` at quarter hours: number of the quarter, and both ends in milliseconds."""
    while t0 < t1:
        quarter = t0 // QUARTER_MS
        end = min((quarter + 1) * QUARTER_MS, t1)
        yield quarter, t0, end
        t0 = end


def apportion(total: int, whole: int, part: int) -> int:
    """The share of ``total`` that falls to ``part`` of ``whole``, rounded down.

    Cut a quantity in two by giving this to the first piece and the rest to the second: nothing is
    lost, whatever the rounding.
    """
    return total * part // whole if whole else 0
