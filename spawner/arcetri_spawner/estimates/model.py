"""What is said of a wait that is not over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class ExpectedWait:
    """How long a request will probably still wait: a range, never a promise."""

    low: timedelta
    likely: timedelta
    """The median."""
    high: timedelta
    confidence: float
    """The part of such ranges that hold what then happens, such as 0.8."""
    sessions: int
    """On how many past sessions it rests."""
