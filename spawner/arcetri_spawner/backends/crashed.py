"""What is said of a notebook server that ended with an error, whatever ran it."""

from __future__ import annotations

from typing import Final

REMEDY: Final = (
    "Start again. If it ends the same way, look for what the last lines of its log name, often a"
    " package or a setting in your home folder."
)


def sentence(code: object) -> str:
    """Say that it ended, with its exit status where that is known."""
    how = f" (exit status {code})" if isinstance(code, int) else ""
    return f"The notebook server ended with an error{how}."
