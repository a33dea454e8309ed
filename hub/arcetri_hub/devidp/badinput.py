"""What is wrong with what was sent to the development IAM, in words, a sentence a field."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def sentences(error: ValidationError, known: Collection[str] = ()) -> str:
    """Say of each field what is wrong with it, for whoever sent it.

    Args:
        error: What Pydantic found.
        known: The fields that there are.
    """
    return " ".join(_sentence(one, known) for one in error.errors(include_url=False))


def _sentence(one: ErrorDetails, known: Collection[str]) -> str:
    field = ".".join(map(str, one["loc"])) or "What was sent"
    if one["type"] == "missing":
        return f"{field} is missing."
    if one["type"] == "extra_forbidden":
        return f"{field} is not known here; the fields are: {', '.join(known) or 'none'}."
    words = one["msg"].removeprefix("Value error, ")
    _, should, rest = words.partition(" should ")
    return f"{field} should {rest}." if should else f"{field}: {words.rstrip('.')}."
