"""Ranges of ids, time zones, dates and group paths of profiles.yaml."""

from __future__ import annotations

import re
from datetime import date, datetime
from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from arcetri_spawner.catalog.problems import FieldError, kind_of, quoted, text_of
from arcetri_spawner.groups import GroupPath, normalize_group


def parse_version(value: object) -> int:
    """Check the version of the catalog's format.

    Raises:
        FieldError: It is not the number 1.
    """
    # True and 1.0 equal 1, but whoever wrote them meant something else.
    if type(value) is not int:
        raise FieldError("must be the plain number 1", "1", "1")
    if value != 1:
        raise FieldError(f"{value} is no version that this platform reads", "1", "1")
    return value


_IDS_ALLOWED = "a range such as 200000-299999, from 1000 to 2147483647 and without 65534 and 65535"


def parse_id_range(value: object) -> range:
    """Read a range of numeric ids, both ends included, such as ``200000-299999``.

    Raises:
        FieldError: It is no range, is empty, or holds ids that a system keeps for itself.
    """
    if isinstance(value, range):
        return value
    text = text_of(value, _IDS_ALLOWED)
    match = re.fullmatch(r"(\d{1,10})\s*-\s*(\d{1,10})", text)
    if match is None:
        raise FieldError(f"{quoted(text)} is not a range of ids", _IDS_ALLOWED)
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise FieldError("ends before it begins", _IDS_ALLOWED, f"{last}-{first}")
    ids = range(first, last + 1)
    if first < 1000 or last > 2**31 - 1 or 65534 in ids or 65535 in ids:
        raise FieldError("holds ids that are not the platform's to give", _IDS_ALLOWED)
    return ids


@lru_cache(maxsize=1)
def _zones() -> list[str]:
    return sorted(available_timezones())


def parse_time_zone(value: object) -> str:
    """Check a time zone's name.

    Raises:
        FieldError: There is no such zone.
    """
    allowed = "a name of the IANA time zone database such as Europe/Rome, or UTC"
    text = text_of(value, allowed)
    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError is one
        meant = get_close_matches(text, _zones(), n=1, cutoff=0.7)
        raise FieldError(
            f"{quoted(text)} is not a time zone", allowed, meant[0] if meant else ""
        ) from None
    return text


def parse_until(value: object) -> date | datetime:
    """Read the end of a maintenance: a date, or a time with its offset from UTC.

    Raises:
        FieldError: It is neither.
    """
    allowed = (
        "a date such as 2026-12-01, or a time with its offset such as 2026-12-01T08:00:00+01:00"
    )
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
        except ValueError:
            raise FieldError("is not a date", allowed) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise FieldError(
                "is a time without its offset from UTC", allowed, f"{value.isoformat()}Z"
            )
        return value
    if isinstance(value, date):
        return value
    raise FieldError(f"must be a date, not {kind_of(value)}", allowed)


def parse_day(value: object) -> date:
    """Read a date.

    Raises:
        FieldError: It is none.
    """
    allowed = "a date such as 2026-12-01"
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            raise FieldError("is not a date", allowed) from None
    if isinstance(value, datetime):
        raise FieldError("is a time, not a date", allowed, f"{value.date()}")
    if isinstance(value, date):
        return value
    raise FieldError(f"must be a date, not {kind_of(value)}", allowed)


def parse_group(value: object) -> GroupPath:
    """Normalise a group path; see `arcetri_spawner.groups`.

    Raises:
        FieldError: It is no group path.
    """
    allowed = "a full IAM group path such as /experiment/team"
    text = text_of(value, allowed)
    try:
        return normalize_group(text)
    except ValueError as error:
        parts = [part.strip() for part in text.split("/")]
        meant = "/".join(part for part in parts if part not in ("", ".", ".."))
        raise FieldError(
            f"{quoted(text)} is not a group path", str(error), "/" + meant if meant else ""
        ) from None
