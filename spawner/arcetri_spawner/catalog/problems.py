"""How a field says that it cannot hold a value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from difflib import get_close_matches


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


def text_of(value: object, allowed: str) -> str:
    """Return a value that must be text.

    Raises:
        FieldError: It is something else.
    """
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


def nearest(text: str, known: Sequence[str], *, cutoff: float = 0.6) -> str:
    """Return the known spelling that is nearest to ``text``, or "" when none is near."""
    folded = {name.casefold(): name for name in known}
    match = get_close_matches(text.casefold()[:200], folded, n=1, cutoff=cutoff)
    return folded[match[0]] if match else ""


def quoted(text: str) -> str:
    """Return text in quotes, short and printable, for a sentence."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return '"' + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown) + '"'
