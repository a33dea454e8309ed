"""How likely a session of some age is to end now: counted by age, and by hour of the week.

Age is cut into bins that grow by a constant factor. In a bin, ends divided by the time that
sessions were observed in it is the maximum-likelihood estimate of a hazard that is constant there
(the piecewise exponential model: Friedman, Annals of Statistics 10, 1982; on a fine grid it is the
Kaplan-Meier estimate). A session that still runs adds its time and no end, which is all that
right-censoring asks for. The hour multiplies the hazard, as in Cox's model, by the ends seen in it
over those expected without it (indirect standardisation).

Moments are seconds since 1970 in UTC, ages and lengths are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

HOUR: Final = 3600.0
WEEK_HOURS: Final = 48
"""The 24 hours of a working day, then those of a weekend's."""
_FIRST: Final = 60.0
_GROWTH: Final = 1.25
_LONGEST: Final = 60 * 86_400.0
EDGES: Final = (
    0.0,
    *(
        _FIRST * _GROWTH**power
        for power in range(math.ceil(math.log(_LONGEST / _FIRST, _GROWTH)) + 1)
    ),
)
"""The bins' limits: 0, a minute, and from there a quarter more each up to 60 days."""
BINS: Final = len(EDGES) - 1
MIDDLES: Final = tuple((low + high) / 2 for low, high in pairwise(EDGES))

_HOUR_WEIGHT: Final = 10.0
"""So many expected ends say beforehand that an hour is like any other."""
_BIN_WEIGHT: Final = 0.2
"""So many ends say beforehand that a bin's hazard is that of its neighbours."""
_TAIL: Final = 0.25
"""The longest part of sessions, from which the tail is estimated."""
_LEAST_INDEX: Final = 0.5
_LARGEST_INDEX: Final = 10.0
_EPOCH_WEEKDAY: Final = 3
"""1970 began on a Thursday."""


