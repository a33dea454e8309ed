"""Sizes, cores and durations of profiles.yaml."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from arcetri_accounting.contract.share import SHARE_UNITS, parse_share
from arcetri_spawner.catalog.problems import FieldError, quoted, text_of

_BYTES_ALLOWED = "a size in bytes such as 500Mi, 8Gi or 1.5Ti"
_BYTE_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15} | {
    unit + "i": 1024**power for power, unit in enumerate("KMGTP", start=1)
}
_BYTES = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)(k|[KMGTP]i|[MGTP])?")
_LOOSE_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp])i?b?\s*", re.IGNORECASE)


def parse_bytes(value: object) -> int:
    """Read a size such as ``8Gi`` (or a whole number of bytes) into bytes.

    Raises:
        FieldError: It is no size, is zero, or is no whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        text = text_of(value, _BYTES_ALLOWED)
        match = _BYTES.fullmatch(text)
        if match is None:
            loose = _LOOSE_BYTES.fullmatch(text)
            meant = f"{loose[1]}{loose[2].upper()}i" if loose else ""
            raise FieldError(f"{quoted(text)} is not a size", _BYTES_ALLOWED, meant)
        exact = Decimal(match[1]) * _BYTE_UNITS[match[2] or ""]
        if exact != exact.to_integral_value():
            raise FieldError(f"{quoted(text)} is not a whole number of bytes", _BYTES_ALLOWED)
        number = int(exact)
    if not 0 < number < 2**60:
        raise FieldError("must be more than 0 and less than 1024Pi", _BYTES_ALLOWED)
    return number


_CORES_ALLOWED = "a number of cores such as 2, 0.5 or 500m, at most 1024"


def parse_cores(value: object) -> float:
    """Read a number of cores: ``2``, ``0.5`` or Kubernetes' ``500m``.

    Raises:
        FieldError: It is no number, not positive, above 1024, or finer than a thousandth.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        cores = Decimal(str(value))
    else:
        text = text_of(value, _CORES_ALLOWED)
        milli = re.fullmatch(r"(\d{1,7})m", text)
        try:
            if milli is None and not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text):
                raise InvalidOperation
            cores = Decimal(milli[1]) / 1000 if milli else Decimal(text)
        except InvalidOperation:
            raise FieldError(f"{quoted(text)} is not a number of cores", _CORES_ALLOWED) from None
    if (
        not cores.is_finite()
        or not 0 < cores <= 1024
        or cores * 1000 != (cores * 1000).to_integral_value()
    ):
        raise FieldError("is out of range", _CORES_ALLOWED)
    return float(cores)


_SHARE_ALLOWED = "a fraction such as 1/7, more than 0 and at most 1"


def parse_device_share(value: object) -> Fraction:
    """Read the share of a device: ``1/7``, ``0.5`` or ``1``.

    Raises:
        FieldError: It is none, is out of range, or is one that usage cannot be counted in.
    """
    try:
        return parse_share(value)
    except ValueError:
        pass
    shown = quoted(value) if isinstance(value, str) else str(value)
    near = _near_share(value)
    if near is None:
        raise FieldError(f"{shown} is not a share of a device", _SHARE_ALLOWED)
    if not 0 < near <= 1:
        raise FieldError(f"{shown} is out of range", _SHARE_ALLOWED)
    simple = near.limit_denominator(_SIMPLE)
    countable = (simple * SHARE_UNITS).denominator == 1 and abs(simple - near) < Fraction(1, 200)
    raise FieldError(
        f"{shown} cannot be counted exactly: it is no whole number of 1/{SHARE_UNITS}",
        "a fraction whose denominator divides that, such as 2, 4, 7, 8, 9, 10, 16, 32 or 48",
        str(simple) if countable and simple else "",
    )


_SIMPLE = 48
_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_LOOSE_SHARE = re.compile(rf"-?{_NUMBER}(?: ?/ ?{_NUMBER})?")


def _near_share(value: object) -> Fraction | None:
    """What a number that is no share amounts to; None for what is no number of sane length."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value)
    match = _LOOSE_SHARE.fullmatch(text)
    if match is None:
        return None
    number = Fraction(match[1])
    if match[2]:
        divisor = Fraction(match[2])
        if not divisor:
            return None
        number /= divisor
    return -number if text.startswith("-") else number


_DURATION_ALLOWED = "a duration from 1s to 366d, such as 30s, 10m, 1h, 1h30m or 3d"
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(
    r"(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?"
)
_LOOSE_DURATION = re.compile(
    r"\s*(\d{1,9})\s*(w|d|h|m|s)(?:eeks?|ays?|ours?|rs?|in(?:ute)?s?|ec(?:ond)?s?)?\s*",
    re.IGNORECASE,
)


def parse_duration(value: object) -> timedelta:
    """Read a duration such as ``30s``, ``1h30m`` or ``3d``.

    Raises:
        FieldError: It has no unit, is no duration, or is out of range.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Nobody knows which was meant, and a wrong one ends sessions: none is suggested.
        raise FieldError("has no unit", _DURATION_ALLOWED)
    text = text_of(value, _DURATION_ALLOWED)
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        loose = _LOOSE_DURATION.fullmatch(text)
        meant = loose[1] + loose[2].lower() if loose else ""
        raise FieldError(f"{quoted(text)} is not a duration", _DURATION_ALLOWED, meant)
    seconds = sum(
        int(count) * unit
        for count, unit in zip(match.groups(), _SECONDS.values(), strict=True)
        if count
    )
    if not 1 <= seconds <= 366 * 86_400:
        raise FieldError("is out of range", _DURATION_ALLOWED)
    return timedelta(seconds=seconds)


def show_duration(value: timedelta) -> str:
    """Write a duration the way the catalog spells it, such as ``1h30m``."""
    seconds = int(value.total_seconds())
    parts = []
    for unit, length in _SECONDS.items():
        if unit != "w" and seconds >= length:
            parts.append(f"{seconds // length}{unit}")
            seconds %= length
    return "".join(parts) or "0s"


def show_bytes(value: int) -> str:
    """Write a size the way the catalog spells it, such as ``8Gi``."""
    for unit in ("Pi", "Ti", "Gi", "Mi", "Ki", "P", "T", "G", "M", "k"):
        if value % _BYTE_UNITS[unit] == 0:
            return f"{value // _BYTE_UNITS[unit]}{unit}"
    return str(value)
