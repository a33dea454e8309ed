"""What is said of something that was looked at. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked at.

    Attributes:
        about: What it is about: ``kueue``, ``catalog``, an object, or a request.
        code: A stable word for programs.
        wrong: Whether somebody has to do something.
        sentence: How it is.
        remedy: What to do.
    """

    about: str
    code: str
    wrong: bool
    sentence: str
    remedy: str = ""

    def render(self) -> str:
        """It as plain text."""
        mark = "wrong" if self.wrong else "fine"
        remedy = f"\n    {self.remedy}" if self.remedy else ""
        return f"{mark}: {self.about}: {self.sentence}{remedy}"
