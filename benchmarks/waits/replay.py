"""A trace lived through again: at each look, what was said of a wait, and what it became.

Five say something, each of the same request at the same moment:

- **ours**: ``arcetri_spawner.estimates``, from what was known then and nothing else.
- **naive**: the mean of the waits that were over by then, of those who had to wait at all.
- **less waited**: the same, less what was waited already, and not below nothing; the sharper one.
- **oracle**: knows when every session ends that runs or waits then, and nothing of later requests.
- **best**: knows the laws that the trace was drawn from, not what was drawn. Nobody who does not
  see the future can do better, on average; where there is no known law, there is no such figure.
"""

from __future__ import annotations

import math
import random
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean, median
from typing import Final
from uuid import UUID

from arcetri_spawner.estimates import (
    ExpectedWait,
    Laws,
    Lengths,
    Line,
    PastSession,
    RunningSession,
    WaitingRequest,
    expected_waits,
)
from benchmarks.waits.line import Asking, serve
from benchmarks.waits.regimes import BEGIN, DAY, HOUR, Regime, of_day
from benchmarks.waits.traces import Record, Trace, lasts

LOOK: Final = HOUR / 2
"""Between two looks at those who wait; each is looked at when it comes, too."""
_REFIT: Final = 24 * HOUR
_FLAVOR: Final = ("t4", "gpu")
_BANK: Final = 1000
_PLAYS: Final = 200


@dataclass(frozen=True, slots=True)
class Look:
    """One moment at which somebody waited; seconds."""

    trace: str
    at: float
    truth: float
    ours: ExpectedWait | None
    waited: float
    naive: float | None
    oracle: float
    best: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How good estimates were, over many looks; hours."""

    looks: int
    abstained: float
    """Part of the looks at which nothing was said."""
    inside: float
    """Part of the ranges that held the truth."""
    error: float
    """Median absolute error of what was called likely."""
    naive: float
    less_waited: float
    oracle: float
    best: float | None
    width: float
    """Median width of the range."""

    @property
    def closed(self) -> float:
        """Which part of the gap between the naive error and the oracle's is closed."""
        return _closed(self.error, self.naive, self.oracle)

    @property
    def closed_of_less_waited(self) -> float:
        """The same, for the sharper of the two naive ones."""
        return _closed(self.error, self.less_waited, self.oracle)

    @property
    def closed_at_best(self) -> float | None:
        """Which part knowing the laws would close."""
        return None if self.best is None else _closed(self.best, self.naive, self.oracle)

    @property
    def closed_at_best_of_less_waited(self) -> float | None:
        """The same, for the sharper one."""
        return None if self.best is None else _closed(self.best, self.less_waited, self.oracle)


def _closed(error: float, naive: float, oracle: float) -> float:
    return (naive - error) / (naive - oracle)


def score(looks: Sequence[Look]) -> Score:
    """Judge estimates. Errors are compared where everybody said something."""
    said = [(look, look.ours) for look in looks if look.ours is not None]
    compared = [(look, ours, look.naive) for look, ours in said if look.naive is not None]
    bests = [abs(look.best - look.truth) for look, _, _ in compared if look.best is not None]

    def error(of: Callable[[Look, ExpectedWait, float], float]) -> float:
        """The median absolute error, in hours."""
        return median(abs(of(*one) - one[0].truth) for one in compared) / HOUR

    return Score(
        looks=len(looks),
        abstained=1 - len(said) / len(looks),
        inside=fmean(
            ours.low.total_seconds() <= look.truth <= ours.high.total_seconds()
            for look, ours in said
        ),
        error=error(lambda _, ours, __: ours.likely.total_seconds()),
        naive=error(lambda _, __, naive: naive),
        less_waited=error(lambda look, _, naive: max(naive - look.waited, 0.0)),
        oracle=error(lambda look, _, __: look.oracle),
        best=median(bests) / HOUR if bests else None,
        width=median((ours.high - ours.low).total_seconds() for _, ours in said) / HOUR,
    )


def replay(
    trace: Trace,
    *,
    every: int = 1,
    regime: Regime | None = None,
    weeks: int = 0,
    spent: list[float] | None = None,
) -> Iterator[Look]:
    """Live through a trace.

    Args:
        trace: What happened.
        every: Of so many looks one is taken, for a shorter replay.
        regime: Where the trace is from, for what knowing its laws would be worth.
        weeks: How long the trace is, with ``regime``.
        spent: Is given the processor time, in seconds, that each estimate of a line took.
    """
    known = Known(trace)
    best = Best(regime, weeks) if regime else None
    for number, (now, wanted) in enumerate(_moments(trace)):
        if number % every:
            continue
        known.advance(now)
        line, waiting = known.line(now)
        names = [one.name for one in waiting]
        laws, begun = known.laws(now), time.process_time()
        said = expected_waits(line, laws, _moment(now))
        if spent is not None:
            spent.append(time.process_time() - begun)
        oracle = _oracle(trace, known.running, waiting, now)
        likely = best.waits(trace, known.running, waiting, now) if best else {}
        for record in waiting:
            if record.name not in wanted or not math.isfinite(record.begun):
                continue
            yield Look(
                trace.name,
                now,
                record.begun - now,
                said.get(UUID(int=record.name)),
                now - record.asked,
                known.naive(),
                oracle[names.index(record.name)],
                likely.get(record.name),
            )


