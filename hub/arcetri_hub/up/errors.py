"""What ``arcetri up`` says when it cannot start."""

from __future__ import annotations


class UpError(Exception):
    """The platform cannot start; the message is one clear sentence, and what to do about it."""

    def __init__(self, message: str, *details: str) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        """Further lines, such as every finding in a catalog or the end of a log."""
