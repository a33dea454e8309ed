"""Farms with known habits: how often people ask, and how long their sessions last.

The figures are those of a shared farm of interactive sessions: people come in working hours, a
session is used for an hour or three, many are left open and end by idleness, some run for days. No
regime was chosen by what an estimator makes of it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
BEGIN: Final = 1_767_571_200.0
"""Monday, 2026-01-05, midnight in UTC, in seconds since 1970."""

Law = Callable[[random.Random, float], float]
"""How long a session lasts that begins at a moment, in seconds."""

_WORKDAY: Final = (
    *([0.03] * 7), 0.15, 0.6, 1.2, 1.2, 1.1, 0.8, 0.8, 1.1, 1.1, 1.0, 0.7, 0.4, 0.25, 0.2, 0.2,
    0.15, 0.08,
)  # fmt: skip
"""Requests in each hour of a working day, where 1 is the middle of the day."""
_WEEKEND: Final = 0.15


@dataclass(frozen=True, slots=True)
class Habit:
    """What the people of one group do."""

    rate: float
    """Requests an hour in the middle of a working day."""
    law: Law
    lifetime: float = 3 * DAY
    """The longest that a session lasts."""


@dataclass(frozen=True, slots=True)
class Burst:
    """A course: its people ask at the same time, and end together."""

    group: str
    people: int
    weekdays: tuple[int, ...]
    hour: float = 9.0
    lasts: float = 3.0


@dataclass(frozen=True, slots=True)
class Regime:
    """A farm of one flavour, and who uses it."""

    name: str
    what: str
    places: int
    habits: Mapping[str, Habit]
    quotas: Mapping[str, int] = field(default_factory=dict)
    bursts: tuple[Burst, ...] = ()
    after: Mapping[str, Habit] | None = None
    """The habits of the second half, where they change."""
    leaves: float = 0.0
    """Part of the requests that leave the line after half a day's patience or less."""


def of_day(moment: float) -> tuple[int, float]:
    """The weekday, 0 for Monday, and the hour of a moment."""
    days, seconds = divmod(moment - BEGIN, DAY)
    return int(days) % 7, seconds / HOUR


def intensity(moment: float) -> float:
    """How many ask at this hour, against the middle of a working day."""
    weekday, hour = of_day(moment)
    return _WORKDAY[int(hour)] * (_WEEKEND if weekday >= 5 else 1.0)


def lognormal(hours: float, spread: float) -> Law:
    """Lengths around a median, ``spread`` being the standard deviation of their logarithm."""
    return lambda draw, _: hours * HOUR * math.exp(draw.gauss(0, spread))


def exponential(hours: float) -> Law:
    """Lengths without memory: how long a session runs says nothing of how long it will."""
    return lambda draw, _: draw.expovariate(1 / (hours * HOUR))


def pareto(hours: float, index: float) -> Law:
    """Lengths of a power law, of which the shortest is given."""
    return lambda draw, _: hours * HOUR * draw.paretovariate(index)


def mixed(part: float, one: Law, other: Law) -> Law:
    """A part of one kind, the rest of another."""
    return lambda draw, begun: one(draw, begun) if draw.random() < part else other(draw, begun)


def working(work: Law, *, forgotten: float, idle: float = 1.0, overnight: float = 0.1) -> Law:
    """People work for a while, at the longest until the evening, and many forget to stop.

    Args:
        work: How long they work.
        forgotten: Part of the sessions that are ended by idleness.
        idle: Hours after which they are.
        overnight: Part of the sessions that compute until the morning.
    """

    def law(draw: random.Random, begun: float) -> float:
        seconds = work(draw, begun)
        _, hour = of_day(begun)
        evening = (draw.gauss(18.5, 0.8) - hour) * HOUR
        if draw.random() < overnight:
            seconds = max(seconds, (draw.gauss(33, 1.0) - hour) * HOUR)
        elif 0 < evening < seconds:
            seconds = evening
        return seconds + (idle * HOUR if draw.random() < forgotten else 0)

    return law


REGIMES: Final[tuple[Regime, ...]] = (
    Regime(
        "light",
        "light tails: log-normal, median 2.4 h, spread 0.6",
        8,
        {
            "/lab/cms": Habit(2.7, lognormal(2.4, 0.6)),
            "/lab/theory": Habit(2.4, lognormal(2.4, 0.6)),
        },
    ),
    Regime(
        "memoryless",
        "no memory: exponential, mean 3 h",
        8,
        {"/lab/cms": Habit(2.8, exponential(3)), "/lab/theory": Habit(2.1, exponential(3))},
    ),
    Regime(
        "heavy",
        "heavy tails: log-normal, median 1 h, spread 1.6, and a power law of index 1.2",
        10,
        {
            "/lab/cms": Habit(4.2, lognormal(1, 1.6)),
            "/lab/theory": Habit(2.1, pareto(0.5, 1.2)),
        },
    ),
    Regime(
        "capped",
        "half of the sessions run until their lifetime of 8 h",
        8,
        {
            "/lab/cms": Habit(1.9, mixed(0.5, lognormal(1, 0.8), exponential(40)), 8 * HOUR),
            "/lab/theory": Habit(1.5, mixed(0.5, lognormal(1, 0.8), exponential(40)), 8 * HOUR),
        },
    ),
    Regime(
        "idle",
        "work until the evening; 70 % end by idleness, 10 % compute overnight; some leave the line",
        10,
        {
            "/lab/cms": Habit(2.4, working(lognormal(1.6, 0.8), forgotten=0.7)),
            "/lab/theory": Habit(2.4, working(lognormal(1.2, 0.8), forgotten=0.7)),
        },
        leaves=0.1,
    ),
    Regime(
        "course",
        "a course of 14 on Tuesdays and Thursdays at 9:00, beside daily work",
        12,
        {
            "/lab/cms": Habit(2.8, working(lognormal(2, 0.7), forgotten=0.5)),
            "/lab/theory": Habit(2.2, working(lognormal(2, 0.7), forgotten=0.5)),
        },
        bursts=(Burst("/lab/school", 14, (1, 3)),),
    ),
    Regime(
        "quotas",
        "three groups of different habits with quotas of 3, 3 and 4 on 9 places",
        9,
        {
            "/lab/cms": Habit(0.7, lognormal(5, 0.7)),
            "/lab/theory": Habit(2.8, lognormal(1.2, 0.8)),
            "/lab/virgo": Habit(1.5, working(lognormal(2, 1.0), forgotten=0.6)),
        },
        quotas={"/lab/cms": 3, "/lab/theory": 3, "/lab/virgo": 4},
    ),
    Regime(
        "change",
        "habits change in the middle: medians of 1.2 h become 4 h, and fewer ask",
        8,
        {
            "/lab/cms": Habit(4.4, lognormal(1.2, 0.8)),
            "/lab/theory": Habit(3.6, lognormal(1.2, 0.8)),
        },
        after={
            "/lab/cms": Habit(1.9, lognormal(4, 0.8)),
            "/lab/theory": Habit(1.2, lognormal(4, 0.8)),
        },
    ),
)
