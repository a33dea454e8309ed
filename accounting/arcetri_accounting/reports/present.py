"""Numbers as people read them on a page. Pure; files and the API have all six decimals."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from arcetri_accounting.contract.units import (
    MILLICORE_MS_PER_CORE_HOUR,
    UNITS_PER_HOUR,
    core_hours,
    hours,
)
from arcetri_accounting.reports.hints import low_percent, size
from arcetri_accounting.reports.models import energy_kwh
from arcetri_accounting.reports.numbers import Sums

NARROW = "\u202f"
"""Groups of three digits are set apart by a narrow space, which no country reads as a point."""
NONE = "\u2013"
"""Instead of a zero where there is nothing that a number could be about."""

__all__ = ["amount", "bar", "cores", "duration", "energy", "gpu", "low_percent", "percent", "size"]


_TINY_U = UNITS_PER_HOUR // 1000
_TINY_MS = MILLICORE_MS_PER_CORE_HOUR // 1000


def _tiny(amount_: int) -> str:
    return "<0.01" if amount_ else "0.00"


def amount(value: Decimal) -> str:
    """A decimal with two places below a hundred, one above; what is tiny is not shown as none."""
    if value and abs(value) < Decimal("0.005"):
        return "<0.01"
    places = 2 if abs(value) < 100 else 1
    return f"{value:,.{places}f}".replace(",", NARROW)


def gpu(units: int) -> str:
    """1/10080 device-milliseconds as device-hours."""
    return amount(hours(units)) if abs(units) > _TINY_U else _tiny(units)


def occupied(sums: Sums) -> str:
    """GPU-hours occupied, where there is a number that is not a guess."""
    if sums.alloc_u > sums.unobserved_u:
        return gpu(sums.occupied_u)
    return "unknown" if sums.alloc_u else NONE


def unobserved(sums: Sums) -> str:
    """GPU-hours unobserved, of those there are."""
    return gpu(sums.unobserved_u) if sums.alloc_u else NONE


def cores(millicore_ms: int) -> str:
    """Thousandths of a core times milliseconds as core-hours."""
    return amount(core_hours(millicore_ms)) if abs(millicore_ms) > _TINY_MS else _tiny(millicore_ms)


def energy(millijoules: int) -> str:
    """Kilowatt-hours."""
    return amount(energy_kwh(millijoules))


def percent(part: int | Fraction | None, whole: int = 1) -> str:
    """A part of a whole; never rounded to none or to all."""
    if part is None or not whole:
        return "-"
    value = Fraction(part) / whole * 100
    if 0 < value < 1:
        return "<1%"
    if 99 < value < 100:
        return ">99%"
    return f"{round(value)}%"


def duration(milliseconds: int) -> str:
    """How long something took: ``3 d 4 h``, ``2 h 05 min``, ``40 s``."""
    span = timedelta(milliseconds=milliseconds)
    minutes, seconds = divmod(span.days * 86_400 + span.seconds, 60)
    whole_hours, minutes = divmod(minutes, 60)
    if whole_hours >= 48:
        days, rest = divmod(whole_hours, 24)
        return f"{days} d {rest} h"
    if whole_hours:
        return f"{whole_hours} h {minutes:02d} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def bar(part: int, whole: int) -> str:
    """A length in a drawing that is 100 wide."""
    return f"{100 * part / whole:.2f}" if whole else "0"
