"""How much of one writer or reader is taken: requests a second, and of writers at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from arcetri_accounting.ledger.errors import TooMany

_AT_ONCE = 2
_KEPT = 10_000
"""Buckets; more than people and writers there are, while addresses are without number."""


class Limits:
    """A bucket for each who asks, refilled at a rate; a request takes one. For one event loop."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}
        self._running: dict[str, int] = {}

    def _left(self, who: str, now: float) -> float:
        left, at = self._buckets.get(who, (float(self._burst), now))
        return min(self._burst, left + (now - at) * self._rate)

    def take(self, reader: str, now: float) -> None:
        """Count a request of a reader.

        Args:
            reader: Who asks; there are as many as people that the hub knows.
            now: Seconds on a clock that never steps.

        Raises:
            TooMany: It is one too many.
        """
        wait = self.admit(reader, now)
        if wait:
            error = TooMany(
                "You ask for more reports than the ledger makes for one person.",
                remedy=f"Ask again in {wait} s; one report of a longer period does for many.",
            )
            error.wait = wait
            raise error

    def admit(self, who: str, now: float) -> int:
        """Count a request, unless it is one too many: return then in how many seconds to ask again.

        Args:
            who: Who asks, or from where; there may be any number of them.
            now: Seconds on a clock that never steps.
        """
        left = self._left(who, now)
        if left < 1:
            return max(1, math.ceil((1 - left) / self._rate))
        if who not in self._buckets and len(self._buckets) >= _KEPT:
            self._forget(now)
        self._buckets[who] = (left - 1, now)
        return 0

    def give_back(self, who: str) -> None:
        """Count a request no more."""
        if who in self._buckets:
            left, at = self._buckets[who]
            self._buckets[who] = (left + 1, at)

    def _forget(self, now: float) -> None:
        """Forget those who have not asked for long, and where that is nobody, half of all."""
        kept = {
            who: one for who, one in self._buckets.items() if self._left(who, now) < self._burst
        }
        if len(kept) >= _KEPT:
            oldest = sorted(kept, key=lambda who: kept[who][1])
            kept = {who: kept[who] for who in oldest[_KEPT // 2 :]}
        self._buckets = kept

    @contextmanager
    def taken(self, writer: str, now: float) -> Iterator[None]:
        """Count a request of a writer for as long as it is worked on.

        Args:
            writer: Whose it is; there are as many as credentials.
            now: Seconds on a clock that never steps.

        Raises:
            TooMany: It is one too many.
        """
        left = self._left(writer, now)
        running = self._running.get(writer, 0)
        if left < 1 or running >= _AT_ONCE:
            self._buckets[writer] = (left, now)
            wait = max(1, math.ceil((1 - left) / self._rate))
            raise TooMany(
                "This writer sends more than the ledger takes of one.",
                remedy=f"Send again in {wait} s, one request at a time, with more in each.",
            )
        self._buckets[writer] = (left - 1, now)
        self._running[writer] = running + 1
        try:
            yield
        finally:
            self._running[writer] -= 1
