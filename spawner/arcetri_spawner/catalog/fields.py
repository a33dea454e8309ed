"""Field types of profiles.yaml: quantities, durations, names, paths.

Each refuses with a `FieldError`, which says what is wrong, what is allowed, and where it can the
spelling that was meant. Types with thousands of values in a large catalog (names) are patterns that
Pydantic checks without calling Python; their sentences are in `PATTERNS`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    BeforeValidator,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)

from arcetri_spawner.groups import GroupPath, normalize_group

TEMPLATE_VARIABLES = ("username",)
"""What ``{...}`` may name in mounts and paths."""


class FieldError(ValueError):
    """A value that a field cannot hold.

    Attributes:
        message: What is wrong, continuing the field's name: "is not a duration".
        allowed: What the field holds, as a noun.
        suggestion: The value that was probably meant, or "".
    """

    def __init__(self, message: str, allowed: str = "", suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.allowed = allowed
        self.suggestion = suggestion


class PatternText(NamedTuple):
    """How to speak of a value that does not match a pattern."""

    message: str
    allowed: str
    suggest: Callable[[str], str]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")


def _printable(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())[:500]


_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
_LABEL_KEY = (
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
_LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
_RESOURCE = (
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+"
    r"/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
_CLAIM = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$"
_IMAGE = (
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)

PATTERNS: dict[str, PatternText] = {
    _NAME: PatternText(
        "is not a name",
        "at most 63 lower-case letters, digits and dashes, with a letter or digit at both ends",
        _slug,
    ),
    _LINE: PatternText(
        "has a line break or another control character", "one line of text", _printable
    ),
    _LABEL_KEY: PatternText(
        "is not a Kubernetes label or taint key",
        "a key such as nvidia.com/gpu.product",
        lambda _: "",
    ),
    _LABEL_VALUE: PatternText(
        "is not a Kubernetes label value",
        "at most 63 letters, digits, dashes, underscores and dots, such as Tesla-T4",
        lambda text: re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")[:63],
    ),
    _RESOURCE: PatternText(
        "is not an extended resource",
        "a domain, a slash and a name, such as nvidia.com/gpu or nvidia.com/mig-1g.5gb",
        lambda text: f"nvidia.com/{text}" if re.fullmatch(r"gpu|mig-[0-9a-z.]+", text) else "",
    ),
    _CLAIM: PatternText(
        "is not the name of a claim",
        "lower-case letters, digits, dashes and dots, with a letter or digit at both ends",
        _slug,
    ),
    _IMAGE: PatternText(
        "is not a container image",
        "a reference such as registry.example/arcetri/torch:2026.11",
        lambda _: "",
    ),
}
"""What to say of each pattern that a field type has; the key is the pattern itself."""


def _text_of(value: object, allowed: str) -> str:
    if not isinstance(value, str):
        raise FieldError(f"must be text, not {kind_of(value)}", allowed)
    return value


def kind_of(value: object) -> str:
    """Name the kind of a YAML value for a person."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case datetime():
            return "a time"
        case date():
            return "a date"
        case str():
            return "text"
        case dict():
            return "a mapping"
        case _:
            return "a list"


# Quantities ------------------------------------------------------------------------------------

_BYTES_ALLOWED = "a size in bytes such as 500Mi, 8Gi or 1.5Ti"
_BYTE_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15} | {
    unit + "i": 1024**power for power, unit in enumerate("KMGTP", start=1)
}
_BYTES = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)(k|[KMGTP]i|[MGTP])?")
_LOOSE_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp])i?b?\s*", re.IGNORECASE)


