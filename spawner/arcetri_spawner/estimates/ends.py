"""When sessions end: drawn from their law, given how long they run already."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Final

from arcetri_spawner.estimates.hazard import BINS, EDGES, HOUR, bin_of, hour_of_week
from arcetri_spawner.estimates.lengths import Law

_RHYTHM: Final = 72 * HOUR
"""So far ahead the hours are followed; beyond, one is taken as any other."""


class Ends:
    """The end of a session, from a moment at which it has some age.

    A session ends when the hazard that it has been through, summed up, reaches a number drawn from
    the exponential distribution of mean 1. The sum is laid down once, at the limits of bins and at
    full hours; a drawn number is then looked up in it.
    """

    __slots__ = ("_at", "_bound", "_last_rate", "_sums")

    def __init__(
        self, law: Law, age: float, moment: float, offset: float, bound: float = math.inf
    ) -> None:
        """Sum the hazard up.

        Args:
            law: How long such sessions last.
            age: The session's age at that moment, in seconds.
            moment: Seconds since 1970 in UTC.
            offset: Seconds that local time is ahead of UTC.
            bound: Seconds after which it ends at the latest.
        """
        self._bound = max(bound, 0.0)
        self._last_rate = law.rates[-1]
        self._at, self._sums = [0.0], [0.0]
        factors = law.rhythm.factors
        found, ahead, total = bin_of(age), 0.0, 0.0
        left = HOUR - (moment + offset) % HOUR
        factor = factors[hour_of_week(moment, offset)]
        while found < BINS and ahead < self._bound:
            to_limit = max(EDGES[found + 1] - age - ahead, 0.0)
            step = min(to_limit, left)
            total += law.rates[found] * factor * step
            ahead += step
            left -= step
            self._at.append(ahead)
            self._sums.append(total)
            if step == to_limit:
                found += 1
            if left <= 0:
                # A second later: a rounded moment may lie just before the hour.
                follows = ahead < _RHYTHM
                left = HOUR if follows else math.inf
                factor = factors[hour_of_week(moment + ahead + 1, offset)] if follows else 1.0

    def after(self, hazard: float) -> float:
        """Seconds until the hazard has summed up to so much, or the session's bound."""
        place = bisect_right(self._sums, hazard)
        if place == len(self._sums):
            seconds = self._at[-1] + (hazard - self._sums[-1]) / self._last_rate
        else:
            low, high = self._sums[place - 1], self._sums[place]
            begin = self._at[place - 1]
            seconds = begin + (self._at[place] - begin) * (hazard - low) / (high - low)
        return min(seconds, self._bound)