def _moments(trace: Trace) -> Iterator[tuple[float, set[int]]]:
    """Moments at which somebody waits, and who is looked at."""
    found: dict[float, set[int]] = {}
    for one in trace.records:
        until = one.begun if math.isfinite(one.begun) else one.ended
        if until <= one.asked:
            continue
        found.setdefault(one.asked, set()).add(one.name)
        at = (one.asked // LOOK + 1) * LOOK
        while at < until:
            found.setdefault(at, set()).add(one.name)
            at += LOOK
    yield from sorted(found.items())


class Known:
    """What is known at a moment that only moves on."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._lengths = Lengths()
        self._laws: tuple[float, Laws] | None = None
        self._coming = sorted(trace.records, key=lambda one: one.asked)
        self._next = 0
        self._here: list[Record] = []
        self._waits: list[float] = []
        self.running: list[Record] = []

    def advance(self, now: float) -> None:
        """Let happen what happened until a moment."""
        while self._next < len(self._coming) and self._coming[self._next].asked <= now:
            self._here.append(self._coming[self._next])
            self._next += 1
        over = [one for one in self._here if one.ended <= now]
        self._here = [one for one in self._here if one.ended > now]
        begun = [one for one in over if math.isfinite(one.begun)]
        self._lengths.add(
            PastSession(
                *_FLAVOR,
                one.group,
                _moment(one.begun),
                timedelta(seconds=one.ended - one.begun),
                one.natural,
            )
            for one in begun
        )
        self._waits += [one.begun - one.asked for one in begun if one.begun > one.asked]
        self.running = [one for one in self._here if one.begun <= now]

    def laws(self, now: float) -> Laws:
        """How long sessions last, from what has been seen."""
        if self._laws is None or now - self._laws[0] >= _REFIT:
            self._laws = (now, self._lengths.laws(list(map(_session, self.running)), _moment(now)))
        return self._laws[1]

    def line(self, now: float) -> tuple[Line, list[Record]]:
        """The line, and the records of those who wait in it."""
        waiting = [one for one in self._here if one.begun > now]
        line = Line(
            _FLAVOR[0],
            _FLAVOR[1],
            self._trace.places,
            tuple(map(_session, self.running)),
            tuple(
                WaitingRequest(
                    UUID(int=one.name),
                    one.group,
                    timedelta(seconds=one.lifetime) if math.isfinite(one.lifetime) else None,
                )
                for one in waiting
            ),
            self._trace.quotas,
        )
        return line, waiting

    def naive(self) -> float | None:
        """The mean of past waits."""
        over = self._waits + [
            one.begun - one.asked for one in self.running if one.begun > one.asked
        ]
        return fmean(over) if over else None


def _session(one: Record) -> RunningSession:
    ends_by = _moment(one.begun + one.lifetime) if math.isfinite(one.lifetime) else None
    return RunningSession(*_FLAVOR, one.group, _moment(one.begun), ends_by)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _oracle(
    trace: Trace, running: Sequence[Record], waiting: Sequence[Record], now: float
) -> list[float]:
    lengths = {one.name: one.ended - one.begun for one in waiting if math.isfinite(one.begun)}
    return _played(
        trace,
        [(one.ended, one.group) for one in running],
        waiting,
        now,
        # One that is going to leave is not known to: it is taken for a session of an hour.
        lambda one, _: lengths.get(one.name, HOUR),
    )


def _played(
    trace: Trace,
    held: list[tuple[float, str]],
    waiting: Sequence[Record],
    now: float,
    length: Callable[[Asking, float], float],
) -> list[float]:
    asking = [Asking(one.name, one.group, now) for one in waiting]
    begun = {
        outcome.asking.name: outcome.begun
        for outcome in serve(asking, trace.places, trace.quotas, length, held)
    }
    waits = []
    for one in waiting:
        at = begun[one.name]
        waits.append(math.inf if at is None else at - now)
    return waits


class Best:
    """Plays a line forward with lengths from the regime's own laws."""

    def __init__(self, regime: Regime, weeks: int) -> None:
        self._regime = regime
        self._weeks = weeks
        self._draw = random.Random(11)  # noqa: S311 - figures, no secret
        self._banks: dict[tuple[str, int, int, bool], list[float]] = {}

    def waits(
        self, trace: Trace, running: Sequence[Record], waiting: Sequence[Record], now: float
    ) -> dict[int, float]:
        """The median waits."""
        banks = [(one, self._bank(one.group, one.begun)) for one in running]
        firsts = [(one, bank, bisect_right(bank, now - one.begun)) for one, bank in banks]
        played: list[list[float]] = []
        for _ in range(_PLAYS):
            held = [
                (max(one.begun + self._residual(bank, first, now - one.begun), now), one.group)
                for one, bank, first in firsts
            ]
            played.append(
                _played(trace, held, waiting, now, lambda one, at: self._length(one.group, at))
            )
        return {
            one.name: median(waits)
            for one, waits in zip(waiting, zip(*played, strict=True), strict=True)
        }

    def _residual(self, bank: list[float], first: int, age: float) -> float:
        # An age beyond all that were drawn: it ends about now, or goes on as far again.
        if first >= len(bank):
            return age * self._draw.uniform(1, 1.2)
        return bank[self._draw.randrange(first, len(bank))]

    def _length(self, group: str, begun: float) -> float:
        bank = self._bank(group, begun)
        return bank[self._draw.randrange(len(bank))]

    def _bank(self, group: str, begun: float) -> list[float]:
        weekday, hour = of_day(begun)
        half = begun - BEGIN > self._weeks * 7 * DAY / 2
        key = (group, weekday if self._regime.bursts else 0, int(hour * 4), half)
        if key not in self._banks:
            # What the sessions of one day have in common is not known beforehand: a day of
            # another week each.
            weeks = 7 * DAY if self._regime.bursts else 0.0
            self._banks[key] = sorted(
                lasts(self._regime, group, begun + number * weeks, self._draw, self._weeks)[0]
                for number in range(_BANK)
            )
        return self._banks[key]