def hour_of_week(moment: float, offset: float) -> int:
    """Which hour of a working day (0 to 23) or of a weekend's day (24 to 47) a moment is in.

    Args:
        moment: Seconds since 1970 in UTC.
        offset: Seconds that local time is ahead of UTC.
    """
    hours = int((moment + offset) // HOUR)
    weekday = (hours // 24 + _EPOCH_WEEKDAY) % 7
    return hours % 24 + (24 if weekday >= 5 else 0)


def bin_of(age: float) -> int:
    """The bin that an age lies in; the last one for those beyond all."""
    if age < _FIRST:
        return 0
    found = min(1 + int(math.log(age / _FIRST) / math.log(_GROWTH)), BINS - 1)
    # The logarithm may be off by a last digit.
    if age < EDGES[found]:
        return found - 1
    return found + 1 if found < BINS - 1 and age >= EDGES[found + 1] else found


def pieces(
    age: float, until: float, moment: float, offset: float
) -> Iterator[tuple[int, int, float]]:
    """Cut a stretch of a session's life at the limits of bins and at full hours.

    Args:
        age: The session's age at its beginning.
        until: Its age at the end.
        moment: When the stretch begins.
        offset: Seconds that local time is ahead of UTC.

    Yields:
        The bin, the hour of the week and the seconds of each piece.
    """
    found = bin_of(age)
    left = HOUR - (moment + offset) % HOUR
    hour = hour_of_week(moment, offset)
    while age < until:
        limit = EDGES[found + 1] if found < BINS - 1 else math.inf
        step = min(limit - age, left, until - age)
        yield found, hour, step
        # What a step is too small to change must not keep the loop from going on.
        age = limit if step == limit - age else age + step
        moment += step
        left -= step
        if age >= limit:
            found += 1
        if left <= 0:
            left = HOUR
            hour = hour_of_week(moment + 1, offset)


class Counts:
    """Ends by bin and hour, and the time observed; weighted sums that can be added up."""

    __slots__ = ("ends", "ends_by_hour", "sessions", "time")

    def __init__(self) -> None:
        self.ends = [0.0] * BINS
        self.ends_by_hour = [0.0] * WEEK_HOURS
        self.time = [[0.0] * BINS for _ in range(WEEK_HOURS)]
        self.sessions = 0
        """How many ended, unweighted."""

    def add(self, began: float, lasted: float, offset: float, *, weight: float, end: bool) -> None:
        """Count one session; without ``end``, as one of which only so much is known."""
        found, hour = 0, hour_of_week(began, offset)
        for found, hour, seconds in pieces(0.0, lasted, began, offset):
            self.time[hour][found] += weight * seconds
        if end:
            self.ends[found] += weight
            self.ends_by_hour[hour] += weight
            self.sessions += 1

    def plus(self, other: Counts, share: float = 1.0) -> Counts:
        """The sum of these and of a share of others."""
        total = Counts()
        total.ends = _sum(self.ends, other.ends, share)
        total.ends_by_hour = _sum(self.ends_by_hour, other.ends_by_hour, share)
        total.time = [
            _sum(mine, theirs, share) for mine, theirs in zip(self.time, other.time, strict=True)
        ]
        total.sessions = self.sessions + (other.sessions if share > 0 else 0)
        return total

    @property
    def weight(self) -> float:
        """Of all that ended."""
        return sum(self.ends)


def _sum(mine: Sequence[float], theirs: Sequence[float], share: float) -> list[float]:
    return [one + share * other for one, other in zip(mine, theirs, strict=True)]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How the hour of the week multiplies the hazard."""

    factors: tuple[float, ...] = (1.0,) * WEEK_HOURS


def rhythm(counts: Counts, beforehand: Rhythm | None = None) -> Rhythm:
    """Estimate the hours' factors; those with few ends stay near what is known beforehand.

    Args:
        counts: Of the sessions whose rhythm it is.
        beforehand: That of more sessions; where it is absent, every hour is like any other.
    """
    before = (beforehand or Rhythm()).factors
    factors = before
    for _ in range(3):
        rates = _rates(counts.ends, exposure(counts, Rhythm(factors)))
        expected = [
            factor * sum(rate * time for rate, time in zip(rates, times, strict=True))
            for factor, times in zip(before, counts.time, strict=True)
        ]
        factors = tuple(
            factor * (seen + _HOUR_WEIGHT) / (without + _HOUR_WEIGHT)
            for factor, seen, without in zip(before, counts.ends_by_hour, expected, strict=True)
        )
    return Rhythm(factors)


def exposure(counts: Counts, hours: Rhythm) -> list[float]:
    """The time observed in each bin, an hour's time counting as much as its factor."""
    return [
        sum(factor * time[found] for factor, time in zip(hours.factors, counts.time, strict=True))
        for found in range(BINS)
    ]


def hazard(ends: Sequence[float], time: Sequence[float]) -> tuple[float, ...]:
    """Ends a second of age, bin by bin, over all ages.

    Where little or nothing was observed, it is that of all ages together, and in the tail that of a
    power law: as long as a session has lasted already, so long it may go on. The tail's index is
    Hill's, for censored lengths: ends over time on a logarithmic scale, of the longest quarter.

    Args:
        ends: Weighted ends in each bin.
        time: Weighted seconds in each bin.
    """
    body = (sum(ends) + _BIN_WEIGHT) / (sum(time) + _BIN_WEIGHT * HOUR)
    first, index = _tail(ends, time)
    beforehand = [index / middle if at >= first else body for at, middle in enumerate(MIDDLES)]
    return tuple(
        (ended + _BIN_WEIGHT) / (seconds + _BIN_WEIGHT / rate)
        for ended, seconds, rate in zip(ends, time, beforehand, strict=True)
    )


def _tail(ends: Sequence[float], time: Sequence[float]) -> tuple[int, float]:
    """The first bin of the tail, and its index."""
    wanted, found, logarithmic = _TAIL * sum(ends), 0.0, 0.0
    for at in reversed(range(BINS)):
        found += ends[at]
        logarithmic += time[at] / MIDDLES[at]
        if found >= wanted > 0:
            return at, min(max(found / logarithmic, _LEAST_INDEX), _LARGEST_INDEX)
    return 0, 1.0


def _rates(ends: Sequence[float], time: Sequence[float]) -> list[float]:
    return [
        ended / seconds if seconds > 0 else 0.0 for ended, seconds in zip(ends, time, strict=True)
    ]
