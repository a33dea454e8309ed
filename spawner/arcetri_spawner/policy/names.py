"""Which names are safe in paths, URLs and sentences."""

from __future__ import annotations

import re

ACCOUNT_NAME_LENGTH = 32
"""Longest account name, as Linux has it."""

_ACCOUNT_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{ACCOUNT_NAME_LENGTH - 1}}}")
_SERVER_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,39})?")


def is_account_name(name: str) -> bool:
    """Whether ``name`` can be an account's name: a slug that is no path and no option."""
    return _ACCOUNT_NAME.fullmatch(name) is not None


def is_server_name(name: str) -> bool:
    """Whether ``name`` can name a server; empty is the default server's."""
    return _SERVER_NAME.fullmatch(name) is not None


def shown(text: str, limit: int = 64) -> str:
    """Make what a person or an identity provider sent fit for a sentence.

    Control, format and surrogate characters become U+FFFD, and the length is bounded. Pages still
    escape the result.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cut)
