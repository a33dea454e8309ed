"""The raw text that is kept beside a plain sentence: bounded, printable, and without secrets.

It is what a cluster or a server said, word for word, for those who want it. What looks like a
secret is taken out, whoever wrote it there; what is no secret is never changed. Pure.
"""

from __future__ import annotations

import re
from typing import Final

LIMIT: Final = 8000
"""Bytes that are kept of one text, in UTF-8."""
TAKEN_OUT: Final = "(removed)"
"""Stands where a secret was."""
_LEFT_OUT: Final = "\n(...)\n"
_READ: Final = 16 * LIMIT
"""Characters that are looked at: what lies between is left out in any case."""
_HEAD: Final = LIMIT // 4
"""Of a longer text the beginning says what it is about, and the end how it ended."""

_COLORS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_NAME = r"(?:token|secret|passwo?r?d|credential|api[_-]?key)[\w.-]{0,40}[\"']?"
_SECRETS: Final = (
    re.compile(rf"(?i)({_NAME}\s?=\s?[\"']?)[^\s\"'&,;]+"),
    # After a colon a sentence may go on: only what looks like no word of it is a secret.
    re.compile(rf"(?i)({_NAME}:\s?[\"']?)(?=[^\s\"'&,;]*\d)[^\s\"'&,;]{{16,}}"),
    re.compile(r"(?i)\b((?:bearer|basic|token)\s+)[A-Za-z0-9._~+/=-]{20,}"),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"),
    # A JSON web token.
    re.compile(r"\b()eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    # As JupyterHub makes them. Digests and containers' ids are longer, and pods' have dashes.
    re.compile(r"(?<![0-9A-Za-z])()[0-9a-f]{32}(?![0-9A-Za-z])"),
)
"""Each with what stands before the secret, and stays."""


def kept(text: str) -> str:
    """Return what is kept of a raw text, and may be shown to whom it concerns; pages escape it.

    Args:
        text: Of any length and from anybody.
    """
    found = text.strip()
    if len(found) > _READ:
        found = f"{found[: _READ // 2]}{_LEFT_OUT}{found[-_READ // 2 :]}"
    found = _COLORS.sub("", found)
    for secret in _SECRETS:
        found = secret.sub(rf"\1{TAKEN_OUT}", found)
    if not found.isprintable():
        found = "".join(map(_printable, found))
    return _cut(found)


def _printable(char: str) -> str:
    return char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}"


def _cut(text: str) -> str:
    raw = text.encode()
    if len(raw) <= LIMIT:
        return text
    tail = LIMIT - _HEAD - len(_LEFT_OUT)
    head = raw[:_HEAD].decode(errors="ignore")
    return f"{head}{_LEFT_OUT}{raw[-tail:].decode(errors='ignore')}"
