"""Read a person's choice, wherever it comes from: form, link or REST API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from arcetri_spawner.errors import Denied
from arcetri_spawner.groups import EVERYONE, GroupPath, normalize_group
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.model import Options
from arcetri_spawner.policy.wording import listed

OPTION_KEYS: Final = ("group", "flavor", "environment", "size")
"""The only keys of ``user_options``."""

_MAX_NAME = 128
_MAX_GROUP = 512


def parse_options(raw: object) -> Options:
    """Read ``user_options``: a mapping of the four keys to plain strings.

    A key that is absent or empty was not chosen. Nothing is guessed from other types, and
    whatever arrives, the answer costs little.

    Raises:
        Denied: ``invalid_options``, for anything else.
    """
    if not isinstance(raw, Mapping):
        raise _invalid(f"it is {_kind(raw)}, not an object")
    if not raw.keys() <= set(OPTION_KEYS):
        raise _invalid(_unknown_keys(raw))
    chosen = {key: _text(key, raw[key]) for key in OPTION_KEYS if key in raw}
    return Options(
        flavor=chosen.get("flavor"),
        group=_group(chosen.get("group")),
        environment=chosen.get("environment"),
        size=chosen.get("size"),
    )


def _text(key: str, value: object) -> str | None:
    if not isinstance(value, str):
        raise _invalid(f"{key} is {_kind(value)}, not a string")
    limit = _MAX_GROUP if key == "group" else _MAX_NAME
    if len(value) > limit:
        raise _invalid(f"{key} is longer than {limit} characters")
    if not value.isprintable():
        raise _invalid(f"{key} holds a control character")
    return value or None


def _group(text: str | None) -> GroupPath | None:
    if text is None or text == EVERYONE:
        return EVERYONE if text else None
    try:
        return normalize_group(text)
    except ValueError as error:
        raise _invalid(f"group is no group: {error}") from None


def _unknown_keys(raw: Mapping[object, object]) -> str:
    # Only the first few are looked at: there may be millions.
    unknown: list[str] = []
    for key in raw:
        if key not in OPTION_KEYS:
            unknown.append(f'"{key[:40]}"' if isinstance(key, str) else _kind(key))
        if len(unknown) == 3:
            break
    return f"it has keys that do not exist, such as {listed(unknown, last='and')}"


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str() | bytes():
            return "a text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return "something else"


def _invalid(problem: str) -> Denied:
    return reasons.denied(reasons.invalid_options(problem))
