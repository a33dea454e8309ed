"""What a ledger must say, worked out piece by piece. It imports nothing of accounting.

Slow on purpose: time is cut wherever anything begins or ends and at every multiple of ``GRAIN``, of
which a quarter hour is one, and every sum is made by going through the pieces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

GRAIN = 50_000
QUARTER = 900_000
WHOLE = 10_080


@dataclass(frozen=True)
class Truth:
    """A session's device: who held what, of how much, from when to when."""

    session: str
    device: str
    account: str
    group: str
    flavor: str
    share: int
    """In 1/10080."""
    start: int
    end: int


@dataclass(frozen=True)
class Told:
    """A span of it that an agent told of; the parts are in milliseconds."""

    session: str
    device: str
    start: int
    end: int
    util: int
    used: int
    occupied: int
    unobserved: int
    energy: int | None = None
    """mJ."""


def ticks(start: int, end: int, marks: Iterable[int] = ()) -> Iterator[tuple[int, int]]:
    """The pieces of a span, each with how long it lasts."""
    grains = range((start // GRAIN + 1) * GRAIN, end, GRAIN)
    inner = {mark for mark in marks if start < mark < end}
    cuts = sorted({start, end, *grains, *inner})
    for begin, stop in pairwise(cuts):
        yield begin, stop - begin


def quarters(
    told: Iterable[Told], truths: Iterable[Truth]
) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Milliseconds and allocated units by session, device and quarter hour."""
    shares = {(truth.session, truth.device): truth.share for truth in truths}
    sums: dict[tuple[str, str, int], int] = defaultdict(int)
    for span in told:
        for tick, length in ticks(span.start, span.end):
            sums[span.session, span.device, tick // QUARTER] += length
    return {key: (dur, dur * shares[key[:2]]) for key, dur in sums.items()}


def sessions(
    told: Iterable[Told], truths: Iterable[Truth]
) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """Used, occupied and unobserved units, and mJ, by session and device."""
    shares = {(truth.session, truth.device): truth.share for truth in truths}
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 4)
    for span in told:
        share = shares[span.session, span.device]
        sum_ = sums[span.session, span.device]
        sum_[0] += span.used
        sum_[1] += share * span.occupied
        sum_[2] += share * span.unobserved
        sum_[3] += span.energy or 0
    return {key: (one[0], one[1], one[2], one[3]) for key, one in sums.items()}


def untold(told: Iterable[Told], truths: Iterable[Truth]) -> dict[tuple[str, str, int], int]:
    """Milliseconds that no agent told of, by session, device and quarter hour."""
    spans: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for span in told:
        spans[span.session, span.device].append(span)
    found: dict[tuple[str, str, int], int] = defaultdict(int)
    for truth in truths:
        mine = spans[truth.session, truth.device]
        marks = [mark for span in mine for mark in (span.start, span.end)]
        for tick, length in ticks(truth.start, truth.end, marks):
            if not any(span.start <= tick < span.end for span in mine):
                found[truth.session, truth.device, tick // QUARTER] += length
    return dict(found)


def local_days(truths: Iterable[Truth], zone: str) -> dict[tuple[int, str, str], int]:
    """Allocated units by local day, account and group."""
    where = ZoneInfo(zone)
    found: dict[tuple[int, str, str], int] = defaultdict(int)
    for truth in truths:
        for tick, length in ticks(truth.start, truth.end):
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=tick)
            day = moment.astimezone(where).date().toordinal()
            found[day, truth.account, truth.group] += truth.share * length
    return dict(found)


def months(truths: Iterable[Truth]) -> dict[tuple[str, int, int], int]:
    """Milliseconds by session and month of UTC."""
    found: dict[tuple[str, int, int], int] = defaultdict(int)
    for truth in truths:
        for tick, length in ticks(truth.start, truth.end):
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=tick)
            found[truth.session, moment.year, moment.month] += length
    return dict(found)
