"""Texts that one regular expression describes, and how to speak of what does not match.

A large catalog has thousands of names; Pydantic checks a pattern without calling Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple


class PatternText(NamedTuple):
    """How to speak of a value that does not match a pattern."""

    message: str
    allowed: str
    suggest: Callable[[str], str]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")


def _printable(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())[:500]


NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
LABEL_KEY = (
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
RESOURCE = (
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+"
    r"/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
CLAIM = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$"
IMAGE = (
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)

PATTERNS: dict[str, PatternText] = {
    NAME: PatternText(
        "is not a name",
        "at most 63 lower-case letters, digits and dashes, with a letter or digit at both ends",
        _slug,
    ),
    LINE: PatternText(
        "has a line break or another control character", "one line of text", _printable
    ),
    LABEL_KEY: PatternText(
        "is not a Kubernetes label or taint key",
        "a key such as nvidia.com/gpu.product",
        lambda _: "",
    ),
    LABEL_VALUE: PatternText(
        "is not a Kubernetes label value",
        "at most 63 letters, digits, dashes, underscores and dots, such as Tesla-T4",
        lambda text: re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")[:63],
    ),
    RESOURCE: PatternText(
        "is not an extended resource",
        "a domain, a slash and a name, such as nvidia.com/gpu or nvidia.com/mig-1g.5gb",
        lambda text: f"nvidia.com/{text}" if re.fullmatch(r"gpu|mig-[0-9a-z.]+", text) else "",
    ),
    CLAIM: PatternText(
        "is not the name of a claim",
        "lower-case letters, digits, dashes and dots, with a letter or digit at both ends",
        _slug,
    ),
    IMAGE: PatternText(
        "is not a container image",
        "a reference such as registry.example/arcetri/torch:2026.11",
        lambda _: "",
    ),
}
"""What to say of each pattern that a field type has; the key is the pattern itself."""
