"""What a ledger must say, worked out by counting milliseconds. It imports nothing of accounting.

Slow on purpose: a span is a set of its milliseconds' numbers, in steps of ``GRAIN``, and every sum
is made by going through them. Histories for it are short, and their moments are multiples of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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


def ticks(start: int, end: int) -> range:
    assert start % GRAIN == end % GRAIN == 0
    return range(start, end, GRAIN)


def quarters(
    told: Iterable[Told], truths: Iterable[Truth]
) -> dict[tuple[str, str, int], list[int]]:
    """dur, allocated, used, occupied and unobserved units by session, device and quarter hour.

    Each told span lies within one quarter hour.
    """
    shares = {(truth.session, truth.device): truth.share for truth in truths}
    sums: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0] * 5)
    for span in told:
        share = shares[span.session, span.device]
        for tick in ticks(span.start, span.end):
            sum_ = sums[span.session, span.device, tick // QUARTER]
            sum_[0] += GRAIN
            sum_[1] += share * GRAIN
        sum_ = sums[span.session, span.device, span.start // QUARTER]
        sum_[2] += span.used
        sum_[3] += share * span.occupied
        sum_[4] += share * span.unobserved
    return dict(sums)


def untold(told: Iterable[Told], truths: Iterable[Truth]) -> dict[tuple[str, str, int], int]:
    """Milliseconds that no agent told of, by session, device and quarter hour."""
    seen: dict[tuple[str, str], set[int]] = defaultdict(set)
    for span in told:
        seen[span.session, span.device] |= set(ticks(span.start, span.end))
    found: dict[tuple[str, str, int], int] = defaultdict(int)
    for truth in truths:
        for tick in ticks(truth.start, truth.end):
            if tick not in seen[truth.session, truth.device]:
                found[truth.session, truth.device, tick // QUARTER] += GRAIN
    return dict(found)


def local_days(truths: Iterable[Truth], zone: str) -> dict[tuple[int, str, str], int]:
    """Allocated units by local day, account and group, tick by tick."""
    where = ZoneInfo(zone)
    found: dict[tuple[int, str, str], int] = defaultdict(int)
    for truth in truths:
        for tick in ticks(truth.start, truth.end):
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=tick)
            day = moment.astimezone(where).date().toordinal()
            found[day, truth.account, truth.group] += truth.share * GRAIN
    return dict(found)
