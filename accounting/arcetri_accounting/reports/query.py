"""What a report is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from arcetri_accounting.reports.periods import Period

Simulated = Literal["exclude", "only"]
Listed = Literal["exclude", "only", "both"]
"""A list, unlike a total, may hold both; each line is marked."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which usage counts; what is None does not narrow it."""

    period: Period
    group: str | None = None
    below: bool = False
    """With the groups below ``group``."""
    user: str | None = None
    """A person's name or opaque id."""
    flavor: str | None = None
    kind: str | None = None
    simulated: Listed = "exclude"