def parse_bytes(value: object) -> int:
    """Read a size such as ``8Gi`` (or a whole number of bytes) into bytes.

    Raises:
        FieldError: It is no size, is zero, or is no whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        text = _text_of(value, _BYTES_ALLOWED)
        match = _BYTES.fullmatch(text)
        if match is None:
            loose = _LOOSE_BYTES.fullmatch(text)
            meant = f"{loose[1]}{loose[2].upper()}i" if loose else ""
            raise FieldError(f"{_quoted(text)} is not a size", _BYTES_ALLOWED, meant)
        exact = Decimal(match[1]) * _BYTE_UNITS[match[2] or ""]
        if exact != exact.to_integral_value():
            raise FieldError(f"{_quoted(text)} is not a whole number of bytes", _BYTES_ALLOWED)
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
        text = _text_of(value, _CORES_ALLOWED)
        milli = re.fullmatch(r"(\d{1,7})m", text)
        try:
            if milli is None and not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text):
                raise InvalidOperation
            cores = Decimal(milli[1]) / 1000 if milli else Decimal(text)
        except InvalidOperation:
            raise FieldError(f"{_quoted(text)} is not a number of cores", _CORES_ALLOWED) from None
    if not 0 < cores <= 1024 or cores * 1000 != (cores * 1000).to_integral_value():
        raise FieldError("is out of range", _CORES_ALLOWED)
    return float(cores)


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
        raise FieldError("has no unit", _DURATION_ALLOWED, f"{value}s")
    text = _text_of(value, _DURATION_ALLOWED)
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        loose = _LOOSE_DURATION.fullmatch(text)
        meant = loose[1] + loose[2].lower() if loose else ""
        raise FieldError(f"{_quoted(text)} is not a duration", _DURATION_ALLOWED, meant)
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


# Identifiers and times -------------------------------------------------------------------------

_IDS_ALLOWED = "a range such as 200000-299999, from 1000 to 2147483647 and without 65534 and 65535"


def parse_id_range(value: object) -> range:
    """Read a range of numeric ids, both ends included, such as ``200000-299999``.

    Raises:
        FieldError: It is no range, is empty, or holds ids that a system keeps for itself.
    """
    if isinstance(value, range):
        return value
    text = _text_of(value, _IDS_ALLOWED)
    match = re.fullmatch(r"(\d{1,10})\s*-\s*(\d{1,10})", text)
    if match is None:
        raise FieldError(f"{_quoted(text)} is not a range of ids", _IDS_ALLOWED)
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
    text = _text_of(value, allowed)
    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError is one
        meant = get_close_matches(text, _zones(), n=1, cutoff=0.7)
        raise FieldError(
            f"{_quoted(text)} is not a time zone", allowed, meant[0] if meant else ""
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


# Paths -----------------------------------------------------------------------------------------

_VARIABLE = re.compile(r"\{([^{}]*)\}")
_PATH_CHARACTERS = re.compile(r"[^\x00-\x1f\x7f\\:*?\"<>|$`']*")
_SYSTEM_FOLDERS = frozenset(
    ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin")
    + ("/sys", "/usr", "/var")
)


def _check_template(text: str, allowed: str) -> None:
    for name in _VARIABLE.findall(text):
        if name not in TEMPLATE_VARIABLES:
            raise FieldError(
                f"has the unknown variable {{{name}}}",
                "the variables " + ", ".join(f"{{{known}}}" for known in TEMPLATE_VARIABLES),
                "{" + nearest(name, TEMPLATE_VARIABLES, cutoff=0.3) + "}",
            )
    if "{" in _VARIABLE.sub("", text) or "}" in _VARIABLE.sub("", text):
        raise FieldError("has a brace without its partner", allowed)


def _check_path(text: str, allowed: str) -> None:
    if len(text) > 255 or not _PATH_CHARACTERS.fullmatch(text):
        raise FieldError("is too long, or has a character that paths here cannot have", allowed)
    parts = text.split("/")
    if any(part in (".", "..") or part != part.strip() for part in parts):
        raise FieldError("may not have . or .. or spaces around a name", allowed)
    _check_template(text, allowed)


def parse_mount(value: object) -> str:
    """Check where a volume appears in a session.

    Raises:
        FieldError: It is not absolute and normal, hides a system folder, or has an unknown
            variable.
    """
    allowed = "an absolute path such as /home/{username} or /data/cms"
    text = _text_of(value, allowed)
    if not text.startswith("/"):
        raise FieldError("is not absolute", allowed, "/" + text if text else "")
    normal = "/" + posixpath.normpath(text).lstrip("/")
    if normal in _SYSTEM_FOLDERS or normal.startswith(("/proc/", "/sys/", "/dev/", "/etc/")):
        raise FieldError(f"{_quoted(text)} would hide a folder of the system", allowed)
    _check_path(text, allowed)
    if text != normal:
        raise FieldError("is not in its shortest form", allowed, normal)
    return text


def parse_relative(value: object) -> str:
    """Check a folder inside a claim.

    Raises:
        FieldError: It is absolute, leaves the claim, or has an unknown variable.
    """
    allowed = "a path inside the claim such as home/{username}, or nothing for all of it"
    text = _text_of(value, allowed)
    if not text:
        return text
    normal = posixpath.normpath(text)
    if text.startswith("/"):
        raise FieldError("must not begin with a slash", allowed, normal.lstrip("/"))
    _check_path(text, allowed)
    if text != normal:
        raise FieldError("is not in its shortest form", allowed, normal)
    return text


def parse_interpreter(value: object) -> str:
    """Check which Python serves an environment without Kubernetes.

    Raises:
        FieldError: It is neither ``default`` nor an absolute path.
    """
    allowed = "default, or the absolute path of a Python interpreter"
    text = _text_of(value, allowed)
    if text != "default":
        if not text.startswith("/"):
            raise FieldError(
                f"{_quoted(text)} is not an interpreter", allowed, nearest(text, ("default",))
            )
        _check_path(text, allowed)
    return text


def parse_group(value: object) -> GroupPath:
    """Normalise a group path; see `arcetri_spawner.groups`.

    Raises:
        FieldError: It is no group path.
    """
    allowed = "a full IAM group path such as /experiment/team"
    text = _text_of(value, allowed)
    try:
        return normalize_group(text)
    except ValueError as error:
        parts = [part.strip() for part in text.split("/")]
        meant = "/".join(part for part in parts if part not in ("", ".", ".."))
        raise FieldError(
            f"{_quoted(text)} is not a group path", str(error), "/" + meant if meant else ""
        ) from None


def nearest(text: str, known: Sequence[str], *, cutoff: float = 0.6) -> str:
    """Return the known spelling that is nearest to ``text``, or "" when none is near."""
    folded = {name.casefold(): name for name in known}
    match = get_close_matches(text.casefold()[:200], folded, n=1, cutoff=cutoff)
    return folded[match[0]] if match else ""


def _quoted(text: str) -> str:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return '"' + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown) + '"'


def _schema(description: str, *kinds: dict[str, Any]) -> WithJsonSchema:
    one = kinds[0] if len(kinds) == 1 else {"anyOf": list(kinds)}
    return WithJsonSchema(one | {"description": description})


def _string(pattern: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern} | more


Name = Annotated[str, StringConstraints(pattern=_NAME)]
Title = Annotated[str, StringConstraints(pattern=_LINE, min_length=1, max_length=100)]
Line = Annotated[str, StringConstraints(pattern=_LINE, max_length=100)]
Text = Annotated[str, StringConstraints(max_length=1000)]
LabelKey = Annotated[str, StringConstraints(pattern=_LABEL_KEY)]
LabelValue = Annotated[str, StringConstraints(pattern=_LABEL_VALUE)]
ResourceName = Annotated[str, StringConstraints(pattern=_RESOURCE, max_length=253)]
ClaimName = Annotated[str, StringConstraints(pattern=_CLAIM, max_length=253)]
ImageName = Annotated[str, StringConstraints(pattern=_IMAGE, max_length=500)]
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    _schema(
        "A size in bytes, such as 8Gi.",
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2**60},
        _string(r"^[0-9]{1,18}(\.[0-9]{1,9})?(k|[KMGTP]i|[MGTP])?$"),
    ),
]
Cores = Annotated[
    float,
    BeforeValidator(parse_cores),
    _schema(
        "A number of cores, such as 2, 0.5 or 500m.",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1024},
        _string(r"^([0-9]{1,4}(\.[0-9]{1,3})?|[0-9]{1,7}m)$"),
    ),
]
Duration = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(show_duration, return_type=str),
    _schema(
        "A duration, such as 30s, 1h30m or 3d.",
        _string(
            "^([0-9]{1,9}w)?([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?$", minLength=2
        ),
    ),
]
GroupField = Annotated[
    GroupPath,
    BeforeValidator(parse_group),
    _schema(
        "A full IAM group path, such as /experiment/team.",
        _string(r"^ *\/?[^\/\x00-\x1f\x7f]+(\/[^\/\x00-\x1f\x7f]+)*\/? *$", maxLength=514),
    ),
]
IdRange = Annotated[
    range,
    PlainValidator(parse_id_range),
    PlainSerializer(lambda ids: f"{ids[0]}-{ids[-1]}", return_type=str),
    _schema("Numeric ids, both ends included.", _string(r"^[0-9]{4,10}\s*-\s*[0-9]{4,10}$")),
]
TimeZone = Annotated[
    str,
    BeforeValidator(parse_time_zone),
    _schema("A name of the IANA time zone database.", {"type": "string", "minLength": 1}),
]
Until = Annotated[
    date | datetime,
    PlainValidator(parse_until),
    _schema(
        "A date, or a time with its offset from UTC.",
        _string(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+(Z|z|[+-][0-9]{2}:?[0-9]{2}))?$"),
    ),
]
MountPath = Annotated[
    str,
    BeforeValidator(parse_mount),
    _schema(
        "An absolute path in the session; may use {username}.",
        _string(r"^(\/([^\/{}]|\{username\})+)+$", maxLength=255),
    ),
]
RelativePath = Annotated[
    str,
    BeforeValidator(parse_relative),
    _schema(
        "A folder inside the claim; may use {username}.",
        _string(r"^(([^\/{}]|\{username\})+(\/([^\/{}]|\{username\})+)*)?$", maxLength=255),
    ),
]
Interpreter = Annotated[
    str,
    BeforeValidator(parse_interpreter),
    _schema("Which Python serves it without Kubernetes.", _string(r"^(default|\/.+)$")),
]
