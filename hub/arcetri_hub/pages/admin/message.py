"""An admin's message to the user whose session they stop."""

from __future__ import annotations

import unicodedata
from typing import Final

from arcetri_spawner.errors import Denied

MAX_MESSAGE: Final = 500
"""Characters."""


def clean_message(text: object) -> str:
    """Return the message in one line, without control characters; empty when there is none.

    Raises:
        Denied: It is no text, or too long.
    """
    if text is None:
        return ""
    if not isinstance(text, str):
        raise Denied(
            "The message is no text.",
            code="invalid_message",
            remedy='Send {"message": "..."}, or nothing.',
            status=400,
        )
    plain = "".join(" " if _unprintable(character) else character for character in text)
    message = " ".join(plain.split())
    if len(message) > MAX_MESSAGE:
        raise Denied(
            f"The message has {len(message)} characters; {MAX_MESSAGE} are allowed.",
            code="invalid_message",
            remedy="Shorten it.",
            status=400,
        )
    return message


def told_to_user(message: str, by: str) -> str:
    """The sentence that the session's user reads on their next page."""
    if message:
        return f"{by}, who administers this platform, ended your session: {message}"
    return f"{by}, who administers this platform, ended your session. Your files are kept."


def _unprintable(character: str) -> bool:
    # Cc also holds newlines and tabs; Cf holds the marks that turn the direction of text around.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
