"""What a scalar without quotes means in profiles.yaml.

YAML's own rules differ between its versions: ``no``, ``08``, ``1e3`` and ``1:30`` are text to one
reader and a boolean, an octal number, a float and 90 to another. Here the few spellings that all
agree on have a meaning, and every ambiguous one is refused with what to write instead.
"""

from __future__ import annotations

import re
from datetime import date, datetime

from arcetri_spawner.catalog.problems import FieldError

Scalar = None | bool | int | float | str | date | datetime

_WORDS: dict[str, Scalar] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_OLD_BOOLEANS = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "no": "false",
    "off": "false",
    "n": "false",
}
_LONGEST = 64
"""No number or date is longer; the patterns below would take long over a text of megabytes."""
_SUSPECT = re.compile(r"[-+.0-9]")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9].*")
_AMBIGUOUS = (
    (re.compile(r"[-+]?0[0-9_]+"), "a number with leading zeros, octal to some readers of YAML"),
    (re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+"), "a number in another base"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"),
        "base 60 to some readers of YAML",
    ),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_.]*"), "a number with underscores"),
    (re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"), "a number with an exponent"),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), "no finite number"),
    (
        re.compile(r"\+[0-9][0-9.]*|[-+]?\.[0-9]+|[-+]?[0-9]+\.|[-+]?0[0-9]+\.[0-9]*"),
        "an unusual spelling of a number",
    ),
    (
        re.compile(r"[-+]?[0-9]{19,}(?:\.[0-9]*)?|[-+]?[0-9]+\.[0-9]{18,}"),
        "a number with too many digits",
    ),
)


def plain(text: str) -> Scalar:
    """Return the value of a scalar written without quotes.

    Raises:
        FieldError: Readers of YAML disagree about it, or it is a date that does not exist.
    """
    if len(text) > _LONGEST:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if not _SUSPECT.match(text):
        if len(text) <= 3 and text.lower() in _OLD_BOOLEANS:
            word = _OLD_BOOLEANS[text.lower()]
            raise FieldError(
                f"{text} without quotes is {word} to some readers of YAML and text to others",
                f'{word}, or "{text}" in quotes',
            )
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _DATE.fullmatch(text) or _TIME.fullmatch(text):
        return _moment(text)
    for pattern, what in _AMBIGUOUS:
        if pattern.fullmatch(text):
            shown = text if len(text) <= 40 else text[:37] + "..."
            raise FieldError(
                f"{shown} is {what}",
                f'a plain decimal number, or text in quotes such as "{shown}"',
            )
    return text


def plain_key(text: str) -> str:
    """Return a key written without quotes.

    Raises:
        FieldError: It would not be text to every reader of YAML.
    """
    try:
        value = plain(text)
    except FieldError as error:
        raise FieldError(error.message, f'text as a key: "{text}" in quotes') from None
    if not isinstance(value, str):
        raise FieldError(
            f"the key {text} is no text to a reader of YAML" if text else "a key is missing",
            f'a key in quotes: "{text}"' if text else "a key before the colon",
        )
    return value


def _moment(text: str) -> date | datetime:
    try:
        if _DATE.fullmatch(text):
            year, month, day = map(int, text.split("-"))
            return date(year, month, day)
        return datetime.fromisoformat(re.sub(r"[ \t]+(?=[-+Z])", "", text.strip()))
    except ValueError:
        raise FieldError(
            f"{text[:40]} is not a date that exists",
            "a date such as 2026-12-01, or text in quotes",
        ) from None
