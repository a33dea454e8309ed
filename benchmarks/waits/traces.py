"""Traces: who asked when, began when, and ended when. Generated from a regime, or read from CSV."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from arcetri_spawner.estimates.lines import NATURAL
from benchmarks.waits.line import Asking, serve
from benchmarks.waits.regimes import BEGIN, DAY, HOUR, Regime, intensity, of_day


class BadTrace(ValueError):
    """A file is no trace; the message says where, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one request; moments are seconds since 1970."""

    name: int
    group: str
    asked: float
    begun: float
    """Infinite where it left the line."""
    ended: float
    """Of a request that left, when it did."""
    natural: bool
    lifetime: float


@dataclass(frozen=True, slots=True)
class Trace:
    """All requests for one flavour over some weeks, in the order in which they were asked."""

    name: str
    places: int
    records: tuple[Record, ...]
    quotas: Mapping[str, int] = field(default_factory=dict)


def generate(regime: Regime, seed: int, weeks: int) -> Trace:
    """Make a trace: the same one for the same arguments."""
    draw = random.Random(f"{regime.name} {seed}")  # noqa: S311 - a trace, no secret
    asking = sorted(_asking(regime, draw, weeks), key=lambda one: one.asked)
    asking = [
        Asking(number, one.group, one.asked, one.patience) for number, one in enumerate(asking)
    ]
    lengths: dict[int, tuple[float, bool, float]] = {}

    def length(one: Asking, begun: float) -> float:
        lengths[one.name] = lasts(regime, one.group, begun, draw, weeks)
        return lengths[one.name][0]

    records = []
    for outcome in serve(asking, regime.places, regime.quotas, length):
        one, begun = outcome.asking, outcome.begun
        if begun is None:
            left = one.asked + one.patience
            records.append(Record(one.name, one.group, one.asked, math.inf, left, True, math.inf))
        else:
            seconds, natural, lifetime = lengths[one.name]
            ended = begun + seconds
            records.append(Record(one.name, one.group, one.asked, begun, ended, natural, lifetime))
    records.sort(key=lambda record: record.name)
    return Trace(regime.name, regime.places, tuple(records), regime.quotas)


def lasts(
    regime: Regime, group: str, begun: float, draw: random.Random, weeks: int
) -> tuple[float, bool, float]:
    """Draw a session's length, whether its end was natural, and its lifetime."""
    for burst in regime.bursts:
        if burst.group == group:
            _, hour = of_day(begun)
            # The teacher ends earlier or later; all of a day have that in common.
            day = random.Random(f"{regime.name} {int(begun // DAY)}")  # noqa: S311 - as above
            seconds = (burst.hour + burst.lasts + day.gauss(0, 0.25) - hour) * HOUR
            return max(seconds + draw.gauss(0, 240), 600.0), True, 3 * DAY
    late = regime.after is not None and begun - BEGIN > weeks * 7 * DAY / 2
    habit = (regime.after if late and regime.after else regime.habits)[group]
    seconds = max(habit.law(draw, begun), 60.0)
    return min(seconds, habit.lifetime), seconds <= habit.lifetime, habit.lifetime


def _asking(regime: Regime, draw: random.Random, weeks: int) -> Iterator[Asking]:
    end = BEGIN + weeks * 7 * DAY
    for group, first in regime.habits.items():
        habit, moment = first, BEGIN
        most = 1.3 * max(first.rate, regime.after[group].rate if regime.after else 0)
        while (moment := moment + draw.expovariate(most) * HOUR) < end:
            if regime.after and moment - BEGIN > weeks * 7 * DAY / 2:
                habit = regime.after[group]
            # Thinning: of requests at the highest rate, as many as this hour has.
            if draw.random() * most < habit.rate * intensity(moment):
                leaves = draw.random() < regime.leaves
                patience = draw.uniform(0.25, 4) * HOUR if leaves else math.inf
                yield Asking(0, group, moment, patience)
    for burst in regime.bursts:
        for day in range(weeks * 7):
            if day % 7 in burst.weekdays:
                for _ in range(burst.people):
                    delay = draw.uniform(0, 10 / 60)
                    yield Asking(0, burst.group, BEGIN + day * DAY + (burst.hour + delay) * HOUR)


COLUMNS: Final = ("group", "asked", "admitted", "ended", "reason", "lifetime")


def read(path: Path, places: int, quotas: Mapping[str, int]) -> Trace:
    """Read a trace from a CSV file with a header.

    The columns: ``group``; ``asked``, ``admitted`` and ``ended``, moments as in ISO 8601 with their
    offset from UTC, ``admitted`` empty for a request that left the line; ``reason``, the code of
    the end as in the lease journal, or empty; ``lifetime``, in seconds, or empty. Rows may be in
    any order.

    Args:
        path: The file.
        places: How many sessions there was room for.
        quotas: By group.

    Raises:
        BadTrace: A row or column is not as it should be.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise BadTrace(f"{path}: the header lacks {', '.join(missing)}")
        found = [_record(row, f"{path}:{line}") for line, row in enumerate(rows, start=2)]
    found.sort(key=lambda record: record.asked)
    records = tuple(
        Record(
            number,
            one.group,
            one.asked,
            one.begun,
            one.ended,
            one.natural,
            one.lifetime,
        )
        for number, one in enumerate(found)
    )
    return Trace(path.stem, places, records, quotas)


def _record(row: Mapping[str, str], where: str) -> Record:
    try:
        asked, ended = _moment(row["asked"]), _moment(row["ended"])
        begun = _moment(row["admitted"]) if row["admitted"] else math.inf
        lifetime = float(row["lifetime"]) if row["lifetime"] else math.inf
    except (TypeError, ValueError) as error:
        raise BadTrace(
            f"{where}: {error}; moments are such as 2026-11-02T09:00:00+01:00, lifetime is seconds"
        ) from None
    if not asked <= (begun if math.isfinite(begun) else asked) <= ended:
        raise BadTrace(f"{where}: asked, admitted and ended must follow each other")
    return Record(0, row["group"], asked, begun, ended, row["reason"] in {*NATURAL, ""}, lifetime)


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no offset from UTC")
    return moment.timestamp()
