"""How long those in a line will wait: the line is played forward many times over.

In each play every session ends at a moment drawn from its law, those who wait move up as the
queue's order and the quotas have it, and their sessions, once begun, last as their law has it. The
waits of one request over all plays are its distribution; the range is cut out of that.

The plays are the same at every call (a fixed seed): the same line gives the same answer. Each
session's draws are spread evenly over its distribution (Latin hypercube sampling: McKay, Beckman
and Conover, Technometrics 21, 1979), so that 200 plays tell as much as many more at random.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from uuid import UUID

from arcetri_spawner.estimates.ends import Ends
from arcetri_spawner.estimates.hazard import HOUR
from arcetri_spawner.estimates.lengths import Law, Laws
from arcetri_spawner.estimates.model import ExpectedWait
from arcetri_spawner.estimates.situation import Line, Order

CONFIDENCE: Final = 0.8
PLAYS: Final = 200
_SEED: Final = 1608
_DAYS_DIFFER: Final = 0.02
"""Variance of a factor common to all hazards of one play: sessions of one day have in common what
no history tells, such as a deadline."""
_HOURS: Final = 72
"""So far ahead it matters at which hour a session begins."""


def expected_waits(
    line: Line, laws: Laws, now: datetime, zone: tzinfo = UTC
) -> dict[UUID, ExpectedWait]:
    """Estimate the wait of everybody in a line.

    Args:
        line: Who holds a place, and who waits.
        laws: How long sessions last.
        now: The moment that the waits are counted from.
        zone: The site's, for the hour of the day.

    Returns:
        By request. One is absent where too little is known, or where more than a tenth of the plays
        never come to it, as under a quota of 0.
    """
    groups = sorted({one.group for one in line.running} | {one.group for one in line.waiting})
    found = {group: laws.of(line.flavor_type, line.flavor, group) for group in groups}
    known = {group: law for group, law in found.items() if law is not None}
    if not line.waiting or len(known) < len(groups):
        return {}
    play = Play(line, known, now, zone)
    return {
        one.id: expected
        for one, waits in zip(line.waiting, play.waits(), strict=True)
        if (expected := _range(waits, known[one.group].sessions))
    }


def _range(waits: Sequence[float], sessions: int) -> ExpectedWait | None:
    ordered = sorted(waits)
    aside = (1 - CONFIDENCE) / 2
    low, likely, high = (
        ordered[min(int(part * len(ordered)), len(ordered) - 1)] for part in (aside, 0.5, 1 - aside)
    )
    if math.isinf(high):
        return None
    return ExpectedWait(
        timedelta(seconds=low),
        timedelta(seconds=likely),
        timedelta(seconds=high),
        confidence=CONFIDENCE,
        sessions=sessions,
    )


class Play:
    """A line, ready to be played forward.

    Args:
        line: Who holds a place, and who waits.
        laws: By group.
        now: When it begins.
        zone: The site's.
    """

    def __init__(self, line: Line, laws: dict[str, Law], now: datetime, zone: tzinfo) -> None:
        self._random = random.Random(_SEED)  # noqa: S311 - the same at every call, no secret
        self._line = line
        self._now = now.timestamp()
        self._offset = (now.astimezone(zone).utcoffset() or timedelta()).total_seconds()
        names = list(laws)
        number = {name: place for place, name in enumerate(names)}
        self._laws = list(laws.values())
        self._running = [
            (
                number[one.group],
                Ends(
                    laws[one.group],
                    max((now - one.began).total_seconds(), 0.0),
                    self._now,
                    self._offset,
                    math.inf if one.ends_by is None else (one.ends_by - now).total_seconds(),
                ),
            )
            for one in line.running
        ]
        self._waiting = [
            (number[one.group], math.inf if one.lifetime is None else one.lifetime.total_seconds())
            for one in line.waiting
        ]
        self._quotas = [line.quotas.get(name, math.inf) for name in names]
        self._most = [
            quota + line.borrow.get(name, 0)
            for quota, name in zip(self._quotas, names, strict=True)
        ]
        self._later: dict[tuple[int, int], Ends] = {}

    def waits(self, plays: int = PLAYS) -> list[list[float]]:
        """Play; return the seconds that each waits in each play, infinite where none came to it."""
        running = [(group, ends, self._spread(plays)) for group, ends in self._running]
        lengths = [self._spread(plays) for _ in self._waiting]
        factors = self._factors(plays)
        waits: list[list[float]] = [[math.inf] * plays for _ in self._waiting]
        for play in range(plays):
            factor = factors[play]
            free = [(ends.after(drawn[play] * factor), group) for group, ends, drawn in running]
            heapq.heapify(free)

            def ends_at(place: int, at: float, play: int = play, factor: float = factor) -> float:
                group, lifetime = self._waiting[place]
                drawn = lengths[place][play] * factor
                return at + min(self._beginning(group, at).after(drawn), lifetime)

            for place, at in self._once(free, ends_at):
                waits[place][play] = at
        return waits

    def _once(
        self, free: list[tuple[float, int]], ends_at: Callable[[int, float], float]
    ) -> list[tuple[int, float]]:
        """Play one: who begins when, as far as anybody does."""
        held = [0] * len(self._laws)
        for _, group in free:
            held[group] += 1
        places = self._line.places - len(free)
        waiting = list(range(len(self._waiting)))
        begun: list[tuple[int, float]] = []
        at = 0.0
        while waiting:
            while places > 0 and (place := self._next(waiting, held)) is not None:
                waiting.remove(place)
                group = self._waiting[place][0]
                held[group] += 1
                places -= 1
                begun.append((place, at))
                if waiting:
                    heapq.heappush(free, (ends_at(place, at), group))
            if not free:
                break
            at, group = heapq.heappop(free)
            held[group] -= 1
            places += 1
        return begun

    def _next(self, waiting: Sequence[int], held: Sequence[int]) -> int | None:
        """Who is next among those whose group may have one more."""
        may = (
            place
            for place in waiting
            if held[self._waiting[place][0]] < self._most[self._waiting[place][0]]
        )
        if self._line.order is Order.FIRST_COME:
            return next(may, None)
        return min(may, key=lambda place: self._share(self._waiting[place][0], held), default=None)

    def _share(self, group: int, held: Sequence[int]) -> float:
        """What a group would hold of its quota, or of all where it has none, with one more."""
        quota = self._quotas[group]
        whole = quota if math.isfinite(quota) else self._line.places
        return (held[group] + 1) / max(whole, 0.5)

    def _beginning(self, group: int, at: float) -> Ends:
        """The end of a session that begins at about that time from now."""
        hour = min(int(at / HOUR), _HOURS)
        ends = self._later.get((group, hour))
        if ends is None:
            moment = self._now + (hour + 0.5) * HOUR
            ends = self._later[(group, hour)] = Ends(self._laws[group], 0, moment, self._offset)
        return ends

    def _spread(self, plays: int) -> list[float]:
        """Draws from the exponential distribution of mean 1, one from each of as many parts."""
        drawn = [-math.log1p(-(part + 0.5) / plays) for part in range(plays)]
        self._random.shuffle(drawn)
        return drawn

    def _factors(self, plays: int) -> list[float]:
        """What is common to all sessions of a play: how far off the laws may be."""
        least = min((law.weight for law in self._laws), default=1.0)
        shape = 1 / (_DAYS_DIFFER + 1 / max(least, 1.0))
        return [1 / max(self._random.gammavariate(shape, 1 / shape), 1e-3) for _ in range(plays)]
