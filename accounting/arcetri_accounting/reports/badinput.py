"""What is wrong with a request's parameters, in words, a sentence each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_FORMS: Final = {
    "date": "should be a day, such as 2026-11-23",
    "int": "should be a whole number",
    "bool": "should be true or false",
    "string_pattern": "should be a month, such as 2026-11",
}
"""By what Pydantic's type of error begins with; one parameter alone has a pattern."""


def sentences(errors: Iterable[Mapping[str, Any]], known: Sequence[str] = ()) -> str:
    """Say of each parameter what is wrong with it, for whoever wrote the address.

    Args:
        errors: What Pydantic or FastAPI found, each with ``type``, ``loc`` and ``msg``; ``loc``
            begins with where the parameter stood, such as ``query``.
        known: The parameters that there are.
    """
    return " ".join(_sentence(one, known) for one in errors)


def _sentence(one: Mapping[str, Any], known: Sequence[str]) -> str:
    where = ".".join(str(part) for part in one["loc"][1:]) or str(one["loc"][0])
    kind = str(one["type"])
    if kind == "missing":
        return f"{where} is missing."
    if kind == "extra_forbidden":
        return f"{where} is not known here; the parameters are: {', '.join(known) or 'none'}."
    for begins, form in _FORMS.items():
        if kind.startswith(f"{begins}_"):
            return f"{where} {form}."
    words = str(one["msg"]).removeprefix("Value error, ")
    _, should, rest = words.partition(" should ")
    return f"{where} should {rest}." if should else f"{where}: {words.rstrip('.')}."
